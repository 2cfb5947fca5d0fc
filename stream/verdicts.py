"""The slow truth about one record: its model, or the reason why it cannot be used.

What the fast decoder does not recognise as surely good comes here, one record at a time (about
ten microseconds each), so that every reason code is the published models' own.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from stream.wire import (
    MAX_DEPTH,
    MAX_FUTURE_MS,
    MAX_VALUE_BYTES,
    Interaction,
    Reason,
)

Model = TypeVar("Model", bound=BaseModel)

_KNOWN_FIELDS = frozenset(Interaction.model_fields)
_ID_FIELDS = frozenset({"event_id", "user_id", "item_id", "author_id"})
# An escape is taken as a pair, so that an escaped quote does not end a string.
_STRUCTURE = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)

# pydantic's error types that do not depend on the field.
_REASONS = {
    "missing": Reason.MISSING_FIELD,
    "missing_field": Reason.MISSING_FIELD,
    "model_type": Reason.NOT_AN_OBJECT,
    "string_type": Reason.WRONG_TYPE,
    "int_type": Reason.WRONG_TYPE,
    "float_type": Reason.WRONG_TYPE,
    "list_type": Reason.WRONG_TYPE,
    "out_of_range": Reason.OUT_OF_RANGE,
    "greater_than_equal": Reason.OUT_OF_RANGE,
    "less_than": Reason.OUT_OF_RANGE,
    "less_than_equal": Reason.OUT_OF_RANGE,
    "finite_number": Reason.OUT_OF_RANGE,
    "too_long": Reason.TOO_LONG,
    "too_short": Reason.TOO_LONG,
    "string_unicode": Reason.BAD_UTF8,
}


class Fault(NamedTuple):
    """Why one record cannot be used: reason code, and what was expected and came."""

    reason: Reason
    detail: str


class Verdict(NamedTuple):
    """A good record: its model, and how many distinct unknown fields were ignored."""

    interaction: Interaction
    num_unknown_fields: int


def is_too_deep(value: bytes) -> bool:
    """Tell whether brackets outside of strings nest deeper than ``MAX_DEPTH``.

    Purely lexical, so that it has an answer for broken JSON too.

    >>> is_too_deep(b"[" * 33), is_too_deep(b"[" * 32), is_too_deep(b'"' + b"[" * 99 + b'"')
    (True, False, False)
    """
    if value.count(b"{") + value.count(b"[") <= MAX_DEPTH:
        return False
    depth, in_string = 0, False
    for match in _STRUCTURE.finditer(value):
        token = match[0]
        if token == b'"':
            in_string = not in_string
        elif in_string or len(token) == 2:
            continue
        elif token in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        else:
            depth -= 1
    return False


def read_object(value: bytes | None, *, max_bytes: int) -> dict[str, Any] | Fault:
    """Read one strict JSON object; of a field given twice the last value stays."""
    if value is None:
        return Fault(Reason.NULL_VALUE, "expected a JSON object, the record has no value")
    if not value:
        return Fault(Reason.EMPTY_VALUE, "expected a JSON object, the value has no bytes")
    if len(value) > max_bytes:
        return Fault(Reason.TOO_LARGE, f"expected at most {max_bytes} bytes, {len(value)} came")
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return Fault(Reason.BAD_UTF8, f"expected UTF-8: {error.reason} at byte {error.start}")
    if is_too_deep(value):
        return Fault(Reason.TOO_DEEP, f"expected at most {MAX_DEPTH} levels, deeper ones came")
    try:
        parsed = from_json(value, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        return Fault(Reason.BAD_JSON, f"expected one JSON text: {error}")
    if not isinstance(parsed, dict):
        return Fault(
            Reason.NOT_AN_OBJECT, f"expected a JSON object, a {type(parsed).__name__} came"
        )
    return parsed


def _reason_of(error: ErrorDetails) -> Reason:
    kind, field = error["type"], error["loc"][0] if error["loc"] else ""
    if kind == "literal_error":
        return Reason.UNKNOWN_TYPE if isinstance(error["input"], str) else Reason.WRONG_TYPE
    if kind.startswith("string_") and kind != "string_type":
        return Reason.BAD_ID if field in _ID_FIELDS else Reason.TOO_LONG
    # A complaint that a later pydantic words anew is still a value, never an exception.
    return _REASONS.get(kind, Reason.WRONG_TYPE)


def explain(error: ValidationError) -> Fault:
    """Turn pydantic's first complaint (fields in declared order) into a reason code."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return Fault(_reason_of(first), first["msg"])
    place = ".".join(str(part) for part in first["loc"])
    came = type(first["input"]).__name__
    return Fault(_reason_of(first), f"{place}: {first['msg']}, {came} came")


def judge(value: bytes | None, *, kafka_timestamp_ms: int) -> Verdict | Fault:
    """Judge one record of ``interactions``; ``kafka_timestamp_ms`` -1 means no future check."""
    fields = read_object(value, max_bytes=MAX_VALUE_BYTES)
    if isinstance(fields, Fault):
        return fields
    try:
        interaction = Interaction.model_validate(fields)
    except ValidationError as error:
        return explain(error)
    fault = judge_time(interaction.ts, kafka_timestamp_ms=kafka_timestamp_ms)
    return fault or Verdict(interaction, len(fields.keys() - _KNOWN_FIELDS))


def judge_time(timestamp_ms: int, *, kafka_timestamp_ms: int) -> Fault | None:
    """Return the fault of an event time too far after the record's Kafka timestamp.

    Good is ``[0, kafka_timestamp_ms + MAX_FUTURE_MS]``, both ends included.
    """
    ahead_ms = timestamp_ms - kafka_timestamp_ms
    if kafka_timestamp_ms < 0 or ahead_ms <= MAX_FUTURE_MS:
        return None
    detail = f"ts: expected at most {MAX_FUTURE_MS} ms after the record, {ahead_ms} ms came"
    return Fault(Reason.FUTURE, detail)
