"""Kernel that reads the rows of an item-deltas frame; trusts nothing, for bytes may be broken."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state.kernels import kernel

_MAX_VARINT_BITS = 63


@kernel
def read_varint(buffer: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Read an unsigned integer below 2**63; return it and the next place, (0, -1) if broken."""
    value = np.int64(0)
    shift = 0
    while at < end and shift < _MAX_VARINT_BITS:
        byte = np.int64(buffer[at])
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return int(value), at
        shift += 7
    return 0, -1


@kernel
def read_zigzag(buffer: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Read a signed integer as :func:`read_varint`."""
    value, at = read_varint(buffer, at, end)
    return (value >> 1) ^ -(value & 1), at


@kernel
def read_rows(
    buffer: NDArray[np.uint8],
    at: int,
    end: int,
    begin_offset: int,
    end_offset: int,
    num_ids: int,
    offsets: NDArray[np.int64],
    item_refs: NDArray[np.int32],
    timestamps_ms: NDArray[np.int64],
    actions: NDArray[np.uint8],
    counts: NDArray[np.int8],
    strengths: NDArray[np.int16],
    pair_splits: NDArray[np.int64],
    pair_refs: NDArray[np.int32],
    pair_lags: NDArray[np.uint8],
    pair_weights: NDArray[np.uint8],
) -> int:
    """Read all rows of a frame from ``buffer[at:end]`` into columns.

    Args:
        buffer: uint8.
        at: Where the rows begin.
        end: Where they must end.
        begin_offset: First source offset that the frame covers.
        end_offset: Source offset after the last.
        num_ids: References must be below it.
        offsets: int64 (R,), written, as all that follow: the fields of ``FrameColumns``.
        item_refs: int32 (R,).
        timestamps_ms: int64 (R,).
        actions: uint8 (R,).
        counts: int8 (R,).
        strengths: int16 (R,).
        pair_splits: int64 (R + 1,).
        pair_refs: int32 (P,).
        pair_lags: uint8 (P,).
        pair_weights: uint8 (P,).

    Returns:
        -1 if all was well, else the index of the row that is broken; R if bytes or pairs are left.
    """
    offset = begin_offset
    time_ms = 0
    pair = 0
    pair_splits[0] = 0
    for row in range(len(offsets)):
        step, at = read_varint(buffer, at, end)
        if at < 0:
            return row
        offset += step
        step, at = read_zigzag(buffer, at, end)
        if at < 0 or at + 3 > end or offset >= end_offset or offset < begin_offset:
            return row
        time_ms += step
        ref = np.int64(buffer[at]) | np.int64(buffer[at + 1]) << 8
        packed = np.int64(buffer[at + 2])
        strength, at = read_zigzag(buffer, at + 3, end)
        if at < 0 or ref >= num_ids or packed >> 4 > 2 or strength != np.int16(strength):
            return row
        num_pairs, at = read_varint(buffer, at, end)
        if at < 0 or num_pairs > len(pair_refs) - pair or num_pairs > (end - at) // 4:
            return row
        offsets[row] = offset
        timestamps_ms[row] = time_ms
        item_refs[row] = ref
        actions[row] = packed & 15
        counts[row] = (packed >> 4) - 1
        strengths[row] = strength
        for _ in range(num_pairs):
            ref = np.int64(buffer[at]) | np.int64(buffer[at + 1]) << 8
            if ref >= num_ids:
                return row
            pair_refs[pair] = ref
            pair_lags[pair] = buffer[at + 2]
            pair_weights[pair] = buffer[at + 3]
            pair += 1
            at += 4
        pair_splits[row + 1] = pair
    if at != end or pair != len(pair_refs):
        return len(offsets)
    return -1
