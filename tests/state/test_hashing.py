"""Known answers of XXH64 and of Kafka's murmur2, and equality with slow versions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.hashing import hash64, mix64, murmur2, partition_of, partitions_of, spans_equal

MASK = 2**64 - 1
PRIMES = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & MASK


def slow_round(lane: int, word: int) -> int:
    return rotate((lane + word * PRIMES[1]) & MASK, 31) * PRIMES[0] & MASK


def slow_xxh64(data: bytes, seed: int) -> int:
    p1, p2, p3, p4, p5 = PRIMES
    rest = data
    if len(data) >= 32:
        lanes = [(seed + p1 + p2) & MASK, (seed + p2) & MASK, seed, (seed - p1) & MASK]
        while len(rest) >= 32:
            words = np.frombuffer(rest[:32], "<u8").tolist()
            lanes = [slow_round(lane, word) for lane, word in zip(lanes, words, strict=True)]
            rest = rest[32:]
        value = sum(rotate(lane, n) for lane, n in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            value = ((value ^ slow_round(0, lane)) * p1 + p4) & MASK
    else:
        value = (seed + p5) & MASK
    value = (value + len(data)) & MASK
    while len(rest) >= 8:
        value ^= slow_round(0, int.from_bytes(rest[:8], "little"))
        value = (rotate(value, 27) * p1 + p4) & MASK
        rest = rest[8:]
    if len(rest) >= 4:
        value ^= int.from_bytes(rest[:4], "little") * p1 & MASK
        value = (rotate(value, 23) * p2 + p3) & MASK
        rest = rest[4:]
    for byte in rest:
        value = rotate(value ^ (byte * p5 & MASK), 11) * p1 & MASK
    value = (value ^ (value >> 33)) * p2 & MASK
    value = (value ^ (value >> 29)) * p3 & MASK
    return value ^ (value >> 32)


def of(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0xEF46DB3751D8E999), (b"a", 0xD24EC4F1A98C6E5B), (b"abc", 0x44BC2CF5AD770999)],
)
def test_hash64_is_xxh64(data: bytes, expected: int) -> None:
    assert int(hash64(of(data), 0, len(data), 0)) == expected


@given(data=st.binary(max_size=200), seed=st.integers(0, MASK), pad=st.integers(0, 9))
@settings(deadline=None, max_examples=200)
def test_hash64_equals_slow_xxh64_wherever_the_span_lies(data: bytes, seed: int, pad: int) -> None:
    buffer = of(b"\xff" * pad + data + b"\xee" * pad)

    assert int(hash64(buffer, pad, len(data), np.uint64(seed))) == slow_xxh64(data, seed)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_kafkas_published_answers(key: bytes, expected: int) -> None:
    assert int(murmur2(of(key), 0, len(key))) == expected % 2**32


@given(keys=st.lists(st.binary(max_size=40), max_size=8), n=st.integers(1, 1000))
@settings(deadline=None, max_examples=50)
def test_partitions_of_is_partition_of_each(keys: list[bytes], n: int) -> None:
    lengths = np.array([len(key) for key in keys], np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    buffer = of(b"".join(keys))

    partitions = partitions_of(buffer, starts, lengths, n)

    assert partitions.dtype == np.int32
    assert partitions.tolist() == [partition_of(of(key), 0, len(key), n) for key in keys]
    assert partitions.tolist() == [
        (int(murmur2(of(key), 0, len(key))) & 0x7FFFFFFF) % n for key in keys
    ]


@given(left=st.binary(max_size=30), flip=st.integers(0, 29))
@settings(deadline=None, max_examples=50)
def test_spans_equal_sees_every_byte(left: bytes, flip: int) -> None:
    right = bytearray(b"x" + left)

    assert spans_equal(of(left), 0, of(bytes(right)), 1, len(left))
    if flip < len(left):
        right[1 + flip] ^= 1
        assert not spans_equal(of(left), 0, of(bytes(right)), 1, len(left))


def test_mix64_keeps_words_apart() -> None:
    assert len({int(mix64(np.uint64(i))) for i in range(1000)}) == 1000
