"""Kernels of the id index: find, add and remove ids in open addressing over a byte arena."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.hashing import hash64, spans_equal
from state.kernels import kernel
from state.prefetch import prefetch

# Spans between two of the three steps in which an id is asked for.
_AHEAD = 6

UNKNOWN = -1
NO_ROOM = -2

# Positions in IdColumns.counts.
LIVE, ROWS, FREE, USED, GARBAGE, MAX_IDS = range(6)


class IdColumns(NamedTuple):
    """The arrays of an index, for kernels.

    Attributes:
        slots: uint64 (S,), ``hash >> 32 << 32 | row + 1``; 0 = empty; S a power of two.
        hashes: uint64 (R,), seeded XXH64 of the id in each row.
        arena: uint8, the ids' bytes.
        starts: int64 (R,), where the id begins in the arena.
        lengths: int32 (R,), bytes.
        is_live: bool (R,).
        free_rows: int32 (R,), a stack.
        counts: int64 (6,), live ids, rows, free rows, arena bytes used, garbage, most ids.
        seed: uint64 (1,).
    """

    slots: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    arena: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    is_live: NDArray[np.bool_]
    free_rows: NDArray[np.int32]
    counts: NDArray[np.int64]
    seed: NDArray[np.uint64]


@kernel
def hash_id(ids: IdColumns, buffer: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """Hash one span as this index does."""
    return np.uint64(hash64(buffer, start, length, ids.seed[0]))


@kernel
def find_row(
    ids: IdColumns, buffer: NDArray[np.uint8], start: int, length: int, hashed: np.uint64
) -> int:
    """Return the row of one id, or UNKNOWN."""
    mask = np.uint64(len(ids.slots) - 1)
    slot = hashed & mask
    tag = hashed >> np.uint64(32)
    while True:
        entry = ids.slots[slot]
        if entry == np.uint64(0):
            return UNKNOWN
        if entry >> np.uint64(32) == tag:
            row = np.int64(entry & np.uint64(0xFFFFFFFF)) - 1
            if ids.lengths[row] == length and spans_equal(
                ids.arena, ids.starts[row], buffer, start, length
            ):
                return int(row)
        slot = (slot + np.uint64(1)) & mask


@kernel
def _put_slot(slots: NDArray[np.uint64], hashed: np.uint64, row: int) -> None:
    mask = np.uint64(len(slots) - 1)
    slot = hashed & mask
    while slots[slot] != np.uint64(0):
        slot = (slot + np.uint64(1)) & mask
    slots[slot] = (hashed >> np.uint64(32) << np.uint64(32)) | np.uint64(row + 1)


@kernel
def add_row(
    ids: IdColumns, buffer: NDArray[np.uint8], start: int, length: int, hashed: np.uint64
) -> int:
    """Give a row to an id that is not there yet, or return NO_ROOM at the bound.

    The caller has reserved rows and arena bytes (``IdIndex.reserve``).
    """
    counts = ids.counts
    if counts[LIVE] >= counts[MAX_IDS]:
        return NO_ROOM
    if counts[FREE] > 0:
        counts[FREE] -= 1
        row = np.int64(ids.free_rows[counts[FREE]])
    else:
        row = counts[ROWS]
        counts[ROWS] += 1
    position = counts[USED]
    for i in range(length):
        ids.arena[position + i] = buffer[start + i]
    counts[USED] += length
    counts[LIVE] += 1
    ids.starts[row] = position
    ids.lengths[row] = length
    ids.hashes[row] = hashed
    ids.is_live[row] = True
    _put_slot(ids.slots, hashed, row)
    return int(row)


@kernel
def _prefetch_entry(ids: IdColumns, hashed: np.uint64) -> None:
    """Ask for where the row of a hash's first slot keeps its span; the slot is there by now."""
    row = np.int64(ids.slots[hashed & np.uint64(len(ids.slots) - 1)] & np.uint64(0xFFFFFFFF)) - 1
    if row >= 0:
        prefetch(np.uint64(ids.starts.ctypes.data) + np.uint64(8 * row))
        prefetch(np.uint64(ids.lengths.ctypes.data) + np.uint64(4 * row))


@kernel
def _prefetch_bytes(ids: IdColumns, hashed: np.uint64) -> None:
    """Ask for the bytes of the row of a hash's first slot."""
    row = np.int64(ids.slots[hashed & np.uint64(len(ids.slots) - 1)] & np.uint64(0xFFFFFFFF)) - 1
    if row >= 0:
        prefetch(np.uint64(ids.arena.ctypes.data) + np.uint64(ids.starts[row]))


