"""What the two agents do with a slab: fold on the state thread, send, mark; in this order.

Nothing here waits for Redis or the model. A failure anywhere ends the worker (law 9): the state in
memory is then ahead of what was sent, and only a restart from a snapshot may go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from consumers.dead_letters import DeadLetterProducer
from consumers.frame_producer import FrameProducer
from consumers.ownership import Ownership
from consumers.producer import Outgoing, ReliableProducer
from consumers.state_thread import WorkThread
from state.frame_columns import HoleFound
from stream.dirty_users import DirtyUsers
from stream.errors import FrameHole, LogGap
from stream.freshness import FreshnessLedger
from stream.outcomes import Folded
from stream.pipeline import Pipeline
from stream.routing import HEADER_FROM, RoutedCopies
from stream.slab import Slab


class SlabHandlers:
    """Both agents' work.

    Args:
        pipeline: The ten steps.
        state: The state thread.
        ownership: Which partitions are ours, and from where on.
        frames: Producer of item-delta frames.
        dead_letters: Producer of rejects.
        copies: Producer of misrouted records' copies.
        freshness: Applied events that wait for their list.
        offer: Takes dirty users.
        release: Told when a partition has passed the log's end as it was at assignment: only
            then may its users' lists be made.
        erase: Takes (user id, offset) of erased users.
        on_fold: Told of each fold and its seconds (metrics).
        interactions: Name of the topic.
        item_deltas: Name of the topic.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        state: WorkThread,
        ownership: Ownership,
        frames: FrameProducer,
        dead_letters: DeadLetterProducer,
        copies: ReliableProducer,
        freshness: FreshnessLedger,
        offer: Callable[[DirtyUsers], None],
        release: Callable[[int], None],
        erase: Callable[[Sequence[tuple[bytes, int]]], None],
        on_fold: Callable[[Folded, float], None],
        interactions: str,
        item_deltas: str,
    ) -> None:
        self._pipeline = pipeline
        self._state = state
        self._ownership = ownership
        self._frames = frames
        self._dead_letters = dead_letters
        self._copies = copies
        self._freshness = freshness
        self._offer = offer
        self._erase = erase
        self._on_fold = on_fold
        self._interactions = interactions
        self._item_deltas = item_deltas
        self._release = release

    def _is_ours(self, topic: str, slab: Slab) -> bool:
        """Whether a slab may be folded; a hole in the log is an error.

        A slab of a partition that moved away while it waited is dropped: its next owner reads it.
        """
        wanted = self._ownership.next_offset(topic, slab.partition)
        if wanted is None:
            return False
        if slab.begin > wanted:
            message = (
                f"{topic}/{slab.partition}: the state wants offset {wanted}, the log goes on at "
                f"{slab.begin}: records in between are gone (retention too short, or the topic "
                "was truncated or recreated); start with a new group id, data folder and a higher "
                "HEADWATER_EPOCH, or restore the log"
            )
            raise LogGap(message)
        return True

    async def on_interactions(self, slab: Slab) -> None:
        """Run steps 1 to 5 on a slab, then send what they gave."""
        if not self._is_ours(self._interactions, slab):
            return
        started = time.perf_counter()
        folded = await self._state.run(self._pipeline.fold_interactions, slab)
        # Marked before anything is awaited: a snapshot sees every dirty user of its offset.
        self._mark(slab.partition, folded)
        await self._dead_letters.send(
            folded.rejects, topic=self._interactions, partition=slab.partition
        )
        if len(folded.copies):
            await self._send_copies(folded.copies)
        await self._frames.send(folded.frames, source_partition=slab.partition, to=slab.end)
        self._on_fold(folded, time.perf_counter() - started)

    def _forget_erased(self, partition: int, folded: Folded) -> None:
        """Expect no list for what a user did before the erase; later events start anew."""
        rows = np.array([row for _, _, row in folded.erased], np.int32)
        covered = np.array([offset + 1 for _, offset, _ in folded.erased], np.int64)
        known = rows >= 0
        self._freshness.answer(partition, rows[known], covered[known], now_ms=0)

    async def _send_copies(self, copies: RoutedCopies) -> None:
        await self._copies.send_all(
            self._interactions,
            (
                Outgoing(value=value, key=key, partition=partition, headers=[(HEADER_FROM, origin)])
                for value, key, partition, origin in zip(
                    copies.values,
                    copies.keys,
                    copies.partitions.tolist(),
                    copies.headers,
                    strict=True,
                )
            ),
        )

    async def on_item_deltas(self, slab: Slab) -> None:
        """Run the first half of step 6 on a slab."""
        if not self._is_ours(self._item_deltas, slab):
            return
        try:
            await self._state.run(self._pipeline.fold_item_deltas, slab)
        except HoleFound as error:
            message = f"{self._item_deltas}/{slab.partition}: {error}"
            raise FrameHole(message) from error

    def _mark(self, partition: int, folded: Folded) -> None:
        if len(folded.offsets):
            self._freshness.append(
                partition,
                user_rows=folded.user_rows,
                offsets=folded.offsets,
                times_ms=folded.append_times_ms,
                actions=folded.types,
            )
        if folded.erased:
            self._erase([(user_id, offset) for user_id, offset, _ in folded.erased])
            self._forget_erased(partition, folded)
        self._offer(folded.dirty)
        if self._ownership.is_caught_up(self._interactions, partition):
            self._release(partition)
