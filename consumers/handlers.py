"""What becomes of the agents' slabs: folded on the state thread, marked, sent; in this order.

Both agents only hand slabs over; what waits is folded together, in one hop to the state thread.

Nothing here waits for Redis or the model. A failure anywhere ends the worker (law 9): the state in
memory is then ahead of what was sent, and only a restart from a snapshot may go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from consumers.crash_points import crash_point
from consumers.dead_letters import DeadLetterProducer
from consumers.frame_origins import check_sources, source_headers
from consumers.frame_producer import FrameProducer
from consumers.inbox import Inbox
from consumers.ownership import Ownership
from consumers.producer import Outgoing, ReliableProducer
from consumers.refusals import gap
from consumers.state_thread import WorkThread
from state.frame_columns import HoleFound
from stream.dirty_users import DirtyUsers
from stream.errors import FrameHole
from stream.freshness import FreshnessLedger
from stream.outcomes import Folded
from stream.pipeline import Pipeline
from stream.routing import HEADER_FROM, RoutedCopies
from stream.slab import Slab


class SlabHandlers:
    """Both agents' work; :meth:`accept` in their loops, :meth:`run` in a task.

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
        on_fold: Told of each fold and its seconds on the state thread (metrics).
        interactions: Name of the topic.
        item_deltas: Name of the topic.
        max_waiting_bytes: Bound on the bytes of each topic that wait to be folded.
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
        max_waiting_bytes: int,
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
        self._inboxes = {
            topic: Inbox(max_bytes=max_waiting_bytes) for topic in (interactions, item_deltas)
        }

    async def accept(self, slab: Slab) -> None:
        """Take a slab over from an agent; waits while too much waits already.

        Where partitions are given up or taken up meanwhile, the slab is dropped: what came before
        it was forgotten, and both are read anew from where the state is.
        """
        owner, begun = self._ownership, self._ownership.assignment
        await self._inboxes[slab.topic].put(slab, lambda: owner.assignment == begun)

    def forget(self, topic: str, partition: int) -> None:
        """Drop what waits of a partition that was given up or taken up: it is read anew."""
        self._inboxes[topic].forget(partition)

    def waiting_bytes(self) -> dict[str, int]:
        """Return the bytes that wait to be folded, by topic."""
        return {topic: inbox.num_bytes for topic, inbox in self._inboxes.items()}

    async def run(self) -> None:
        """Fold what was accepted until cancelled.

        Raises:
            HeadwaterError: A hole in a log, or something that could not be sent.
        """
        async with asyncio.TaskGroup() as loops:
            for name, work in (
                ("fold-interactions", self._run_interactions()),
                ("fold-item-deltas", self._run_item_deltas()),
            ):
                loops.create_task(self._or_give_up(work), name=name)

    async def _or_give_up(self, work: Awaitable[None]) -> None:
        """Await a loop; a snapshot that waits for the rows of a fold hears of its failure.

        A hand-over or a stop would else wait for them until the stop's bound, and the reason why
        they never come would not be the one that is told.
        """
        try:
            await work
        except Exception as error:
            self._frames.give_up(error)
            raise

    async def _run_interactions(self) -> None:
        """Run steps 1 to 5 on what waits, then send what they gave."""
        while True:
            slabs = self._ours(await self._inboxes[self._interactions].take())
            crash_point("before-fold")
            all_folded = await self._state.run(self._fold_interactions, slabs)
            crash_point("after-fold")
            # Marked before anything is awaited: a snapshot sees every dirty user of its offset.
            for slab, (folded, _) in zip(slabs, all_folded, strict=True):
                self._mark(slab.partition, folded)
            crash_point("after-mark")
            for slab, (folded, seconds) in zip(slabs, all_folded, strict=True):
                await self._send(slab, folded)
                self._on_fold(folded, seconds)

    async def _run_item_deltas(self) -> None:
        """Run the first half of step 6 on what waits."""
        while True:
            slabs = self._ours(await self._inboxes[self._item_deltas].take())
            topic_id = self._ownership.topic_id(self._interactions)
            for slab in slabs:
                check_sources(slab, interactions=self._interactions, topic_id=topic_id)
            await self._state.run(self._fold_item_deltas, slabs)
            crash_point("after-item-fold")

    def _ours(self, slabs: Sequence[Slab]) -> list[Slab]:
        """Return the slabs that may be folded; a hole in the log is an error.

        A slab of a partition that moved away while it waited is dropped: its next owner reads it.
        """
        ours = []
        ends: dict[int, int] = {}
        for slab in slabs:
            wanted = self._ownership.next_offset(slab.topic, slab.partition)
            is_assigned = (slab.topic, slab.partition) in self._ownership.assigned
            if wanted is None or not is_assigned:
                continue
            wanted = max(wanted, ends.get(slab.partition, 0))
            if slab.begin > wanted:
                raise gap(slab.topic, slab.partition, wanted=wanted, begin=slab.begin)
            ends[slab.partition] = slab.end
            ours.append(slab)
        return ours

    def _fold_interactions(self, slabs: Sequence[Slab]) -> list[tuple[Folded, float]]:
        """Fold on the state thread; with the seconds that each took."""
        all_folded = []
        with self._ownership.sealing():
            for slab in slabs:
                started = time.perf_counter()
                folded = self._pipeline.fold_interactions(slab)
                all_folded.append((folded, time.perf_counter() - started))
        return all_folded

    def _fold_item_deltas(self, slabs: Sequence[Slab]) -> None:
        """Fold on the state thread."""
        with self._ownership.sealing():
            for slab in slabs:
                try:
                    self._pipeline.fold_item_deltas(slab)
                except HoleFound as error:
                    message = f"{self._item_deltas}/{slab.partition}: {error}"
                    raise FrameHole(message) from error

    async def _send(self, slab: Slab, folded: Folded) -> None:
        """Send rejects, copies and frames of one slab; rejects are waited for."""
        await self._dead_letters.send(
            folded.rejects,
            topic=self._interactions,
            partition=slab.partition,
            topic_id=self._ownership.topic_id(self._interactions),
        )
        if folded.rejects:
            crash_point("after-dead-letters")
        if len(folded.copies):
            await self._send_copies(folded.copies)
            crash_point("after-copies")
        await self._frames.send(folded.frames, source_partition=slab.partition, to=slab.end)
        crash_point("after-emit")

    def _forget_erased(self, partition: int, folded: Folded) -> None:
        """Expect no list for what a user did before the erase; later events start anew."""
        rows = np.array([row for _, _, row in folded.erased], np.int32)
        covered = np.array([offset + 1 for _, offset, _ in folded.erased], np.int64)
        known = rows >= 0
        self._freshness.answer(partition, rows[known], covered[known], now_ms=0)

    async def _send_copies(self, copies: RoutedCopies) -> None:
        source = source_headers(self._ownership.topic_id(self._interactions))
        await self._copies.send_all(
            self._interactions,
            (
                Outgoing(
                    value=value,
                    key=key,
                    partition=partition,
                    headers=[(HEADER_FROM, origin), *source],
                )
                for value, key, partition, origin in zip(
                    copies.values,
                    copies.keys,
                    copies.partitions.tolist(),
                    copies.headers,
                    strict=True,
                )
            ),
        )

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
        # A fold may end when its partition is already given up: no list is made of it then.
        is_ours = (self._interactions, partition) in self._ownership.assigned
        if is_ours and self._ownership.is_caught_up(self._interactions, partition):
            self._release(partition)
