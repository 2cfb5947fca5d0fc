"""Hash byte spans inside numba kernels: XXH64 for tables, murmur2 for Kafka's partitioner.

Both read ``buffer[start : start + length]`` and never make a Python object. They are stable over
machines and versions: hashes are part of snapshots and digests.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.kernels import kernel

_PRIME_1 = np.uint64(0x9E3779B185EBCA87)
_PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_3 = np.uint64(0x165667B19E3779F9)
_PRIME_4 = np.uint64(0x85EBCA77C2B2AE63)
_PRIME_5 = np.uint64(0x27D4EB2F165667C5)
_ONE = np.uint64(1)
_FOUR = np.uint64(4)
_EIGHT = np.uint64(8)


@kernel
def _rotate(value: np.uint64, bits: int) -> np.uint64:
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@kernel
def load64(buffer: NDArray[np.uint8], position: np.uint64) -> np.uint64:
    """Read eight bytes, little-endian; ``position`` is unsigned so that LLVM makes one load."""
    return (
        np.uint64(buffer[position])
        | np.uint64(buffer[position + np.uint64(1)]) << np.uint64(8)
        | np.uint64(buffer[position + np.uint64(2)]) << np.uint64(16)
        | np.uint64(buffer[position + np.uint64(3)]) << np.uint64(24)
        | np.uint64(buffer[position + np.uint64(4)]) << np.uint64(32)
        | np.uint64(buffer[position + np.uint64(5)]) << np.uint64(40)
        | np.uint64(buffer[position + np.uint64(6)]) << np.uint64(48)
        | np.uint64(buffer[position + np.uint64(7)]) << np.uint64(56)
    )


@kernel
def _load32(buffer: NDArray[np.uint8], position: np.uint64) -> np.uint64:
    return (
        np.uint64(buffer[position])
        | np.uint64(buffer[position + np.uint64(1)]) << np.uint64(8)
        | np.uint64(buffer[position + np.uint64(2)]) << np.uint64(16)
        | np.uint64(buffer[position + np.uint64(3)]) << np.uint64(24)
    )


@kernel
def mix64(value: np.uint64) -> np.uint64:
    """Spread the bits of one word (XXH64's avalanche); a bijection."""
    value = (value ^ (value >> np.uint64(33))) * _PRIME_2
    value = (value ^ (value >> np.uint64(29))) * _PRIME_3
    return np.uint64(value ^ (value >> np.uint64(32)))


@kernel
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return np.uint64(_rotate(lane + word * _PRIME_2, 31) * _PRIME_1)


@kernel
def _hash_stripes(
    buffer: NDArray[np.uint8], position: np.uint64, stop: np.uint64, seed: np.uint64
) -> np.uint64:
    """Fold whole 32-byte stripes of ``[position, stop)``; four lanes, merged."""
    lane_1 = seed + _PRIME_1 + _PRIME_2
    lane_2 = seed + _PRIME_2
    lane_3 = seed
    lane_4 = seed - _PRIME_1
    while position + np.uint64(32) <= stop:
        lane_1 = _round(lane_1, load64(buffer, position))
        lane_2 = _round(lane_2, load64(buffer, position + np.uint64(8)))
        lane_3 = _round(lane_3, load64(buffer, position + np.uint64(16)))
        lane_4 = _round(lane_4, load64(buffer, position + np.uint64(24)))
        position += np.uint64(32)
    value = _rotate(lane_1, 1) + _rotate(lane_2, 7) + _rotate(lane_3, 12) + _rotate(lane_4, 18)
    value = (value ^ _round(np.uint64(0), lane_1)) * _PRIME_1 + _PRIME_4
    value = (value ^ _round(np.uint64(0), lane_2)) * _PRIME_1 + _PRIME_4
    value = (value ^ _round(np.uint64(0), lane_3)) * _PRIME_1 + _PRIME_4
    return np.uint64((value ^ _round(np.uint64(0), lane_4)) * _PRIME_1 + _PRIME_4)


@kernel
def hash64(buffer: NDArray[np.uint8], start: int, length: int, seed: int) -> np.uint64:
    """Hash one span to 64 bits: XXH64 (Collet 2012, https://xxhash.com), bit for bit.

    >>> hex(hash64(np.frombuffer(b"abc", np.uint8), 0, 3, 0))
    '0x44bc2cf5ad770999'
    """
    position = np.uint64(start)
    stop = position + np.uint64(length)
    base = np.uint64(seed)
    if length >= 32:
        value = _hash_stripes(buffer, position, stop, base)
        position += np.uint64(length) & ~np.uint64(31)
    else:
        value = base + _PRIME_5
    value += np.uint64(length)
    while position + _EIGHT <= stop:
        value ^= _round(np.uint64(0), load64(buffer, position))
        value = _rotate(value, 27) * _PRIME_1 + _PRIME_4
        position += _EIGHT
    if position + _FOUR <= stop:
        value ^= _load32(buffer, position) * _PRIME_1
        value = _rotate(value, 23) * _PRIME_2 + _PRIME_3
        position += _FOUR
    while position < stop:
        value ^= np.uint64(buffer[position]) * _PRIME_5
        value = _rotate(value, 11) * _PRIME_1
        position += _ONE
    return np.uint64(mix64(value))


@kernel
def spans_equal(
    left: NDArray[np.uint8],
    left_start: int,
    right: NDArray[np.uint8],
    right_start: int,
    length: int,
) -> bool:
    """Tell whether two spans of one length hold the same bytes."""
    i = np.uint64(left_start)
    j = np.uint64(right_start)
    stop = i + np.uint64(length)
    while i + _EIGHT <= stop:
        if load64(left, i) != load64(right, j):
            return False
        i += _EIGHT
        j += _EIGHT
    while i < stop:
        if left[i] != right[j]:
            return False
        i += _ONE
        j += _ONE
    return True


@kernel
def murmur2(buffer: NDArray[np.uint8], start: int, length: int) -> np.uint32:
    """Hash one span as Kafka's default partitioner does (MurmurHash2, seed 0x9747b28c).

    Source: Apache Kafka, ``org.apache.kafka.common.utils.Utils.murmur2``.

    >>> int(murmur2(np.frombuffer(b"foobar", np.uint8), 0, 6))
    3504634814
    """
    multiplier = np.uint32(0x5BD1E995)
    value = np.uint32(np.uint32(0x9747B28C) ^ np.uint32(length))
    position = np.uint64(start)
    for _ in range(length // 4):
        word = np.uint32(np.uint32(_load32(buffer, position)) * multiplier)
        word = np.uint32(np.uint32(word ^ (word >> np.uint32(24))) * multiplier)
        value = np.uint32(np.uint32(value * multiplier) ^ word)
        position += _FOUR
    rest = length % 4
    if rest >= 3:
        value = np.uint32(value ^ np.uint32(buffer[position + np.uint64(2)]) << np.uint32(16))
    if rest >= 2:
        value = np.uint32(value ^ np.uint32(buffer[position + np.uint64(1)]) << np.uint32(8))
    if rest >= 1:
        value = np.uint32(np.uint32(value ^ np.uint32(buffer[position])) * multiplier)
    value = np.uint32(np.uint32(value ^ (value >> np.uint32(13))) * multiplier)
    return np.uint32(value ^ (value >> np.uint32(15)))


@kernel
def partition_of(buffer: NDArray[np.uint8], start: int, length: int, num_partitions: int) -> int:
    """Return the partition that a Java producer gives to this key: int32, ``[0, n)``.

    >>> int(partition_of(np.frombuffer(b"foobar", np.uint8), 0, 6, 4))
    2
    """
    positive = np.int64(murmur2(buffer, start, length)) & np.int64(0x7FFFFFFF)
    return int(positive % np.int64(num_partitions))


@njit(cache=True, nogil=True)
def partitions_of(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    num_partitions: int,
) -> NDArray[np.int32]:
    """Return :func:`partition_of` for each span: int32 (E,)."""
    partitions = np.empty(len(starts), np.int32)
    for i in range(len(starts)):
        partitions[i] = partition_of(buffer, starts[i], lengths[i], num_partitions)
    return partitions