@kernel
def intern_spans(
    ids: IdColumns,
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    rows_out: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    begin: int,
    end: int,
) -> int:
    """Find or add each span of ``[begin, end)``; return the first without room, or ``end``.

    ``hashes`` uint64 (E,) is scratch. Slots, columns and bytes are misses to memory one after
    the other, so each is asked for some spans before it is read.
    """
    for i in range(begin, end):
        hashes[i] = hash_id(ids, buffer, starts[i], lengths[i])
    mask = np.uint64(len(ids.slots) - 1)
    slots_at = np.uint64(ids.slots.ctypes.data)
    for i in range(begin, end):
        if i + 3 * _AHEAD < end:
            prefetch(slots_at + (hashes[i + 3 * _AHEAD] & mask) * np.uint64(8))
        if i + 2 * _AHEAD < end:
            _prefetch_entry(ids, hashes[i + 2 * _AHEAD])
        if i + _AHEAD < end:
            _prefetch_bytes(ids, hashes[i + _AHEAD])
        hashed = hashes[i]
        row = find_row(ids, buffer, starts[i], lengths[i], hashed)
        if row < 0:
            row = add_row(ids, buffer, starts[i], lengths[i], hashed)
            if row < 0:
                return i
        rows_out[i] = row
    return end


@kernel
def find_spans(
    ids: IdColumns,
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    rows_out: NDArray[np.int32],
) -> None:
    """Write the row of each span, or UNKNOWN."""
    for i in range(len(starts)):
        hashed = hash_id(ids, buffer, starts[i], lengths[i])
        rows_out[i] = find_row(ids, buffer, starts[i], lengths[i], hashed)


@kernel
def _remove_slot(ids: IdColumns, row: int) -> None:
    """Empty the slot of a live row and close the gap (Knuth, TAOCP 3, 6.4, algorithm R)."""
    mask = np.uint64(len(ids.slots) - 1)
    hole = ids.hashes[row] & mask
    while ids.slots[hole] & np.uint64(0xFFFFFFFF) != np.uint64(row + 1):
        hole = (hole + np.uint64(1)) & mask
    slot = hole
    while True:
        slot = (slot + np.uint64(1)) & mask
        entry = ids.slots[slot]
        if entry == np.uint64(0):
            break
        other = np.int64(entry & np.uint64(0xFFFFFFFF)) - 1
        home = ids.hashes[other] & mask
        # An entry may fill the hole unless its home lies cyclically in (hole, slot].
        if (slot - home) & mask >= (slot - hole) & mask:
            ids.slots[hole] = entry
            hole = slot
    ids.slots[hole] = np.uint64(0)


@kernel
def forget_rows(ids: IdColumns, rows: NDArray[np.int32]) -> int:
    """Make live rows unfindable, in place; return how many were live (moved to the front)."""
    num_forgotten = 0
    for i in range(len(rows)):
        row = rows[i]
        if ids.is_live[row]:
            _remove_slot(ids, row)
            ids.is_live[row] = False
            ids.counts[LIVE] -= 1
            rows[num_forgotten] = row
            num_forgotten += 1
    return num_forgotten


@kernel
def free_rows(ids: IdColumns, rows: NDArray[np.int32]) -> None:
    """Give retired rows back: their bytes become garbage."""
    counts = ids.counts
    for i in range(len(rows)):
        row = rows[i]
        # Wiped, not only forgotten: the id of an erased user must be found nowhere.
        for i in range(ids.lengths[row]):
            ids.arena[ids.starts[row] + i] = 0
        counts[GARBAGE] += ids.lengths[row]
        ids.starts[row] = 0
        ids.lengths[row] = -1
        ids.hashes[row] = np.uint64(0)
        ids.free_rows[counts[FREE]] = row
        counts[FREE] += 1


@kernel
def compact_arena(ids: IdColumns, arena: NDArray[np.uint8]) -> None:
    """Copy the bytes of every row that still has some into ``arena``, in row order."""
    used = 0
    for row in range(ids.counts[ROWS]):
        for i in range(ids.lengths[row]):
            arena[used + i] = ids.arena[ids.starts[row] + i]
        if ids.lengths[row] >= 0:
            ids.starts[row] = used
            used += ids.lengths[row]
    ids.counts[USED] = used
    ids.counts[GARBAGE] = 0


@kernel
def fill_slots(ids: IdColumns) -> None:
    """Enter every live row into empty slots."""
    for row in range(ids.counts[ROWS]):
        if ids.is_live[row]:
            _put_slot(ids.slots, ids.hashes[row], row)
