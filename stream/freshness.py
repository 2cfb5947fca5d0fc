"""Freshness ledger: every applied event until a list that covers it stands in Redis.

Freshness of an event runs from its Kafka timestamp (LogAppendTime) to the first accepted write of
that user's list whose offset covers it. Shed users' events stay here and go on ageing. Columns in
one arena, one linked list per user row, newest first; two small kernels; bounded. Beyond the bound
an event has no age, but its user is still known to be owed a list: one offset per user row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.events import Action
from stream.histogram import DurationHistogram

_NONE = -1

Integer = TypeVar("Integer", np.int32, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """Ages of some events.

    Attributes:
        ages_ms: int64 (n,), never negative.
        actions: uint8 (n,), :class:`stream.events.Action`.
    """

    ages_ms: NDArray[np.int64]
    actions: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ages_ms)


class FreshnessHistograms:
    """One duration histogram per action, and all together on demand."""

    def __init__(self) -> None:
        self.by_action = {action: DurationHistogram() for action in Action}

    def record(self, ages: Ages) -> None:
        """Add ages, vectorised per action."""
        for action, histogram in self.by_action.items():
            histogram.record(ages.ages_ms[ages.actions == action])

    def total(self) -> DurationHistogram:
        """Return a new histogram over all actions."""
        total = DurationHistogram()
        for histogram in self.by_action.values():
            total.add(histogram)
        return total


@njit(cache=True, nogil=True)
def _append(
    heads: NDArray[np.int32],
    nexts: NDArray[np.int32],
    event_offsets: NDArray[np.int64],
    event_times_ms: NDArray[np.int64],
    event_actions: NDArray[np.uint8],
    free: NDArray[np.int32],
    num_free: int,
    user_rows: NDArray[np.int32],
    offsets: NDArray[np.int64],
    times_ms: NDArray[np.int64],
    actions: NDArray[np.uint8],
    used: NDArray[np.int32],
) -> int:
    """Link events to their users until the arena is full; return how many were linked."""
    linked = 0
    for index in range(len(user_rows)):
        row = user_rows[index]
        if row < 0:
            continue
        if linked == num_free:
            break
        place = free[num_free - 1 - linked]
        event_offsets[place] = offsets[index]
        event_times_ms[place] = times_ms[index]
        event_actions[place] = actions[index]
        nexts[place] = heads[row]
        heads[row] = place
        used[linked] = place
        linked += 1
    return linked


@njit(cache=True, nogil=True)
def _answer(
    heads: NDArray[np.int32],
    nexts: NDArray[np.int32],
    event_offsets: NDArray[np.int64],
    user_rows: NDArray[np.int32],
    covered_offsets: NDArray[np.int64],
    answered: NDArray[np.int32],
) -> int:
    """Unlink every event below its user's covered offset; return how many."""
    count = 0
    for index in range(len(user_rows)):
        row = user_rows[index]
        if row < 0 or row >= len(heads):
            continue
        previous = -1
        place = heads[row]
        # Newest first: what follows the first covered event is covered too.
        while place >= 0 and event_offsets[place] >= covered_offsets[index]:
            previous = place
            place = nexts[place]
        if previous < 0:
            heads[row] = -1
        else:
            nexts[previous] = -1
        while place >= 0:
            answered[count] = place
            count += 1
            place = nexts[place]
    return count


def compile_kernels() -> None:
    """Compile (or load from the cache) both kernels, before a worker joins its group."""
    ledger = FreshnessLedger(max_events=1)
    one = np.zeros(1, np.int64)
    rows, actions = np.zeros(1, np.int32), np.zeros(1, np.uint8)
    ledger.append(0, user_rows=rows, offsets=one, times_ms=one, actions=actions)
    ledger.answer(0, rows, 1, 0)


