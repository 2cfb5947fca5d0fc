"""An items log: due by time, removals without a value, unreadable lines for the decoder."""

import json
from typing import Any

from stream.announcements import Announcements
from stream.decode_items import DecodedItems, decode_items


def line(item_id: str, **more: Any) -> bytes:
    return json.dumps({"item_id": item_id, "author_id": "x", "created_at": 5} | more).encode()


def ids(decoded: DecodedItems) -> list[bytes]:
    return [decoded.columns.item_id(index) for index in range(len(decoded.columns))]


def test_records_are_taken_once_when_they_are_due() -> None:
    log = Announcements([line("late", ts=30), line("early", ts=10), line("born")])
    assert log.take(4) is None
    first = log.take(10)
    assert first is not None
    assert ids(decode_items(first)) == [b"born", b"early"]
    assert log.take(10) is None
    assert len(log) == 1
    rest = log.take(1_000)
    assert rest is not None
    assert ids(decode_items(rest)) == [b"late"]
    assert len(log) == 0


def test_a_removed_item_is_a_record_without_value() -> None:
    removal = json.dumps({"item_id": "a", "ts": 9, "status": "removed"}).encode()
    log = Announcements([line("a"), line("b"), removal])
    slab = log.take(9)
    assert slab is not None
    assert slab.value(2) is None
    decoded = decode_items(slab)
    assert decoded.removed_ids == (b"a",)
    assert ids(decoded) == [b"b"]


def test_lines_that_are_no_items_are_rejected_and_lose_nobody() -> None:
    log = Announcements([b"{", b'{"item_id":"a","created_at":-3}', line("good")])
    slab = log.take(5)
    assert slab is not None
    decoded = decode_items(slab)
    assert len(decoded.rejected) == 2
    assert ids(decoded) == [b"good"]
