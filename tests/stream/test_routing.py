"""Misrouted records: found, copied with their origin, dropped the second time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.hashing import partitions_of
from stream.decode import decode_events
from stream.routing import (
    HEADER_FROM,
    HEADER_SOURCE,
    admit_copies,
    compile_kernels,
    decode_origin,
    encode_origin,
    owners,
    read_origins,
    split_routed,
)
from stream.slab import Slab
from tests.stream.record_builders import GOOD_LIKE, text_of

Headers = list[tuple[bytes, bytes | None]]


def varint(number: int) -> bytes:
    """Write a zigzag varint as Kafka does."""
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def headers_bytes(headers: Headers) -> bytes:
    parts = [varint(len(headers))]
    for name, value in headers:
        parts += [varint(len(name)), name]
        parts += [varint(-1)] if value is None else [varint(len(value)), value]
    return b"".join(parts)


def value_of(user: str, number: int = 0) -> bytes:
    return text_of({**GOOD_LIKE, "user_id": user, "event_id": f"e{number}"}).encode()


def slab_of(
    values: list[bytes], headers: list[bytes], *, partition: int = 0, first_offset: int = 0
) -> Slab:
    """Make a slab whose records have these header bytes (empty for none)."""
    slab = Slab.from_values(values, partition=partition, first_offset=first_offset)
    starts, buffer = [], slab.buffer.tobytes()
    for each in headers:
        starts.append(len(buffer) if each else -1)
        buffer += each
    return replace(
        slab, buffer=np.frombuffer(buffer, np.uint8), header_starts=np.array(starts, np.int64)
    )


def partition_of(user: str, num_partitions: int) -> int:
    data = np.frombuffer(user.encode(), np.uint8)
    spans = np.array([0]), np.array([len(data)], np.int32)
    return int(partitions_of(data, *spans, num_partitions)[0])


def users_at(partition: int, num_partitions: int, count: int) -> list[str]:
    names = (f"user-{n}" for n in range(10_000))
    return [name for name in names if partition_of(name, num_partitions) == partition][:count]


def origin_header(partition: int, offset: int) -> bytes:
    return headers_bytes([(HEADER_FROM.encode(), encode_origin(partition, offset))])


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**18 - 1))
def test_origin_comes_back(partition: int, offset: int) -> None:
    assert decode_origin(encode_origin(partition, offset)) == (partition, offset)


def test_what_is_no_origin_is_none() -> None:
    for header in (b"", b"1", b"1/", b"/1", b"-1/2", b"1/-2", b"1/2/3", b" 1/2", b"1/2 ", b"1/2\n",
                   b"01/2", b"1/02", b"+1/2", b"1.0/2", "١/٢".encode(), b"1" * 10 + b"/1",
                   b"1/" + b"1" * 19, b"\xff/1"):  # fmt: skip
        assert decode_origin(header) is None, header


NAMES = st.sampled_from([HEADER_FROM.encode(), b"trace", b"", b"headwater-fro", b"headwater-from2"])
HEADERS = st.lists(
    st.tuples(
        NAMES,
        st.none()
        | st.binary(max_size=40)
        | st.tuples(st.integers(0, 99), st.integers(0, 10**18 - 1)).map(
            lambda o: encode_origin(*o)
        ),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.none() | HEADERS, max_size=6))
def test_origins_are_read_out_of_any_headers(records: list[Headers | None]) -> None:
    expected = []
    for headers in records:
        origin = None
        for name, value in headers or []:
            if name == HEADER_FROM.encode() and value and decode_origin(value):
                origin = decode_origin(value)
            elif name == HEADER_FROM.encode() and value and len(value) <= 28:
                origin = None  # The last readable span counts, and this one is no origin.
        expected.append(origin or (-1, -1))
    blobs = [b"" if headers is None else headers_bytes(headers) for headers in records]
    slab = slab_of([b"{}"] * len(records), blobs)
    partitions, offsets = read_origins(slab.buffer, slab.header_starts)
    assert partitions.dtype == np.int32 and offsets.dtype == np.int64
    assert list(zip(partitions.tolist(), offsets.tolist(), strict=True)) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=60))
def test_broken_headers_are_no_origin_and_no_crash(data: bytes) -> None:
    buffer = np.frombuffer(data, np.uint8)
    starts = np.arange(len(data), dtype=np.int64)
    partitions, offsets = read_origins(buffer, starts)
    assert ((partitions >= 0) == (offsets >= 0)).all()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 9)), max_size=30))
def test_each_source_offset_is_admitted_once_and_never_again(copies: list[tuple[int, int]]) -> None:
    marks = {0: 2, 1: 0, 2: 5}
    origins = np.array([2, 0, 5])
    expected = []
    for source, offset in copies:
        is_new = source < 0 or offset >= marks[source]
        if is_new and source >= 0:
            marks[source] = offset + 1
        expected.append(is_new)
    sources = np.array([source for source, _ in copies], np.int32)
    offsets = np.array([offset for _, offset in copies], np.int64)
    assert admit_copies(sources, offsets, origins).tolist() == expected
    assert origins.tolist() == [marks[0], marks[1], marks[2]]


def test_foreign_events_leave_and_those_at_home_stay() -> None:
    home, away = users_at(1, 4, 2), users_at(3, 4, 2)
    users = [home[0], away[0], home[1], away[1]]
    slab = slab_of([value_of(user) for user in users], [b""] * 4, partition=1, first_offset=50)
    own, copies = split_routed(decode_events(slab), slab, np.zeros(4, np.int64), 50)
    assert [own.user_id(index) for index in range(2)] == home
    assert (own.begin, own.end) == (50, 54)
    assert copies.offsets.tolist() == [51, 53]
    assert copies.partitions.tolist() == [3, 3]
    assert copies.keys == tuple(user.encode() for user in away)
    assert copies.values == (value_of(away[0]), value_of(away[1]))
    assert copies.headers == (b"1/51", b"1/53")


def test_a_copy_is_the_value_as_it_came_even_with_escapes() -> None:
    value = value_of("x").replace(b'"x"', b'"\\u00fc"')
    home = 1 - partition_of("ü", 2)
    slab = slab_of([value], [b""], partition=home)
    _, copies = split_routed(decode_events(slab), slab, np.zeros(2, np.int64), 0)
    assert copies.values == (value,) and copies.keys == ("ü".encode(),)


def test_events_already_counted_are_neither_copied_nor_lost() -> None:
    away = users_at(1, 2, 1)[0]
    slab = slab_of([value_of(away)] * 3, [b""] * 3, partition=0)
    own, copies = split_routed(decode_events(slab), slab, np.zeros(2, np.int64), 2)
    assert own.offsets.tolist() == [0, 1]
    assert copies.offsets.tolist() == [2]


def test_a_copy_is_taken_once() -> None:
    home = users_at(0, 2, 1)[0]
    headers = [origin_header(1, 7), origin_header(1, 7), origin_header(1, 9), origin_header(1, 8)]
    slab = slab_of([value_of(home, n) for n in range(4)], headers)
    origins = np.zeros(2, np.int64)
    own, copies = split_routed(decode_events(slab), slab, origins, 0)
    assert own.offsets.tolist() == [0, 2]
    assert len(copies) == 0
    assert origins.tolist() == [0, 10]


@pytest.mark.parametrize("knows_id", [True, False])
def test_copies_of_a_log_that_was_mirrored_swallow_no_copy_of_this_one(knows_id: bool) -> None:
    #   mirrored from another cluster: 1/1000000 of topic "old"; then routed here: 1/5000 of "new"
    home = users_at(0, 2, 1)[0]
    headers = [
        headers_bytes([(HEADER_FROM.encode(), origin), (HEADER_SOURCE.encode(), source)])
        for origin, source in [(b"1/1000000", b"old"), (b"1/5000", b"new"), (b"1/5000", b"new")]
    ]
    headers.append(origin_header(1, 5001))  # Of a worker that named no topic yet.
    slab = slab_of([value_of(home, n) for n in range(4)], headers)
    origins = np.zeros(2, np.int64)
    topic_id = "new" if knows_id else None
    own, _ = split_routed(decode_events(slab), slab, origins, 0, topic_id)
    assert own.offsets.tolist() == ([0, 1, 3] if knows_id else [0])
    assert origins.tolist() == ([0, 5002] if knows_id else [0, 1_000_001])


def test_copies_below_the_next_offset_do_not_move_the_watermark() -> None:
    home = users_at(0, 2, 1)[0]
    slab = slab_of([value_of(home)], [origin_header(1, 7)])
    origins = np.zeros(2, np.int64)
    own, _ = split_routed(decode_events(slab), slab, origins, 1)
    assert len(own) == 1 and origins.tolist() == [0, 0]


def test_a_copy_that_belongs_elsewhere_is_a_reject_and_never_routed_again() -> None:
    away = users_at(1, 2, 1)[0]
    slab = slab_of([value_of(away), b"bad", value_of(away)], [origin_header(1, 3), b"", b""])
    own, copies = split_routed(decode_events(slab), slab, np.zeros(2, np.int64), 0)
    assert [(each.offset, each.reason) for each in own.rejected] == [
        (0, "misrouted"),
        (1, "bad_json"),
    ]
    assert own.rejected[0].value == value_of(away)
    assert copies.offsets.tolist() == [2]


def test_an_origin_out_of_range_is_a_record_like_any_other() -> None:
    home = users_at(0, 2, 1)[0]
    slab = slab_of([value_of(home)] * 2, [origin_header(2, 3)] * 2)
    own, _ = split_routed(decode_events(slab), slab, np.zeros(2, np.int64), 0)
    assert len(own) == 2


def test_without_a_slab_every_event_is_at_home() -> None:
    away = users_at(1, 2, 1)[0]
    events = decode_events(Slab.from_values([value_of(away)]))
    own, copies = split_routed(events, None, np.zeros(2, np.int64), 0)
    assert own is events and len(copies) == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_partitioner_and_any_cut_bring_each_event_home_once(data: st.DataObject) -> None:
    """Two partitions with random contents; copies are appended, slabs are cut and re-read."""
    users = [f"u{n}" for n in range(6)]
    logs: list[list[tuple[bytes, bytes]]] = [[], []]
    produced: Counter[tuple[str, str]] = Counter()
    for number in range(data.draw(st.integers(0, 15))):
        user = data.draw(st.sampled_from(users))
        logs[data.draw(st.integers(0, 1))].append((value_of(user, number), b""))
        produced[user, f"e{number}"] += 1
    folded: Counter[tuple[str, str]] = Counter()
    origins = np.zeros((2, 2), np.int64)
    wanted, read, routed = [0, 0], 0, 0
    while any(wanted[p] < len(logs[p]) for p in (0, 1)):
        partition = data.draw(st.integers(0, 1))
        begin = data.draw(st.integers(0, wanted[partition]))  # A re-read starts below.
        end = min(len(logs[partition]), begin + data.draw(st.integers(1, 9)))
        part = logs[partition][begin:end]
        slab = slab_of(
            [value for value, _ in part], [header for _, header in part],
            partition=partition, first_offset=begin,
        )  # fmt: skip
        own, copies = split_routed(decode_events(slab), slab, origins[partition], wanted[partition])
        for index in range(len(own)):
            if own.offsets[index] >= wanted[partition]:
                assert owners(own, 2)[index] == partition
                folded[own.user_id(index), own.event_id(index)] += 1
                read += 1
        routed += len(copies)
        read += len(copies)
        for target, value, header in zip(
            copies.partitions.tolist(), copies.values, copies.headers, strict=True
        ):
            record = (value, headers_bytes([(HEADER_FROM.encode(), header)]))
            logs[target] += [record] * data.draw(st.integers(1, 2))  # A retry may copy twice.
        wanted[partition] = max(wanted[partition], end)
    assert folded == produced
    assert read - routed == sum(produced.values())


def test_kernels_compile() -> None:
    compile_kernels()
