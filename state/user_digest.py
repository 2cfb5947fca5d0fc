"""Canonical bytes of user state: sorted by id, never a row number, equal however it was reached.

Inside: histories, seen filters, facts, fingerprints, tombstones, counters, stream time. Outside:
derived columns (vectors, affinities), offsets, the order in which rows were given, and two
counters that say where a record lay and not what it was: routed ones, and rejected ones, which
:mod:`stream.digests` counts over all partitions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from state.admission import COUNTER_NAMES
from state.erased_users import ErasedUsers
from state.history import HistoryColumns, place_of
from state.id_kernels import IdColumns
from state.kernels import kernel
from state.row_facts import UserFacts
from state.seen import SeenColumns
from state.user_tables import UserTables

# Counters that depend on the partition to which a producer sent a record.
_PLACED = ("routed", "rejected")
# Users per piece of bytes: bounds the memory of a digest.
_CHUNK = 4096


@kernel
def _put(out: NDArray[np.uint8], at: int, value: int, num_bytes: int) -> int:
    """Write an integer, little-endian; return the position behind it."""
    word = np.uint64(value)
    for i in range(num_bytes):
        out[at + i] = np.uint8((word >> np.uint64(8 * i)) & np.uint64(0xFF))
    return at + num_bytes


@kernel
def _put_id(out: NDArray[np.uint8], at: int, ids: IdColumns, row: int) -> int:
    length = np.int64(ids.lengths[row])
    at = _put(out, at, length, 1)
    for i in range(length):
        out[at + i] = ids.arena[ids.starts[row] + i]
    return at + int(length)


@kernel
def _users_size(
    rows: NDArray[np.int32], users: IdColumns, items: IdColumns, history: HistoryColumns
) -> int:
    """Return the bytes of some users, without their filters."""
    size = 0
    for b in range(len(rows)):
        row = int(rows[b])
        size += 1 + int(users.lengths[row]) + 8 + 8 + 1 + 4
        for place in range(history.lengths[row]):
            size += 1 + int(items.lengths[history.item_rows[row, place]]) + 8 + 1 + 2 + 1
    return size


@kernel
def _put_users(
    out: NDArray[np.uint8],
    rows: NDArray[np.int32],
    users: IdColumns,
    items: IdColumns,
    facts: UserFacts,
    history: HistoryColumns,
    seen: SeenColumns,
) -> int:
    """Write id, facts, history (oldest first) and filters of each user, in the order given."""
    at = 0
    for b in range(len(rows)):
        row = int(rows[b])
        at = _put_id(out, at, users, row)
        at = _put(out, at, facts.num_events[row], 8)
        at = _put(out, at, facts.events_to_ms[row], 8)
        at = _put(out, at, history.lengths[row], 1)
        for entry in range(history.lengths[row]):
            place = place_of(history, row, entry)
            at = _put_id(out, at, items, history.item_rows[row, place])
            at = _put(out, at, history.times_ms[row, place], 8)
            at = _put(out, at, history.strengths[row, place], 1)
            at = _put(out, at, history.actions[row, place], 2)
            at = _put(out, at, history.completions[row, place], 1)
        at = _put(out, at, seen.num_items[row], 4)
        for word in range(seen.young_words.shape[1]):
            at = _put(out, at, seen.young_words[row, word], 8)
            at = _put(out, at, seen.old_words[row, word], 8)
    return at


def canonical_bytes(tables: UserTables, erased: ErasedUsers) -> Iterator[bytes]:
    """Yield the state's canonical bytes, for a hash over all of them."""
    counts = {
        name: int(count)
        for name, count in zip(COUNTER_NAMES, tables.counters, strict=True)
        if name not in _PLACED
    }
    counts["dropped_event_ids"] = tables.event_ids.num_dropped
    counts["stream_time_ms"] = int(tables.stream_time_ms[0])
    counts["users"] = tables.users.num_ids
    for name in sorted(counts):
        yield name.encode() + b"=" + struct.pack("<q", counts[name])
    live = tables.users.live_rows()
    ids = tables.users.ids(live)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    users, items = tables.users.columns, tables.items.columns
    filter_bytes = 16 * tables.seen.young_words.shape[1]
    for begin in range(0, len(order), _CHUNK):
        rows = live[order[begin : begin + _CHUNK]]
        size = _users_size(rows, users, items, tables.history) + filter_bytes * len(rows)
        out = np.empty(size, np.uint8)
        end = _put_users(out, rows, users, items, tables.user_facts, tables.history, tables.seen)
        assert end == size, "sizes and bytes are counted alike"
        yield out.tobytes()
    debts = tables.user_facts.debts[live[order]]
    if debts.any():  # Without a rate limit nobody owes anything.
        yield b"debts=" + debts.astype("<i8").tobytes()
    for name, array in tables.event_ids.canonical().items():
        yield name.encode() + b"=" + array.astype(array.dtype.newbyteorder("<")).tobytes()
    yield b"erased=" + np.sort(erased.arrays()["hashes"]).astype("<u8").tobytes()
