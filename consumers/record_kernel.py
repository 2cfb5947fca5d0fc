"""The numba kernel that reads the varints of all records of some batches into arrays.

Every position is checked against the record's own end, so that no bytes make it read elsewhere.
Source of the layout: ``DefaultRecord.java`` of Apache Kafka. Absent: checksums, compression.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_BROKEN = -1


@njit(cache=True, nogil=True)
def _varint(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[int, int]:
    """Read one zigzag varint; returns (value, next position), position -1 where it is broken."""
    value = np.uint64(0)
    shift = np.uint64(0)
    while at < stop and shift < np.uint64(70):
        byte = np.uint64(buffer[at])
        at += 1
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            sign = np.int64(value & np.uint64(1))
            return int(np.int64(value >> np.uint64(1)) ^ -sign), at
        shift += np.uint64(7)
    return 0, _BROKEN


@njit(cache=True, nogil=True)
def _span(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[int, int, int]:
    """Read one nullable length and step over its bytes; returns (start, length, next position).

    Start and length are -1 for null; the next position is -1 where it is broken.
    """
    length, at = _varint(buffer, at, stop)
    if at < 0 or length < -1 or length > stop - at:
        return -1, -1, _BROKEN
    if length < 0:
        return -1, -1, at
    return at, length, at + length


@njit(cache=True, nogil=True)
def _after_headers(buffer: NDArray[np.uint8], at: int, stop: int, count: int) -> int:
    """Return the position after ``count`` record headers, -1 where they are broken."""
    for _ in range(count):
        start, _length, at = _span(buffer, at, stop)
        if at < 0 or start < 0:  # A header's key is never null.
            return _BROKEN
        _start, _length, at = _span(buffer, at, stop)
        if at < 0:
            return _BROKEN
    return at


@njit(cache=True, nogil=True)
def _record(
    buffer: NDArray[np.uint8], at: int, stop: int
) -> tuple[int, int, int, int, int, int, int, int]:
    """Read one record.

    Returns:
        (next position, timestamp delta, offset delta, key start, key length, value start, value
        length, header start); the next position is -1 where the record is broken.
    """
    broken = (_BROKEN, 0, 0, 0, 0, 0, 0, 0)
    length, at = _varint(buffer, at, stop)
    if at < 0 or length < 1 or length > stop - at:
        return broken
    end = at + length
    time_delta, at = _varint(buffer, at + 1, end)  # One byte of unused attributes before it.
    if at < 0:
        return broken
    offset_delta, at = _varint(buffer, at, end)
    if at < 0:
        return broken
    key_start, key_length, at = _span(buffer, at, end)
    if at < 0:
        return broken
    value_start, value_length, header_start = _span(buffer, at, end)
    if header_start < 0:
        return broken
    num_headers, at = _varint(buffer, header_start, end)
    if at < 0 or num_headers < 0 or num_headers > end - at:
        return broken
    if num_headers > 0:
        at = _after_headers(buffer, at, end, num_headers)
    else:
        header_start = -1
    if at != end:
        return broken
    return (
        end,
        time_delta,
        offset_delta,
        key_start,
        key_length,
        value_start,
        value_length,
        (header_start),
    )


@njit(cache=True, nogil=True)
def read_records(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    facts: NDArray[np.int64],
    begin: int,
    times: NDArray[np.int64],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int32],
) -> int:
    """Read all records of all batches into the output arrays.

    Args:
        buffer: uint8, bytes of all batches' records.
        starts: int64 (number of batches,), where each batch's records start in ``buffer``.
        stops: int64 (number of batches,), where they end; half-open.
        facts: int64 (number of batches, 5): base offset, last offset delta, first timestamp,
            append timestamp (-1: each record's own), number of records.
        begin: Records below this offset are left out.
        times: Output, int64 (2, E): offsets, timestamps in ms.
        positions: Output, int64 (3, E): key, value and header starts.
        lengths: Output, int32 (2, E): key and value lengths. E at least the sum of the counts.

    Returns:
        How many records were written; ``-(index + 1)`` of the first batch that is broken.
    """
    found = 0
    for index in range(len(starts)):
        at = starts[index]
        stop = stops[index]
        base = facts[index, 0]
        append_ms = facts[index, 3]
        last = np.int64(-1)
        for _ in range(facts[index, 4]):
            at, time_delta, delta, key, key_length, value, value_length, headers = _record(
                buffer, at, stop
            )
            if at < 0 or delta <= last or delta > facts[index, 1]:
                return -index - 1
            last = delta
            if base + delta < begin:
                continue
            times[0, found] = base + delta
            times[1, found] = append_ms if append_ms >= 0 else facts[index, 2] + time_delta
            positions[0, found] = key
            positions[1, found] = value
            positions[2, found] = headers
            lengths[0, found] = key_length
            lengths[1, found] = value_length
            found += 1
        if at != stop:
            return -index - 1
    return found


def compile_kernels() -> None:
    """Compile the kernel or load it from the cache; call before the worker joins its group."""
    # Bytes of a fetch are read-only, decompressed ones may be written: two types to a kernel.
    for buffer in (np.zeros(1, np.uint8), np.frombuffer(b"\0", np.uint8)):
        read_records(
            buffer,
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros((0, 5), np.int64),
            0,
            np.zeros((2, 0), np.int64),
            np.zeros((3, 0), np.int64),
            np.zeros((2, 0), np.int32),
        )
