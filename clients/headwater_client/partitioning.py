"""Which partition a key belongs to: murmur2, as Kafka's own Java producer has it.

Headwater keeps a user's state where this function says. A record in another partition is not lost,
but travels once more. Written here, so that neither Kafka library's default can change it.
"""

from __future__ import annotations

from collections.abc import Iterable

_MASK = 0xFFFFFFFF
_MULTIPLIER = 0x5BD1E995


def murmur2(key: bytes) -> int:
    """Hash a key to 32 bits (MurmurHash2, seed 0x9747b28c).

    Source: Apache Kafka, ``org.apache.kafka.common.utils.Utils.murmur2``.

    >>> murmur2(b"foobar")
    3504634814
    """
    value = 0x9747B28C ^ len(key)
    body = len(key) & ~3
    for begin in range(0, body, 4):
        word = int.from_bytes(key[begin : begin + 4], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> 24) * _MULTIPLIER & _MASK
        value = value * _MULTIPLIER & _MASK ^ word
    if len(key) > body:
        value = (value ^ int.from_bytes(key[body:], "little")) * _MULTIPLIER & _MASK
    value = (value ^ value >> 13) * _MULTIPLIER & _MASK
    return value ^ value >> 15


def partition_of(key: bytes, partitions: Iterable[int]) -> int:
    """Return the one of a topic's partitions that a key belongs to.

    >>> partition_of(b"foobar", range(4))
    2
    """
    ordered = sorted(partitions)
    return ordered[(murmur2(key) & 0x7FFFFFFF) % len(ordered)]
