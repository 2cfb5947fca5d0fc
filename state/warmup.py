"""Compile every kernel of ``state``: a worker calls this before it joins its group.

Compiled kernels are cached beside the sources, so that this takes a minute once and a moment ever
after. Kernels compile per type of argument, which the tables fix: a tiny log through the real
tables is what compiles exactly what the worker will call.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state import item_partition
from state.actions import ERASE, LIKE, NOT_INTERESTED, UNLIKE, WATCH
from state.hashing import partitions_of
from state.id_index import IdIndex
from state.seen import seen_keys
from state.user_limits import UserLimits
from state.user_partition import UserPartition


class _SmallCatalogue:
    """As many arrays as the user side reads of a catalogue, of the same types."""

    def __init__(self) -> None:
        self.items = IdIndex(max_ids=16)
        self.epoch = 0
        self.embeddings = np.ones((16, 2), np.float32)
        self.author_keys = np.ones(16, np.uint64)
        self.tag_keys = np.ones((16, 1), np.uint64)

    def ensure(
        self,
        buffer: NDArray[np.uint8],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int32],
        first_seen_ms: NDArray[np.int64],
    ) -> NDArray[np.int32]:
        """Give rows to ids; there is room for all of this module's."""
        rows = np.empty(len(starts), np.int32)
        self.items.intern(buffer, starts, lengths, rows)
        return rows


def compile_kernels() -> None:
    """Compile the kernels of both sides, or load them from numba's cache."""
    compile_user_kernels()
    item_partition.compile_kernels()


def compile_user_kernels() -> None:
    """Run a log of sixteen records with evictions, an erase, a snapshot and a read."""
    limits = UserLimits(
        max_users=2, max_items=3, max_history=2, max_event_ids=4, seen_items=1, max_erased=4
    )
    first, second = (
        UserPartition(
            partition=0, num_item_partitions=1, catalogue=_SmallCatalogue(), limits=limits
        )
        for _ in range(2)
    )
    _apply_all_kinds(first)
    second.restore(first.arrays())
    rows = second.users.live_rows()
    second.read_users(rows)
    for _ in second.digest_state():
        pass
    items = second.items
    partitions_of(items.arena, items.starts, items.lengths, 1)
    seen_keys(items.arena, items.starts, items.lengths)


def _apply_all_kinds(partition: UserPartition) -> None:
    num_events = 16
    numbers = np.arange(num_events, dtype=np.int64)
    kinds = np.array([WATCH, LIKE, LIKE, UNLIKE, NOT_INTERESTED, LIKE, ERASE, LIKE], np.uint8)
    ones = np.ones(num_events, np.int32)
    # One byte per id: five items and three users take turns.
    buffer = np.concatenate([numbers % 5, 100 + numbers % 3, numbers]).astype(np.uint8)
    partition.apply(
        begin=0,
        end=num_events,
        buffer=buffer,
        offsets=numbers,
        kafka_timestamps_ms=numbers,
        timestamps_ms=numbers[::-1] + 1000,
        types=np.tile(kinds, 2),
        user_starts=numbers + num_events,
        user_lengths=ones,
        item_starts=numbers,
        item_lengths=ones,
        event_id_starts=numbers + 2 * num_events,
        event_id_lengths=ones,
        watch_ms=numbers,
        duration_ms=numbers + 1,
        rejected_offsets=numbers[:0],
        routed_offsets=numbers[:0],
    )
