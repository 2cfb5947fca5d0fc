"""Slab: named constructors and what a record's parts are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.slab import Slab

INT64 = ("offsets", "timestamps_ms", "key_starts", "value_starts", "header_starts")
INT32 = ("key_lengths", "value_lengths")


def check_types(slab: Slab) -> None:
    assert slab.buffer.dtype == np.uint8
    for names, dtype in ((INT64, np.int64), (INT32, np.int32)):
        for name in names:
            column = getattr(slab, name)
            assert column.dtype == dtype and column.shape == (len(slab),), name


@given(st.lists(st.none() | st.binary(max_size=20), max_size=20), st.integers(0, 10**12))
def test_values_come_back(values: list[bytes | None], first_offset: int) -> None:
    slab = Slab.from_values(values, topic="t", partition=2, first_offset=first_offset)
    check_types(slab)
    assert [slab.value(index) for index in range(len(slab))] == values
    assert [slab.key(index) for index in range(len(slab))] == [None] * len(values)
    assert slab.buffer.flags.writeable  # Else each fold of a part copies the whole.
    assert (slab.topic, slab.partition) == ("t", 2)
    assert (slab.begin, slab.end) == (first_offset, first_offset + len(values))
    assert slab.offsets.tolist() == list(range(first_offset, slab.end))
    assert (slab.timestamps_ms == -1).all() and (slab.header_starts == -1).all()


def test_null_and_empty_values_differ() -> None:
    slab = Slab.from_values([None, b""])
    assert slab.value_lengths.tolist() == [-1, 0]
    assert slab.value_starts.tolist() == [-1, 0]


def test_timestamps_are_taken_as_given() -> None:
    slab = Slab.from_values([b"a", b"b"], timestamps_ms=[5, -1])
    assert slab.timestamps_ms.tolist() == [5, -1]


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=9))
def test_records_come_back(records: list[tuple[bytes, bytes]]) -> None:
    slab = Slab.from_records(records)
    check_types(slab)
    assert [(slab.key(index), slab.value(index)) for index in range(len(slab))] == records


@given(st.lists(st.lists(st.none() | st.binary(max_size=9), max_size=5), min_size=1, max_size=5))
def test_joined_slabs_hold_the_same_records(parts: list[list[bytes | None]]) -> None:
    slabs, begin = [], 7
    for values in parts:
        slabs.append(Slab.from_values(values, partition=3, first_offset=begin))
        begin += len(values)
    joined = Slab.concat(slabs)
    check_types(joined)
    assert (joined.begin, joined.end, joined.partition) == (7, begin, 3)
    assert joined.offsets.tolist() == list(range(7, begin))
    assert [joined.value(i) for i in range(len(joined))] == [v for part in parts for v in part]
    assert [joined.key(i) for i in range(len(joined))] == [None] * len(joined)


def test_joining_keeps_keys_headers_and_nulls() -> None:
    one = Slab.from_records([(b"a", b"1"), (None, None)])
    two = replace(
        Slab.from_records([(b"bc", None), (b"", b"22")]),
        begin=2,
        end=4,
        offsets=np.array([2, 3]),
        header_starts=np.array([1, -1]),
    )
    joined = Slab.concat([one, two])
    assert [(joined.key(i), joined.value(i)) for i in range(4)] == [
        (b"a", b"1"),
        (None, None),
        (b"bc", None),
        (b"", b"22"),
    ]
    assert joined.header_starts.tolist() == [-1, -1, len(one.buffer) + 1, -1]
