"""Slab: named constructors and what a record's parts are."""

from __future__ import annotations

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
