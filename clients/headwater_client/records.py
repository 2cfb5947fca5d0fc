"""Events and items as Kafka records: made, checked against the contract, encoded."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, TypedDict

from pydantic import BaseModel, TypeAdapter, ValidationError

from headwater_client.errors import InvalidEvent
from headwater_client.wire import (
    MAX_FUTURE_MS,
    MAX_ITEM_BYTES,
    MAX_VALUE_BYTES,
    ActionName,
    Id,
    Interaction,
    Item,
)

# What a waiting record holds beside its bytes, futures and callbacks: measured with tracemalloc,
# 2.0 KB in EventProducer, 3.1 KB in AsyncEventProducer (its task included).
RECORD_OVERHEAD_BYTES = 3072
# The largest record there can be, in the buffer's own count.
MAX_RECORD_BYTES = MAX_ITEM_BYTES + 256 + RECORD_OVERHEAD_BYTES

_ID = TypeAdapter[str](Id)


class Context(TypedDict, total=False):
    """What may be said of any event.

    Attributes:
        event_id: Unique per user, 1 to 64 characters; made where it is not given. Give your own,
            and a repeated call counts once.
        ts: Event time, ms since 1970 UTC; now where it is not given.
        request_id: Which list the item was shown in.
        position: Place in that list, 0 first.
        device: Kind of device, free text.
    """

    event_id: str | None
    ts: int | None
    request_id: str | None
    position: int | None
    device: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingRecord:
    """One record to send.

    Attributes:
        topic: Where to.
        key: Decides the partition.
        value: JSON; None removes an item.
        record_id: ``event_id`` or ``item_id``, named when the record fails.
    """

    topic: str
    key: bytes
    value: bytes | None
    record_id: str

    @property
    def num_bytes(self) -> int:
        """What the record counts for in the buffer."""
        return len(self.key) + len(self.value or b"") + RECORD_OVERHEAD_BYTES


def make_interaction(
    action: ActionName, now_ms: int, context: Context, **fields: Any
) -> Interaction:
    """Make an event from a call's arguments.

    Raises:
        InvalidEvent: Headwater would reject it.
    """
    if unknown := sorted(context.keys() - Context.__annotations__.keys()):
        message = (
            f"expected no further arguments than {', '.join(Context.__annotations__)}, got "
            f"{', '.join(unknown)}"
        )
        raise InvalidEvent(message)
    given = {name: value for name, value in context.items() if value is not None}
    values = {"event_id": uuid.uuid4().hex, "ts": now_ms, **given, **fields}
    try:
        return Interaction(type=action, **values)
    except ValidationError as error:
        raise InvalidEvent(_complaint(f"a {action}", error)) from error


def check_time(event: Interaction, now_ms: int) -> None:
    """Refuse an event from the future by this machine's clock.

    Headwater judges by Kafka's clock, which may differ: what passes here may still become a dead
    letter there, but no wrong unit or time zone gets that far.

    Raises:
        InvalidEvent: Headwater would reject it, if Kafka's clock agrees with ours.
    """
    _expect(Interaction, event)
    ahead_ms = event.ts - now_ms
    if ahead_ms > MAX_FUTURE_MS:
        message = (
            f"expected ts at most {MAX_FUTURE_MS // 60_000} minutes after now, it is "
            f"{ahead_ms / 60_000:,.0f} minutes after ({event.event_id!r}): is it in UTC, and is "
            "this machine's clock right?"
        )
        raise InvalidEvent(message)


def interaction_record(event: Interaction, topic: str) -> OutgoingRecord:
    """Encode an event, keyed by its user.

    Raises:
        InvalidEvent: It is larger than Headwater takes.
    """
    value = _json(event, event.event_id, MAX_VALUE_BYTES)
    return OutgoingRecord(
        topic=topic, key=event.user_id.encode(), value=value, record_id=event.event_id
    )


def item_record(item: Item, topic: str) -> OutgoingRecord:
    """Encode an item, keyed by its id.

    Raises:
        InvalidEvent: It is larger than Headwater takes, or no item by the contract.
    """
    _expect(Item, item)
    value = _json(item, item.item_id, MAX_ITEM_BYTES)
    try:
        Item.model_validate_json(value)  # A model_copy(update=...) is checked by nobody.
    except ValidationError as error:
        raise InvalidEvent(_complaint("an item", error)) from error
    return OutgoingRecord(
        topic=topic, key=item.item_id.encode(), value=value, record_id=item.item_id
    )


def removal_record(item_id: str, topic: str) -> OutgoingRecord:
    """Encode the removal of an item.

    Raises:
        InvalidEvent: There can be no such id.
    """
    try:
        _ID.validate_python(item_id, strict=True)
    except ValidationError as error:
        raise InvalidEvent(_complaint("an item_id", error)) from error
    return OutgoingRecord(topic=topic, key=item_id.encode(), value=None, record_id=item_id)


def _expect(kind: type[BaseModel], value: object) -> None:
    """Refuse what was not checked as the contract wants it, a dict for one."""
    if not isinstance(value, kind):
        message = (
            f"expected an {kind.__name__}, got {type(value).__name__}: make one, "
            f"{kind.__name__}(...) or {kind.__name__}.model_validate(...)"
        )
        raise InvalidEvent(message)


def _json(model: BaseModel, record_id: str, max_bytes: int) -> bytes:
    value = model.model_dump_json(exclude_none=True).encode()
    if len(value) > max_bytes:
        message = (
            f"expected at most {max_bytes:,} bytes of JSON, {len(value):,} came "
            f"({record_id!r}): shorten its free texts"
        )
        raise InvalidEvent(message)
    return value


def _complaint(what: str, error: ValidationError) -> str:
    """Say what was expected and what came, without repeating it."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    came = f", {type(first['input']).__name__} came" if place else ""
    return f"expected {what} as in the contract: {place}{': ' if place else ''}{first['msg']}{came}"
