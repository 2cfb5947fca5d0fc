"""Kernels that write and read the values of item signals; the format is in stream.signals."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

NUM_ACTIONS = 5
# In place of H: the value is of a newer version, which stands in place of W.
NEWER = -2
# Magic, shape, offset, time.
FIXED_BYTES = 24
# The small float is the upper part of a float32: no sign, 6 of 8 bits of exponent, 10 of 23 of
# mantissa. Its exponents begin here, at 2**-31.
_LOWEST = (127 - 31) << 10
_CUT_BITS = 13
_MAX_SMALL = 0xFFFF


@njit(cache=True, nogil=True)
def to_small_float(value: np.float32) -> int:
    """Round a number to two bytes; up to 2**-31 and below zero it is 0, the top saturates.

    >>> from_small_float(to_small_float(np.float32(20.0)))
    20.0
    """
    if not value > np.float32(0.0):
        return 0
    bits = np.int64(np.float32(value).view(np.uint32))
    small = ((bits + (1 << (_CUT_BITS - 1))) >> _CUT_BITS) - _LOWEST
    return max(0, min(int(small), _MAX_SMALL))


@njit(cache=True, nogil=True)
def from_small_float(small: int) -> np.float32:
    """Return the number that two bytes stand for."""
    if small == 0:
        return np.float32(0.0)
    return np.float32(np.uint32((small + _LOWEST) << _CUT_BITS).view(np.float32))


@njit(cache=True, nogil=True)
def _write(out: NDArray[np.uint8], at: int, value: int, num_bytes: int) -> int:
    for index in range(num_bytes):
        out[at + index] = np.uint8((np.int64(value) >> (8 * index)) & 255)
    return at + num_bytes


@njit(cache=True, nogil=True)
def _read(buffer: NDArray[np.uint8], at: int, num_bytes: int) -> int:
    value = np.int64(0)
    for index in range(num_bytes):
        value |= np.int64(buffer[at + index]) << (8 * index)
    return int(value)


@njit(cache=True, nogil=True)
def _write_float(out: NDArray[np.uint8], at: int, value: np.float32) -> int:
    return int(_write(out, at, np.int64(np.float32(value).view(np.uint32)), 4))


@njit(cache=True, nogil=True)
def _write_floats(out: NDArray[np.uint8], at: int, values: NDArray[np.float32], row: int) -> int:
    for column in range(values.shape[1]):
        at = _write_float(out, at, values[row, column])
    return at


@njit(cache=True, nogil=True)
def _read_floats(buffer: NDArray[np.uint8], at: int, values: NDArray[np.float32], row: int) -> int:
    for column in range(values.shape[1]):
        values[row, column] = np.uint32(_read(buffer, at, 4)).view(np.float32)
        at += 4
    return at


@njit(cache=True, nogil=True)
def measure_values(
    num_half_lives: int,
    num_windows: int,
    neighbour_splits: NDArray[np.int64],
    neighbour_lengths: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Return the bytes of each item's value: int64 (N,)."""
    lengths = np.empty(len(neighbour_splits) - 1, np.int64)
    for index in range(len(lengths)):
        total = FIXED_BYTES + 4 * (num_half_lives + NUM_ACTIONS + 3 * num_windows)
        for at in range(neighbour_splits[index], neighbour_splits[index + 1]):
            total += 1 + neighbour_lengths[at] + 6 * num_windows
        lengths[index] = total
    return lengths


@njit(cache=True, nogil=True)
def write_values(
    out: NDArray[np.uint8],
    starts: NDArray[np.int64],
    magic: int,
    buffer: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    as_of_ms: NDArray[np.int64],
    popularity: NDArray[np.float32],
    action_counts: NDArray[np.float32],
    interactions: NDArray[np.float32],
    out_sums: NDArray[np.float32],
    in_sums: NDArray[np.float32],
    neighbour_splits: NDArray[np.int64],
    neighbour_starts: NDArray[np.int64],
    neighbour_lengths: NDArray[np.int32],
    neighbour_out: NDArray[np.float32],
    neighbour_in: NDArray[np.float32],
    neighbour_cf: NDArray[np.float32],
) -> None:
    """Write every item's value at its start in ``out``; columns as in ``SignalColumns``."""
    num_windows = interactions.shape[1]
    for index in range(len(starts)):
        begin, end = neighbour_splits[index], neighbour_splits[index + 1]
        at = _write(out, starts[index], magic, 4)
        at = _write(out, at, popularity.shape[1], 1)
        at = _write(out, at, num_windows, 1)
        at = _write(out, at, end - begin, 2)
        at = _write(out, at, offsets[index], 8)
        at = _write(out, at, as_of_ms[index], 8)
        at = _write_floats(out, at, popularity, index)
        at = _write_floats(out, at, action_counts, index)
        at = _write_floats(out, at, interactions, index)
        at = _write_floats(out, at, out_sums, index)
        at = _write_floats(out, at, in_sums, index)
        for neighbour in range(begin, end):
            length = np.int64(neighbour_lengths[neighbour])
            at = _write(out, at, length, 1)
            for byte in range(length):
                out[at + byte] = buffer[neighbour_starts[neighbour] + byte]
            at += length
            for window in range(num_windows):
                at = _write(out, at, to_small_float(neighbour_out[neighbour, window]), 2)
            for window in range(num_windows):
                at = _write(out, at, to_small_float(neighbour_in[neighbour, window]), 2)
            for window in range(num_windows):
                at = _write(out, at, to_small_float(neighbour_cf[neighbour, window]), 2)


