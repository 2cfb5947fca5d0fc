"""EventBatch: what a part of a batch keeps."""

from __future__ import annotations

import numpy as np
import pytest

from stream.decode import decode_events
from stream.events import EventBatch, Reject
from stream.slab import Slab
from tests.stream.record_builders import GOOD_LIKE, GOOD_WATCH, text_of


def batch() -> EventBatch:
    records = [
        {**GOOD_WATCH, "user_id": "ann", "item_id": "é"},
        {**GOOD_LIKE, "user_id": "bob", "event_id": "second"},
        {**GOOD_LIKE, "user_id": "cid"},
    ]
    values = [text_of(fields).encode() for fields in records]
    return decode_events(Slab.from_values([*values, b"bad"], first_offset=10))


def test_ids_are_read_as_text() -> None:
    events = batch()
    assert len(events) == 3
    assert (events.user_id(0), events.item_id(0), events.event_id(1)) == ("ann", "é", "second")


@pytest.mark.parametrize("indices", [np.array([0, 2]), np.array([True, False, True])])
def test_select_keeps_order_and_spans(indices: np.ndarray) -> None:
    events = batch()
    part = events.select(indices)
    assert part.offsets.tolist() == [10, 12]
    assert [part.user_id(index) for index in range(2)] == ["ann", "cid"]
    assert part.buffer is events.buffer
    assert (part.partition, part.begin, part.end) == (events.partition, events.begin, events.end)
    assert part.rejected == ()


def test_select_moves_a_part_to_another_partition() -> None:
    reject = Reject(offset=0, reason="bad_json", detail="", value=None)
    part = batch().select(
        np.array([1]), begin=5, end=7, partition=3, offsets=np.array([6]), rejected=(reject,)
    )
    assert (part.begin, part.end, part.partition) == (5, 7, 3)
    assert part.offsets.tolist() == [6]
    assert part.rejected == (reject,)


def test_nothing_selected_is_an_empty_batch_of_the_same_types() -> None:
    events = batch()
    none = events.select(np.zeros(3, np.bool_))
    assert len(none) == 0
    assert none.types.dtype == events.types.dtype == np.uint8
