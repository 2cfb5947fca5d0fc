"""Kernels that write and read the bytes of item-deltas frames; the format is in stream.frames.

One pass over the delta rows writes all destinations' streams at once: a row goes whole to the
owner of its item, and with those pairs that concern them to the owners of earlier items.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.hashing import hash64
from state.kernels import kernel

# An id is referred to by 16 bits.
MAX_FRAME_IDS = 65_536
HEADER_BYTES = 40
CHECKSUM_BYTES = 8
# A frame without ids and rows, and the last, partly used byte of flags.
FIXED_BYTES = HEADER_BYTES + CHECKSUM_BYTES + 1
# Most bytes of a row without its pairs: two varints of 10, ref 2, action 1, strength 3, count 2.
_ROW_BYTES = 28
_PAIR_BYTES = 4

# Columns of the table of frames.
DESTINATION = 0
BEGIN = 1
END = 2
NUM_ROWS = 3
NUM_PAIRS = 4
NUM_IDS = 5
ID_BYTES = 6
BODY_START = 7
BODY_END = 8
IDS_START = 9
OUT_START = 10
OUT_END = 11
FRAME_COLUMNS = 12


@kernel
def _write_varint(out: NDArray[np.uint8], at: int, value: np.uint64) -> int:
    """Write an unsigned integer in groups of seven bits, lowest first; return the next place."""
    while value >= np.uint64(128):
        out[at] = np.uint8(value & np.uint64(127)) | np.uint8(128)
        value = value >> np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@kernel
def _zigzag(value: int) -> np.uint64:
    return np.uint64((np.int64(value) << np.int64(1)) ^ (np.int64(value) >> np.int64(63)))


@kernel
def _write_integer(out: NDArray[np.uint8], at: int, value: int, num_bytes: int) -> None:
    rest = np.uint64(value)
    for index in range(num_bytes):
        out[at + index] = np.uint8(rest & np.uint64(255))
        rest = rest >> np.uint64(8)


@kernel
def number_items(
    rows: NDArray[np.int32],
    numbers: NDArray[np.int32],
    distinct: NDArray[np.int32],
    count: int,
    table: NDArray[np.int64],
) -> int:
    """Number item rows densely in order of first appearance, going on from ``count``.

    Args:
        rows: int32 (n,), local item rows.
        numbers: int32 (n,), written: the number of each.
        distinct: int32, written: the row of each number.
        count: Numbers given so far.
        table: int64 (a power of two > 2n,), open addressing: ``row << 32 | number``, -1 empty.

    Returns:
        Numbers given in all.
    """
    mask = np.int64(len(table) - 1)
    for index in range(len(rows)):
        row = np.int64(rows[index])
        at = np.int64((np.uint64(row) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
        while table[at] >= 0 and table[at] >> np.int64(32) != row:
            at = (at + 1) & mask
        if table[at] < 0:
            table[at] = row << np.int64(32) | np.int64(count)
            distinct[count] = rows[index]
            count += 1
        numbers[index] = np.int32(table[at] & np.int64(0xFFFFFFFF))
    return count


@njit(cache=True, nogil=True)
def _measure(
    owners: NDArray[np.int32],
    item_numbers: NDArray[np.int32],
    pair_numbers: NDArray[np.int32],
    pair_splits: NDArray[np.int64],
    num_destinations: int,
) -> NDArray[np.int64]:
    """Bound rows and pairs per destination: int64 (2, Q)."""
    totals = np.zeros((2, num_destinations), np.int64)
    last_row = np.full(num_destinations, -1, np.int64)
    for index in range(len(item_numbers)):
        owner = owners[item_numbers[index]]
        totals[0, owner] += 1
        totals[1, owner] += pair_splits[index + 1] - pair_splits[index]
        last_row[owner] = index
        for pair in range(pair_splits[index], pair_splits[index + 1]):
            other = owners[pair_numbers[pair]]
            if other != owner:
                totals[1, other] += 1
                if last_row[other] != index:
                    last_row[other] = index
                    totals[0, other] += 1
    return totals


@kernel
def _frame_bytes(frames: NDArray[np.int64], index: int) -> int:
    """Return the bytes of a frame as it stands."""
    num_ids = frames[index, NUM_IDS]
    ids = num_ids + (num_ids + 7) // 8 + frames[index, ID_BYTES]
    body = frames[index, BODY_END] - frames[index, BODY_START]
    return int(HEADER_BYTES + ids + body + CHECKSUM_BYTES)


@njit(cache=True, nogil=True)
def _open(totals: NDArray[np.int64], froms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one empty frame per destination, each with room of its own for its rows and ids."""
    frames = np.zeros((len(froms), FRAME_COLUMNS), np.int64)
    body_start = 0
    ids_start = 0
    for destination in range(len(froms)):
        frames[destination, DESTINATION] = destination
        frames[destination, BEGIN] = froms[destination]
        frames[destination, BODY_START] = body_start
        frames[destination, BODY_END] = body_start
        frames[destination, IDS_START] = ids_start
        body_start += totals[0, destination] * _ROW_BYTES + totals[1, destination] * _PAIR_BYTES
        ids_start += totals[0, destination] + totals[1, destination]
    return frames