@njit(cache=True, nogil=True)
def check_values(
    buffer: NDArray[np.uint8],
    key_starts: NDArray[np.int64],
    key_lengths: NDArray[np.int32],
    value_starts: NDArray[np.int64],
    value_lengths: NDArray[np.int32],
    magic: int,
) -> NDArray[np.int64]:
    """Return H, W and K of each record, -1 where it is not whole, or ``NEWER``: int64 (E, 3)."""
    shapes = np.full((len(value_starts), 3), -1, np.int64)
    for index in range(len(value_starts)):
        at, length = value_starts[index], np.int64(value_lengths[index])
        if key_lengths[index] < 1 or key_lengths[index] > 255 or length < 4:
            continue
        end = at + length
        word = _read(buffer, at, 4)
        if word != magic:
            if word & 0xFFFFFF == magic & 0xFFFFFF and word > magic:
                shapes[index, 0] = NEWER
                shapes[index, 1] = word >> 24
            continue
        if length < FIXED_BYTES or _read(buffer, at + 8, 8) < 0:
            continue
        num_half_lives = _read(buffer, at + 4, 1)
        num_windows = _read(buffer, at + 5, 1)
        num_neighbours = _read(buffer, at + 6, 2)
        at += FIXED_BYTES
        num_floats = num_half_lives + NUM_ACTIONS + 3 * num_windows
        if at + 4 * num_floats > end:
            continue
        is_finite = True
        for _ in range(num_floats):
            is_finite &= bool(np.isfinite(np.uint32(_read(buffer, at, 4)).view(np.float32)))
            at += 4
        for _ in range(num_neighbours):
            if at >= end:
                break
            at += 1 + np.int64(buffer[at]) + 6 * num_windows
        else:
            if at == end and is_finite:
                shapes[index, 0] = num_half_lives
                shapes[index, 1] = num_windows
                shapes[index, 2] = num_neighbours
    return shapes


@njit(cache=True, nogil=True)
def read_values(
    buffer: NDArray[np.uint8],
    value_starts: NDArray[np.int64],
    offsets: NDArray[np.int64],
    as_of_ms: NDArray[np.int64],
    popularity: NDArray[np.float32],
    action_counts: NDArray[np.float32],
    interactions: NDArray[np.float32],
    out_sums: NDArray[np.float32],
    in_sums: NDArray[np.float32],
    neighbour_splits: NDArray[np.int64],
    neighbour_starts: NDArray[np.int64],
    neighbour_lengths: NDArray[np.int32],
    neighbour_out: NDArray[np.float32],
    neighbour_in: NDArray[np.float32],
    neighbour_cf: NDArray[np.float32],
) -> None:
    """Read values that :func:`check_values` found whole into columns of ``SignalColumns``."""
    num_windows = interactions.shape[1]
    for index in range(len(value_starts)):
        at = value_starts[index]
        offsets[index] = _read(buffer, at + 8, 8)
        as_of_ms[index] = _read(buffer, at + 16, 8)
        at = _read_floats(buffer, at + FIXED_BYTES, popularity, index)
        at = _read_floats(buffer, at, action_counts, index)
        at = _read_floats(buffer, at, interactions, index)
        at = _read_floats(buffer, at, out_sums, index)
        at = _read_floats(buffer, at, in_sums, index)
        for neighbour in range(neighbour_splits[index], neighbour_splits[index + 1]):
            length = np.int64(buffer[at])
            neighbour_lengths[neighbour] = length
            neighbour_starts[neighbour] = at + 1
            at += 1 + length
            for window in range(num_windows):
                place = at + 2 * window
                neighbour_out[neighbour, window] = from_small_float(_read(buffer, place, 2))
                place += 2 * num_windows
                neighbour_in[neighbour, window] = from_small_float(_read(buffer, place, 2))
                place += 2 * num_windows
                neighbour_cf[neighbour, window] = from_small_float(_read(buffer, place, 2))
            at += 6 * num_windows
