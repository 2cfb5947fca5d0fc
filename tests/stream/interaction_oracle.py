"""The slow obvious reading of one interaction: standard library and loops, no numba, no pydantic.

Shares nothing with ``stream`` but the limits; used to check the published model and the decoder.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from stream import wire

KNOWN = (
    "event_id", "type", "user_id", "item_id", "ts", "watch_ms", "duration_ms", "request_id",
    "position", "device",
)  # fmt: skip
TYPES = ("watch", "like", "comment", "share", "not_interested", "follow", "unlike", "erase")
Values = tuple[str, str, str, str, int, int, int, int]


class NotStrict(ValueError):
    """The text is JSON for Python only."""


def _refuse(constant: str) -> NoReturn:
    raise NotStrict(constant)


def nesting(text: str) -> int:
    """Return how deep brackets outside of strings nest."""
    depth, deepest, in_string, index = 0, 0, False, 0
    while index < len(text):
        if text[index] == "\\":
            index += 1
        elif text[index] == '"':
            in_string = not in_string
        elif not in_string and text[index] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif not in_string and text[index] in "]}":
            depth -= 1
        index += 1
    return deepest


def read_json(text: str) -> Any:
    """Read strict JSON; raise ValueError for what only Python takes."""
    parsed = json.loads(text, parse_constant=_refuse)
    json.dumps(parsed, ensure_ascii=False).encode()  # Lone surrogates raise here.
    return parsed


def _judge_id(value: Any) -> str | None:
    if not isinstance(value, str):
        return "wrong_type"
    if not 1 <= len(value) <= wire.MAX_ID_CHARS or re.search(r"[\x00-\x1f\x7f-\x9f]", value):
        return "bad_id"
    if len(value.encode(errors="surrogatepass")) > 255:
        return "bad_id"
    return None


def _judge_number(value: Any, largest: int) -> str | None:
    if type(value) is not int:
        return "wrong_type"
    return None if 0 <= value <= largest else "out_of_range"


def _judge_field(name: str, value: Any) -> str | None:
    if name in ("event_id", "user_id", "item_id"):
        return _judge_id(value)
    if name == "type":
        if not isinstance(value, str):
            return "wrong_type"
        return None if value in TYPES else "unknown_type"
    if name in ("request_id", "device"):
        return None if isinstance(value, str) else "wrong_type"
    largest = {"ts": wire.MAX_TIME_MS - 1, "position": wire.MAX_POSITION}
    return _judge_number(value, largest.get(name, wire.MAX_WATCH_MS))


def _judge_fields(fields: dict[str, Any]) -> str | None:
    required = ("event_id", "type", "user_id", "ts")
    for name in KNOWN:
        if name not in fields and name in required:
            return "missing_field"
        if fields.get(name) is None and name not in required:
            continue
        reason = _judge_field(name, fields[name])
        if reason:
            return reason
    if fields["type"] != "erase" and fields.get("item_id") is None:
        return "missing_field"
    if fields["type"] == "watch":
        if fields.get("watch_ms") is None or fields.get("duration_ms") is None:
            return "missing_field"
        if fields["duration_ms"] == 0:
            return "out_of_range"
    return None


def read(value: bytes | None, kafka_timestamp_ms: int) -> str | Values:
    """Return the reason code of a bad record, or the values of a good one.

    Values: event id, type, user id, item id ("" without), ts, watch_ms and duration_ms (-1
    without), number of unknown fields.
    """
    if value is None:
        return "null_value"
    if value == b"":
        return "empty_value"
    if len(value) > wire.MAX_VALUE_BYTES:
        return "too_large"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "bad_utf8"
    if nesting(text) > wire.MAX_DEPTH:
        return "too_deep"
    try:
        fields = read_json(text)
    except ValueError:
        return "bad_json"
    if not isinstance(fields, dict):
        return "not_an_object"
    reason = _judge_fields(fields)
    if reason:
        return reason
    if 0 <= kafka_timestamp_ms < fields["ts"] - wire.MAX_FUTURE_MS:
        return "future"
    numbers = (fields.get("watch_ms"), fields.get("duration_ms"))
    watch_ms, duration_ms = (-1 if number is None else number for number in numbers)
    return (
        fields["event_id"],
        fields["type"],
        fields["user_id"],
        fields.get("item_id") or "",
        fields["ts"],
        watch_ms,
        duration_ms,
        len(fields.keys() - set(KNOWN)),
    )