@kernel
def _cut(frames: NDArray[np.int64], destination: int, end: int) -> None:
    """Start a destination's next frame where the one before ends."""
    frames[destination, BEGIN] = end
    frames[destination, BODY_START] = frames[destination, BODY_END]
    frames[destination, IDS_START] += frames[destination, NUM_IDS]
    for column in (NUM_ROWS, NUM_PAIRS, NUM_IDS, ID_BYTES):
        frames[destination, column] = 0


@njit(cache=True, nogil=True)
def lay_out(
    offsets: NDArray[np.int64],
    timestamps_ms: NDArray[np.int64],
    actions: NDArray[np.uint8],
    counts: NDArray[np.int8],
    strengths: NDArray[np.int16],
    item_numbers: NDArray[np.int32],
    pair_splits: NDArray[np.int64],
    pair_numbers: NDArray[np.int32],
    pair_lags: NDArray[np.uint8],
    pair_weights: NDArray[np.uint8],
    owners: NDArray[np.int32],
    id_lengths: NDArray[np.int32],
    froms: NDArray[np.int64],
    to: int,
    max_bytes: int,
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int32]]:
    """Write the rows of every destination's frames.

    Args:
        offsets: int64 (R,), as all up to ``pair_weights`` a field of ``DeltaRows``.
        timestamps_ms: int64 (R,).
        actions: uint8 (R,).
        counts: int8 (R,).
        strengths: int16 (R,).
        item_numbers: int32 (R,), dense item numbers (:func:`number_items`).
        pair_splits: int64 (R + 1,).
        pair_numbers: int32 (P,), dense item numbers.
        pair_lags: uint8 (P,).
        pair_weights: uint8 (P,).
        owners: int32 (U,), destination per item number.
        id_lengths: int32 (U,), bytes of the id per item number.
        froms: int64 (Q,), where each destination's next frame begins.
        to: Source offset after the last covered.
        max_bytes: A frame that would grow beyond it is cut before the row, if it has any.

    Returns:
        Table of frames int64 (F, FRAME_COLUMNS), ascending by destination; the bytes of all rows
        uint8; the item numbers of all frames' ids int32.
    """
    num_destinations = len(froms)
    totals = _measure(owners, item_numbers, pair_numbers, pair_splits, num_destinations)
    body = np.empty((totals[0] * _ROW_BYTES + totals[1] * _PAIR_BYTES).sum(), np.uint8)
    frame_ids = np.empty(totals.sum(), np.int32)
    done = np.empty((totals[0].sum(), FRAME_COLUMNS), np.int64)
    num_done = 0
    frames = _open(totals, froms)
    refs = np.zeros((num_destinations, len(owners)), np.int32)
    last_offsets = froms.copy()
    last_times = np.zeros(num_destinations, np.int64)
    num_pairs_for = np.zeros(num_destinations, np.int64)
    receivers = np.empty(num_destinations, np.int64)
    for index in range(len(offsets)):
        owner = owners[item_numbers[index]]
        begin, end = pair_splits[index], pair_splits[index + 1]
        receivers[0] = owner
        num_receivers = 1
        num_pairs_for[owner] = end - begin
        row_id_bytes = np.int64(id_lengths[item_numbers[index]])
        for pair in range(begin, end):
            other = owners[pair_numbers[pair]]
            row_id_bytes += id_lengths[pair_numbers[pair]]
            if other != owner:
                if num_pairs_for[other] == 0:
                    receivers[num_receivers] = other
                    num_receivers += 1
                num_pairs_for[other] += 1
        for place in range(num_receivers):
            receiver = receivers[place]
            num_pairs = num_pairs_for[receiver]
            # The most that this row can add: all its ids new, 9/8 byte of table per id.
            most = _ROW_BYTES + _PAIR_BYTES * num_pairs + row_id_bytes + 2 * (end - begin + 1)
            num_ids = frames[receiver, NUM_IDS]
            most += frames[receiver, BODY_END] - frames[receiver, BODY_START]
            most += frames[receiver, ID_BYTES] + num_ids + num_ids // 8 + FIXED_BYTES
            is_full = most > max_bytes or num_ids + num_pairs + 1 > MAX_FRAME_IDS
            if is_full and frames[receiver, NUM_ROWS] > 0:
                frames[receiver, END] = last_offsets[receiver] + 1
                done[num_done] = frames[receiver]
                num_done += 1
                _cut(frames, receiver, frames[receiver, END])
                refs[receiver, :] = 0
                last_offsets[receiver] = frames[receiver, BEGIN]
                last_times[receiver] = 0
            at = frames[receiver, BODY_END]
            step = offsets[index] - last_offsets[receiver]
            # One byte mostly; a call that hands over an array costs ten times its writing.
            if step < 128:
                body[at] = np.uint8(step)
                at += 1
            else:
                at = _write_varint(body, at, np.uint64(step))
            at = _write_varint(body, at, _zigzag(timestamps_ms[index] - last_times[receiver]))
            number = item_numbers[index]
            ref = np.int64(refs[receiver, number]) - 1
            if ref < 0:
                ref = frames[receiver, NUM_IDS]
                refs[receiver, number] = ref + 1
                frame_ids[frames[receiver, IDS_START] + ref] = number
                frames[receiver, NUM_IDS] += 1
                frames[receiver, ID_BYTES] += np.int64(id_lengths[number])
            body[at] = np.uint8(ref & 255)
            body[at + 1] = np.uint8(ref >> 8)
            body[at + 2] = np.uint8(np.int64(actions[index]) | (np.int64(counts[index]) + 1) << 4)
            strength = _zigzag(np.int64(strengths[index]))
            if strength < np.uint64(128) and num_pairs < 128:
                body[at + 3] = np.uint8(strength)
                body[at + 4] = np.uint8(num_pairs)
                at += 5
            else:
                at = _write_varint(body, at + 3, strength)
                at = _write_varint(body, at, np.uint64(num_pairs))
            last_offsets[receiver] = offsets[index]
            last_times[receiver] = timestamps_ms[index]
            frames[receiver, BODY_END] = at
            frames[receiver, NUM_ROWS] += 1
            frames[receiver, NUM_PAIRS] += num_pairs
            num_pairs_for[receiver] = 0
        for pair in range(begin, end):
            number = pair_numbers[pair]
            other = owners[number]
            for side in range(2 if other != owner else 1):
                receiver = other if side else owner
                ref = np.int64(refs[receiver, number]) - 1
                # As above and not a function: handing it four arrays costs more than all of this.
                if ref < 0:
                    ref = frames[receiver, NUM_IDS]
                    refs[receiver, number] = ref + 1
                    frame_ids[frames[receiver, IDS_START] + ref] = number
                    frames[receiver, NUM_IDS] += 1
                    frames[receiver, ID_BYTES] += np.int64(id_lengths[number])
                at = frames[receiver, BODY_END]
                body[at] = np.uint8(ref & 255)
                body[at + 1] = np.uint8(ref >> 8)
                body[at + 2] = pair_lags[pair]
                body[at + 3] = pair_weights[pair]
                frames[receiver, BODY_END] = at + 4
    for destination in range(num_destinations):
        if frames[destination, NUM_ROWS] > 0:
            frames[destination, END] = to
            done[num_done] = frames[destination]
            num_done += 1
    return done[:num_done], body, frame_ids


