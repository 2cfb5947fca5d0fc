"""Frames say which topic they were made from; those of another topic of the name are refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consumers.frame_origins import check_sources, source_headers
from consumers.records import RecordsWalk
from stream.errors import StateMismatch
from stream.slab import Slab
from tests.consumers.batches import Record, record_batch

MINE, OTHER = "0f" * 18, "1e" * 18


def slab_of(headers: Sequence[Sequence[tuple[str, bytes | None]]]) -> Slab:
    """Return one slab of records with these headers, as the worker reads it."""
    records = [Record(delta=delta, headers=tuple(each)) for delta, each in enumerate(headers)]
    walk = RecordsWalk(max_slab_bytes=1 << 20, max_batch_bytes=1 << 20)
    (slab,) = walk.slabs(record_batch(records, base_offset=7), topic="deltas", partition=2, begin=7)
    return slab


def check(*headers: Sequence[tuple[str, bytes | None]], topic_id: str | None = MINE) -> None:
    check_sources(slab_of(headers), interactions="events", topic_id=topic_id)


def test_frames_of_this_topic_and_frames_that_do_not_say_are_taken() -> None:
    check(source_headers(MINE), source_headers(None), source_headers(MINE))
    check(source_headers(None))


@pytest.mark.parametrize(
    "others",
    [
        [("trace", b"0f")],
        [("trace", None)],
        [("headwater-sourcE", OTHER.encode())],
        [("x", b"y" * 200)],
    ],
)
def test_headers_of_others_say_nothing(others: Sequence[tuple[str, bytes | None]]) -> None:
    check(others, source_headers(MINE), others)


def test_a_frame_made_from_another_topic_is_refused_with_what_to_do() -> None:
    wanted = f"deltas/2: expected .* events with id {MINE}, .* offset 8 .* {OTHER}.*new item-deltas"
    with pytest.raises(StateMismatch, match=wanted):
        check([], source_headers(OTHER), source_headers(MINE))


def test_where_the_brokers_give_no_ids_nothing_is_refused() -> None:
    check(source_headers(OTHER), topic_id=None)
