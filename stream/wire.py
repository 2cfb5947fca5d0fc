"""The wire contract: pydantic models of what other programs send and read, limits, reason codes.

These models are the published truth (exported as JSON Schema into ``docs/schema``); the decoders
in :mod:`stream.decode` are faster readers of the same contract, proven equal by
``tests/stream/test_decode.py``. What makes a record a reject, and which reason wins where several
apply, is written at :class:`Reason`.

Absent on purpose: Kafka, clocks, and any decoding speed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

# Bytes of one interaction record's value; a larger one is an attack or a mistake.
MAX_VALUE_BYTES = 16 * 1024
# Bytes of one item record's value: 4,096 floats of 20 characters, and text beside them.
MAX_ITEM_BYTES = 256 * 1024
# Bytes of a rejected value that a dead letter keeps: most events whole.
MAX_DEAD_VALUE_BYTES = 2048
# Levels of nested objects and arrays, the record itself being the first.
MAX_DEPTH = 32
# Characters (Unicode code points) of an id.
MAX_ID_CHARS = 64
# Bytes of an id in UTF-8; only 64 characters of four bytes each are more.
MAX_ID_BYTES = 255
# 2100-01-01T00:00:00Z in ms, exclusive: what lies beyond is microseconds or nonsense.
MAX_TIME_MS = 4_102_444_800_000
# Seven days in ms, inclusive: loops and long live streams fit, nonsense does not.
MAX_WATCH_MS = 604_800_000
# Largest position in a list, inclusive.
MAX_POSITION = 1_000_000
# How far ``ts`` may lie after the record's own Kafka timestamp.
MAX_FUTURE_MS = 300_000
MAX_TEXT_CHARS = 256
MAX_TITLE_CHARS = 1024
MAX_TAGS = 64
MAX_EMBEDDING_DIM = 4096
# Absolute bound of an embedding's number: far from float32 overflow when squared and summed.
MAX_EMBEDDING_VALUE = 1e6


class Reason(StrEnum):
    """Why a record cannot be used; the value is stable and travels in dead letters.

    The order of the members is the order of judgement: of all reasons that apply to a record, the
    first one wins. From ``MISSING_FIELD`` to ``TOO_LONG`` fields are judged one after the other
    in the order in which the model declares them, the first bad field wins, and only when each
    field is good by itself the rules between fields are judged (an item is named, a watch has
    its times). ``FUTURE`` and ``KEY_MISMATCH`` come last, ``MISROUTED`` and ``BAD_FRAME`` are
    not about JSON.
    """

    NULL_VALUE = "null_value"  # the record has no value
    EMPTY_VALUE = "empty_value"  # the value has no bytes
    TOO_LARGE = "too_large"  # the value has more bytes than its topic allows
    BAD_UTF8 = "bad_utf8"  # the value is not UTF-8
    TOO_DEEP = "too_deep"  # brackets outside of strings nest deeper than MAX_DEPTH
    BAD_JSON = "bad_json"  # not one JSON text by RFC 8259 (NaN, BOM, lone surrogates, ...)
    NOT_AN_OBJECT = "not_an_object"  # JSON, but not an object
    MISSING_FIELD = "missing_field"  # a required field is absent (or null where that is absent)
    WRONG_TYPE = "wrong_type"  # 1.0 or true or "1" for an integer, null for a required text, ...
    UNKNOWN_TYPE = "unknown_type"  # a word that the field's list of words does not have
    BAD_ID = "bad_id"  # an id that is empty, too long or has control characters
    OUT_OF_RANGE = "out_of_range"  # a number that is negative, infinite or absurd
    TOO_LONG = "too_long"  # a text or a list beyond its bound, or empty where it may not be
    FUTURE = "future"  # ts lies more than MAX_FUTURE_MS after the record's Kafka timestamp
    KEY_MISMATCH = "key_mismatch"  # an item's record key is not its item_id
    MISROUTED = "misrouted"  # a routed copy that belongs to yet another partition
    BAD_FRAME = "bad_frame"  # packed rows of ours that cannot be read


# No C0, DEL or C1 control character: ids stand in Redis keys, terminals and logs.
_ID_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*$"
# The same for readers whose ``$`` also matches before a last newline (Python, PCRE).
_PORTABLE_ID_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*(?![\s\S])"

# What a bound on bytes forbids, for readers who only count characters.
_TOO_MANY_BYTES_PATTERN = f"^[\U00010000-\U0010ffff]{{{MAX_ID_CHARS}}}"


def _check_id_bytes(value: str) -> str:
    num_bytes = len(value.encode())
    if num_bytes > MAX_ID_BYTES:
        kind, words = (
            "string_too_long",
            "expected at most {max_bytes} bytes of UTF-8, came {num_bytes}",
        )
        raise PydanticCustomError(kind, words, {"max_bytes": MAX_ID_BYTES, "num_bytes": num_bytes})
    return value


Id = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_ID_CHARS,
        pattern=_ID_PATTERN,
        json_schema_extra={
            "pattern": _PORTABLE_ID_PATTERN,
            "not": {"pattern": _TOO_MANY_BYTES_PATTERN},
        },
    ),
    AfterValidator(_check_id_bytes),
]
TimeMs = Annotated[int, Field(ge=0, lt=MAX_TIME_MS)]
LengthMs = Annotated[int, Field(ge=0, le=MAX_WATCH_MS)]
ActionName = Literal[
    "watch", "like", "comment", "share", "not_interested", "follow", "unlike", "erase"
]
# Exactly the names of stream.events.Action, in its order (a test holds them equal).
ACTION_NAMES: tuple[ActionName, ...] = (
    "watch",
    "like",
    "comment",
    "share",
    "not_interested",
    "follow",
    "unlike",
    "erase",
)

# What JSON Schema says of the rules between an interaction's fields.
_INTERACTION_RULES: dict[str, Any] = {
    "allOf": [
        {
            "if": {"properties": {"type": {"const": "watch"}}},
            "then": {
                "required": ["watch_ms", "duration_ms"],
                "properties": {
                    "watch_ms": {"type": "integer"},
                    "duration_ms": {"type": "integer", "exclusiveMinimum": 0},
                },
            },
        },
        {
            "if": {"properties": {"type": {"not": {"const": "erase"}}}},
            "then": {"required": ["item_id"], "properties": {"item_id": {"type": "string"}}},
        },
    ]
}


class _WireModel(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, hide_input_in_errors=True, ser_json_inf_nan="null"
    )


class Interaction(_WireModel):
    """One action of one user; the value of a record of the topic ``interactions``.

    Numbers are plain JSON integers: ``1.0``, ``1e3``, ``true`` and ``"1"`` are wrong types.
    An optional field may be absent or null, with the same meaning. A field given twice counts
    as its last value, like everywhere in JSON. Unknown fields are ignored and counted.
    """

    model_config = ConfigDict(json_schema_extra=_INTERACTION_RULES)

    event_id: Id = Field(description="Unique per user; a repeated one is a duplicate.")
    type: ActionName = Field(description="What the user did.")
    user_id: Id = Field(description="Who acted; decides the partition.")
    item_id: Id | None = Field(
        default=None, description="On what; required for every type but erase."
    )
    ts: TimeMs = Field(description="Event time, ms since 1970 UTC.")
    watch_ms: LengthMs | None = Field(
        default=None,
        description="Watched time, ms; required for watch; loops may exceed duration_ms.",
    )
    duration_ms: LengthMs | None = Field(
        default=None, description="Length of the item, ms; required and above 0 for watch."
    )
    request_id: str | None = Field(default=None, description="Which list the item was shown in.")
    position: Annotated[int, Field(ge=0, le=MAX_POSITION)] | None = Field(
        default=None, description="Place in that list, 0 first."
    )
    device: str | None = Field(default=None, description="Kind of device, free text.")

    @model_validator(mode="after")
    def _check_rules_between_fields(self) -> Self:
        needed: list[tuple[str, object]] = []
        if self.type != "erase":
            needed.append(("item_id", self.item_id))
        if self.type == "watch":
            needed += [("watch_ms", self.watch_ms), ("duration_ms", self.duration_ms)]
        for field, came in needed:
            if came is None:
                code, text = "missing_field", "{field} is required for type {action}, none came"
                raise PydanticCustomError(code, text, {"field": field, "action": self.type})
        if self.type == "watch" and self.duration_ms == 0:
            code, text = "out_of_range", "duration_ms of a watch should be above 0, 0 came"
            raise PydanticCustomError(code, text)
        return self


class Item(_WireModel):
    """One item of the catalogue; the value of a record of the compacted topic ``items``.

    The record's key is the ``item_id``; a record with that key and no value removes the item.
    """

    item_id: Id
    author_id: Id
    created_at: TimeMs = Field(description="Birth of the item, ms since 1970 UTC.")
    duration_ms: LengthMs | None = Field(default=None, description="Length, ms.")
    category: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)] | None = None
    tags: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)]],
            Field(max_length=MAX_TAGS),
        ]
        | None
    ) = None
    title: Annotated[str, Field(max_length=MAX_TITLE_CHARS)] | None = None
    embedding: (
        Annotated[
            list[
                Annotated[
                    float,
                    Field(ge=-MAX_EMBEDDING_VALUE, le=MAX_EMBEDDING_VALUE, allow_inf_nan=False),
                ]
            ],
            Field(min_length=1, max_length=MAX_EMBEDDING_DIM),
        ]
        | None
    ) = Field(default=None, description="Content vector, any dimension, need not be normalised.")
    kind: Literal["video", "live", "product"] = "video"
    status: Literal["live", "hidden"] = Field(
        default="live", description="A hidden item is known but never recommended."
    )


class DeadLetter(_WireModel):
    """A record that could not be used; the value of a record of the topic ``dead-letters``.

    There is one per ``(topic, partition, offset)``, of the topic with the id ``topic_id``; a record
    there without a value, whose key is ``topic/partition/offset``, says that this one was replayed
    (of the topic whose id its header ``headwater-topic-id`` holds). Exactly one of ``value`` and
    ``value_base64`` is a string, or neither where the record had no value.
    """

    reason: str = Field(description="One of the reason codes in docs/decisions/0002-decoder.md.")
    detail: str = Field(description="What was expected and what came, for a person.")
    topic: str
    partition: int
    offset: int
    value: str | None = Field(
        default=None, description=f"First {MAX_DEAD_VALUE_BYTES} bytes, where they are UTF-8."
    )
    value_base64: str | None = Field(
        default=None, description=f"First {MAX_DEAD_VALUE_BYTES} bytes, where they are not UTF-8."
    )
    topic_id: str | None = Field(
        default=None,
        description="The id that Kafka gave the topic; another one of the same name, made after it "
        "was deleted, has another. Null where it is not known: brokers before 2.8, older workers.",
    )