@njit(cache=True, nogil=True)
def assemble(
    frames: NDArray[np.int64],
    body: NDArray[np.uint8],
    frame_ids: NDArray[np.int32],
    owners: NDArray[np.int32],
    arena: NDArray[np.uint8],
    id_starts: NDArray[np.int64],
    id_lengths: NDArray[np.int32],
    source_partition: int,
    magic: int,
) -> NDArray[np.uint8]:
    """Put frames together: header, ids, rows, checksum; fill their OUT_START and OUT_END.

    Args:
        frames: int64 (F, FRAME_COLUMNS) of :func:`lay_out`, changed.
        body: uint8, bytes of the rows.
        frame_ids: int32, item numbers of the frames' ids.
        owners: int32 (U,), destination per item number.
        arena: uint8, bytes of the ids.
        id_starts: int64 (U,).
        id_lengths: int32 (U,).
        source_partition: User partition that made the rows.
        magic: First four bytes, with the version.

    Returns:
        uint8, all frames one after the other.
    """
    total = 0
    for index in range(len(frames)):
        frames[index, OUT_START] = total
        total += _frame_bytes(frames, index)
        frames[index, OUT_END] = total
    out = np.empty(total, np.uint8)
    for index in range(len(frames)):
        start = frames[index, OUT_START]
        num_ids = frames[index, NUM_IDS]
        _write_integer(out, start, magic, 4)
        _write_integer(out, start + 4, source_partition, 4)
        _write_integer(out, start + 8, frames[index, BEGIN], 8)
        _write_integer(out, start + 16, frames[index, END], 8)
        _write_integer(out, start + 24, frames[index, NUM_ROWS], 4)
        _write_integer(out, start + 28, frames[index, NUM_PAIRS], 4)
        _write_integer(out, start + 32, num_ids, 4)
        _write_integer(out, start + 36, frames[index, ID_BYTES], 4)
        lengths_at = start + HEADER_BYTES
        flags_at = lengths_at + num_ids
        at = flags_at + (num_ids + 7) // 8
        out[flags_at:at] = 0
        for ref in range(num_ids):
            number = frame_ids[frames[index, IDS_START] + ref]
            length = np.int64(id_lengths[number])
            out[lengths_at + ref] = np.uint8(length)
            if owners[number] == frames[index, DESTINATION]:
                out[flags_at + ref // 8] |= np.uint8(1 << (ref % 8))
            for byte in range(length):
                out[at + byte] = arena[id_starts[number] + byte]
            at += length
        num_body = frames[index, BODY_END] - frames[index, BODY_START]
        out[at : at + num_body] = body[frames[index, BODY_START] : frames[index, BODY_END]]
        at += num_body
        checksum = hash64(out, start, at - start, 0)
        for byte in range(CHECKSUM_BYTES):
            out[at + byte] = np.uint8((checksum >> np.uint64(8 * byte)) & np.uint64(255))
    return out
