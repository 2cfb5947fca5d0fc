"""LostSnapshots: durable snapshots that are gone, at a start and under a running worker.

What the group has committed was durable once (``committed <= durable``): a partition that begins
below it has lost a snapshot. The log gives the same state again as far as it reaches back; where
that is not far enough, only a person may go on without the rest. A running worker still has the
state, and writes it again. Absent: reading and writing of snapshots.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence

from consumers.held_partitions import Held
from consumers.snapshots import SnapshotStore
from stream.errors import LogGap, ServerUnreachable

logger = logging.getLogger(__name__)

Key = tuple[str, int]

# Partitions that one line names.
_MAX_NAMED = 8
_CHECK = "is the volume mounted, is HEADWATER_WORKER__SNAPSHOTS right?"


class LostSnapshots:
    """Tells of lost snapshots: one line per assignment, one per round.

    Args:
        store: Where snapshots are.
        kinds: Of each topic's snapshots.
        monotonic_s: Clock.

    Attributes:
        num_lost: Partitions whose newest durable snapshot was gone, by kind.
    """

    def __init__(
        self, store: SnapshotStore, kinds: Mapping[str, str], *, monotonic_s: Callable[[], float]
    ) -> None:
        self.num_lost = {"users": 0, "items": 0}
        self._store = store
        self._kinds = kinds
        self._monotonic_s = monotonic_s
        self._behind: list[str] = []
        self._num_again = 0
        self._looked_at_s = monotonic_s()
        self._is_away = False

    def refuse_gap(self, key: Key, *, begin: int, committed: int) -> None:
        """Refuse to begin without a snapshot where the log no longer has what it held.

        Args:
            key: Topic and partition.
            begin: First offset that the log still has.
            committed: Of the group; 0 of one that never committed.

        Raises:
            LogGap: The state would lack the records below ``begin``.
        """
        if not (begin and committed):
            return
        message = (
            f"{key[0]}/{key[1]}: expected a snapshot up to offset {committed} or above, which the "
            f"group has committed, found none that can be used in {self._place()}, and the log "
            f"begins at {begin}: the state would lack what came before; {_CHECK} To go on "
            "without what is lost, start with a new group id, data folder, item-deltas and "
            "item-signals topics and a higher HEADWATER_EPOCH"
        )
        raise LogGap(message)

    def begin(self, key: Key, held: Held, *, at: int) -> None:
        """Take up at which offset a partition's state begins, from a snapshot or without one."""
        if at >= held.committed:
            return
        self.num_lost[self._kinds[key[0]]] += 1
        found = "none" if held.durable is None else f"one up to {held.durable}"
        self._behind.append(
            f"{_name(key)} (expected one up to {held.committed}, found {found}, reads from {at})"
        )
        self._num_again += held.committed - at

    def tell(self) -> None:
        """Say of which partitions this assignment found too little; nothing where it found all."""
        if self._behind:
            logger.error(
                "snapshots are lost in %s: the group has committed more than they hold of %s. "
                "%d records are read again, which gives the same state as far as the log reaches "
                "back. Where that is a surprise: %s",
                self._place(),
                _some(self._behind),
                self._num_again,
                _CHECK,
            )
        self._behind.clear()
        self._num_again = 0

    async def forget(self, held: Mapping[Key, Held], *, interval_s: float) -> None:
        """Take back that a partition is durable where its newest snapshot is gone.

        It is due at once then, also without news, and nothing of it is committed before. One
        listing of the store per round, for all partitions; nothing happens between two rounds. A
        newer snapshot than ours counts, too: another worker wrote it. Where the store does not
        answer nothing is known, and nothing lost.

        Args:
            held: Our partitions by (topic, partition).
            interval_s: Between two rounds.
        """
        if self._monotonic_s() - self._looked_at_s < interval_s:
            return
        self._looked_at_s = self._monotonic_s()
        # As of before the listing: what is written meanwhile is not missed in it.
        durable = {key: each.durable for key, each in held.items() if each.durable is not None}
        newest = await self._newest()
        lost = (
            []
            if newest is None
            else [
                key
                for key, at in sorted(durable.items())
                if newest.get(self._stored(key), -1) < at == held[key].durable
            ]
        )
        for key in lost:
            held[key].durable = None
            held[key].tried_at_s = -math.inf
            self.num_lost[self._kinds[key[0]]] += 1
        if lost:
            logger.error(
                "snapshots are lost in %s under this worker: they were there, and are gone, of "
                "%s. It writes them again now; were they deleted, %s",
                self._store.place,
                _some([f"{_name(key)} up to {durable[key]}" for key in lost]),
                _CHECK,
            )

    async def _newest(self) -> Mapping[tuple[str, int], int] | None:
        """Return what the store holds; None where it does not answer, which is told once."""
        try:
            newest = await self._store.calls.run(self._store.newest_offsets)
        except ServerUnreachable as error:
            if not self._is_away:
                logger.warning("%s; asked again at every interval", error)
            self._is_away = True
            return None
        self._is_away = False
        return newest

    def _stored(self, key: Key) -> tuple[str, int]:
        return self._kinds[key[0]], key[1]

    def _place(self) -> str:
        missing = " (missing when this worker started, so made)" if self._store.was_made else ""
        return f"{self._store.place}{missing}"


def _name(key: Key) -> str:
    return f"{key[0]}/{key[1]}"


def _some(words: Sequence[str]) -> str:
    """Return the first few of many words, and how many more there are.

    >>> _some(["a/0", "a/1"]), _some([str(number) for number in range(10)])
    ('a/0, a/1', '0, 1, 2, 3, 4, 5, 6, 7, and 2 more')
    """
    rest = len(words) - _MAX_NAMED
    return ", ".join([*words[:_MAX_NAMED], *([f"and {rest} more"] if rest > 0 else [])])
