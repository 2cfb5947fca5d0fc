"""Builders of interaction records for tests: good ones, and JSON text spliced in as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

GOOD_WATCH: dict[str, Any] = {
    "event_id": "e-1",
    "type": "watch",
    "user_id": "u-1",
    "item_id": "i-1",
    "ts": 1_700_000_000_000,
    "watch_ms": 1_500,
    "duration_ms": 30_000,
}
GOOD_LIKE: dict[str, Any] = {
    "event_id": "e-2",
    "type": "like",
    "user_id": "u-1",
    "item_id": "i-1",
    "ts": 1_700_000_000_000,
}
DAY_MS = 86_400_000


class Case(NamedTuple):
    """One record and what a person says of it."""

    name: str
    value: bytes | None
    kafka_timestamp_ms: int
    expected: str | None


# What a maker of cases yields: name, value, expected reason code or None.
Made = Iterator[tuple[str, bytes | None, str | None]]


class Raw(str):
    """JSON text to stand in a record as it is."""


def text_of(fields: dict[str, Any], *, space: str = "") -> str:
    """Write an object whose Raw values are spliced in; nothing is escaped but quotes."""
    members = (
        f"{json.dumps(name)}{space}:{space}"
        + (value if isinstance(value, Raw) else json.dumps(value, ensure_ascii=False))
        for name, value in fields.items()
    )
    return "{" + f"{space},{space}".join(members) + "}"


def with_field(name: str, value: Any, fields: dict[str, Any] = GOOD_WATCH) -> bytes:
    """Write a record with one field changed or added."""
    return text_of({**fields, name: value}).encode("utf-8", "surrogatepass")


def without(*names: str, fields: dict[str, Any] = GOOD_WATCH) -> bytes:
    """Write a record that lacks fields."""
    return text_of({k: v for k, v in fields.items() if k not in names}).encode()