class FreshnessLedger:
    """Applied events whose user has no covering list yet. One thread uses it.

    Args:
        max_events: Bound; events beyond it are counted in :attr:`num_untracked`, not aged. Their
            users are owed a list all the same: see :meth:`user_rows`.
    """

    def __init__(self, *, max_events: int) -> None:
        self._offsets = np.empty(max_events, np.int64)
        self._times_ms = np.empty(max_events, np.int64)
        self._actions = np.empty(max_events, np.uint8)
        self._nexts = np.empty(max_events, np.int32)
        self._partitions = np.full(max_events, _NONE, np.int32)  # -1: place is free.
        self._free = np.arange(max_events - 1, -1, -1, dtype=np.int32)
        self._num_free = max_events
        self._max_events = max_events
        self._heads: dict[int, NDArray[np.int32]] = {}
        self._scratch = np.empty(max_events, np.int32)
        # Newest offset without a place, per user row; made when a partition first needs it.
        self._untracked: dict[int, NDArray[np.int64]] = {}
        self.num_untracked = 0

    def __len__(self) -> int:
        """Return the number of unanswered events."""
        return self._max_events - self._num_free

    def append(
        self,
        partition: int,
        *,
        user_rows: NDArray[np.int32],
        offsets: NDArray[np.int64],
        times_ms: NDArray[np.int64],
        actions: NDArray[np.uint8],
    ) -> None:
        """Add applied events in log order.

        Args:
            partition: Partition of ``interactions``.
            user_rows: int32 (n,); negative ones (an erased user) have no list and are left out.
            offsets: int64 (n,), ascending, above all that the partition appended before.
            times_ms: int64 (n,), Kafka timestamps; -1 where unknown: left out too.
            actions: uint8 (n,).
        """
        rows = np.where(times_ms >= 0, user_rows, np.int32(_NONE)).astype(np.int32)
        num_known = int((rows >= 0).sum())
        heads = self._heads_of(partition, int(rows.max(initial=-1)))
        linked = _append(
            heads,
            self._nexts,
            self._offsets,
            self._times_ms,
            self._actions,
            self._free,
            self._num_free,
            rows,
            offsets,
            times_ms,
            actions,
            self._scratch,
        )
        self._partitions[self._scratch[:linked]] = partition
        self._num_free -= linked
        if linked < num_known:
            self.num_untracked += num_known - linked
            known = np.flatnonzero(rows >= 0)[linked:]
            untracked = self._untracked_of(partition, int(rows.max()))
            # Offsets ascend: of a user's several the last one stays.
            untracked[rows[known]] = offsets[known]

    def owe(self, partition: int, user_rows: NDArray[np.int32], next_offset: int) -> None:
        """Take up users whom another life of the partition still owed a list.

        Their events have no age here; a list that covers ``[0, next_offset)`` answers them.
        """
        self._heads_of(partition, int(user_rows.max(initial=-1)))
        untracked = self._untracked_of(partition, int(user_rows.max(initial=-1)))
        untracked[user_rows] = next_offset - 1

    def answer(
        self,
        partition: int,
        user_rows: NDArray[np.int32],
        covered_offsets: NDArray[np.int64] | int,
        now_ms: int,
    ) -> Ages:
        """Take out the events that lists in Redis now cover; return their ages.

        Args:
            partition: Partition of ``interactions``.
            user_rows: int32 (B,), users whose list stands in Redis.
            covered_offsets: int64 (B,) or one for all: the lists reflect ``[0, offset)``.
            now_ms: Wall clock at which the write was acknowledged.
        """
        heads = self._heads.get(partition)
        if heads is None:
            return self._ages(np.empty(0, np.int32), now_ms)
        covered = np.broadcast_to(np.asarray(covered_offsets, np.int64), user_rows.shape)
        if partition in self._untracked:
            untracked = self._untracked_of(partition, int(user_rows.max(initial=-1)))
            is_known = user_rows >= 0
            rows = user_rows[is_known]
            untracked[rows[untracked[rows] < covered[is_known]]] = _NONE
        count = _answer(heads, self._nexts, self._offsets, user_rows, covered.copy(), self._scratch)
        places = self._scratch[:count]
        ages = self._ages(places, now_ms)
        self._release(places)
        return ages

    def forget(self, partition: int, user_rows: NDArray[np.int32]) -> int:
        """Take out all events of users who no longer exist; return how many."""
        return len(self.answer(partition, user_rows, np.iinfo(np.int64).max, 0))

    def drop(self, partition: int) -> int:
        """Take out a partition's events (it moved to another worker); return how many."""
        self._heads.pop(partition, None)
        self._untracked.pop(partition, None)
        places = np.flatnonzero(self._partitions == partition).astype(np.int32)
        self._release(places)
        return len(places)

    def user_rows(self, partition: int) -> NDArray[np.int32]:
        """Return the rows of users who are owed a list, ascending: a snapshot keeps them.

        All of them, also those whose events found no place here.
        """
        heads = self._heads.get(partition)
        if heads is None:
            return np.empty(0, np.int32)
        rows = np.flatnonzero(heads != _NONE)
        if partition in self._untracked:
            rows = np.union1d(rows, np.flatnonzero(self._untracked[partition] != _NONE))
        return rows.astype(np.int32)

    def outstanding(self, now_ms: int) -> Ages:
        """Return the ages of all unanswered events; O(bound), for a summary or a scrape."""
        return self._ages(np.flatnonzero(self._partitions >= 0).astype(np.int32), now_ms)

    def _ages(self, places: NDArray[np.int32], now_ms: int) -> Ages:
        return Ages(
            ages_ms=np.maximum(now_ms - self._times_ms[places], 0),
            actions=self._actions[places],
        )

    def _release(self, places: NDArray[np.int32]) -> None:
        self._partitions[places] = _NONE
        self._free[self._num_free : self._num_free + len(places)] = places
        self._num_free += len(places)

    def _heads_of(self, partition: int, top_row: int) -> NDArray[np.int32]:
        heads = self._heads.get(partition, np.empty(0, np.int32))
        self._heads[partition] = heads = _grown(heads, top_row)
        return heads

    def _untracked_of(self, partition: int, top_row: int) -> NDArray[np.int64]:
        untracked = self._untracked.get(partition, np.empty(0, np.int64))
        self._untracked[partition] = untracked = _grown(untracked, top_row)
        return untracked


def _grown(column: NDArray[Integer], top_row: int) -> NDArray[Integer]:
    """Return a column that has the row, with -1 in what is new; itself where it has."""
    if top_row < len(column):
        return column
    grown = np.full(max(top_row + 1, 2 * len(column), 1024), _NONE, column.dtype)
    grown[: len(column)] = column
    return grown
