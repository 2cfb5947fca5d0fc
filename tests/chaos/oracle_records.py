"""Records of `interactions` as the oracle sees them: one at a time, in plain Python.

Shares with the engine the models of ``stream.wire`` and nothing else: JSON is read by Python's own
reader, the partition is computed as Kafka's Java client does. Absent: reason codes; the oracle
says which offsets are rejects, the corpus of ``tests/stream`` says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from pydantic import ValidationError

from stream.wire import MAX_DEPTH, MAX_FUTURE_MS, MAX_VALUE_BYTES, Interaction

Headers = tuple[tuple[str, bytes], ...]
_ORIGIN_HEADER = "headwater-from"


@dataclass(frozen=True)
class LogRecord:
    """One record of a log.

    Attributes:
        timestamp_ms: The record's Kafka timestamp; -1 where unknown.
    """

    partition: int
    offset: int
    value: bytes | None
    key: bytes | None = None
    timestamp_ms: int = -1
    headers: Headers = ()


def murmur2(data: bytes) -> int:
    """Hash as ``org.apache.kafka.common.utils.Utils.murmur2``: unsigned 32 bits.

    >>> [murmur2(key) - (murmur2(key) >> 31 << 32) for key in (b"21", b"foobar", b"abc")]
    [-973932308, -790332482, 479470107]
    """
    mask, factor = 0xFFFFFFFF, 0x5BD1E995
    hashed = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * factor & mask
        word = (word ^ word >> 24) * factor & mask
        hashed = hashed * factor & mask ^ word
    if rest := data[whole:]:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * factor & mask
    hashed = (hashed ^ hashed >> 13) * factor & mask
    return hashed ^ hashed >> 15


@lru_cache(maxsize=65_536)  # Asked of few items, again and again.
def partition_of(key: bytes, num_partitions: int) -> int:
    """Return the partition that Kafka's default partitioner gives a key."""
    return (murmur2(key) & 0x7FFFFFFF) % num_partitions


def is_too_deep(text: str) -> bool:
    """Tell whether brackets outside of strings nest deeper than the contract allows."""
    depth, in_string, is_escaped = 0, False, False
    for sign in text:
        if is_escaped:
            is_escaped = False
        elif sign == "\\":
            is_escaped = True
        elif sign == '"':
            in_string = not in_string
        elif not in_string and sign in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif not in_string and sign in "]}":
            depth -= 1
    return False


def _refuse(word: str) -> NoReturn:
    message = f"{word} is no JSON"
    raise ValueError(message)


def _strict(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse lone surrogates in names and texts, also of a name that is given again later."""
    for name, value in members:
        name.encode()
        _check_texts(value)
    return dict(members)


def _check_texts(value: object) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, list):
        for each in value:
            _check_texts(each)


def read_interaction(record: LogRecord) -> Interaction | None:
    """Return what a record says; None where it cannot be used."""
    value = record.value
    if not value or len(value) > MAX_VALUE_BYTES:
        return None
    try:
        text = value.decode()
        if is_too_deep(text):
            return None
        fields = json.loads(text, parse_constant=_refuse, object_pairs_hook=_strict)
        if not isinstance(fields, dict):
            return None
        event = Interaction.model_validate(fields)
    except (ValueError, ValidationError):  # What is no UTF-8 is a ValueError, too.
        return None
    if 0 <= record.timestamp_ms < event.ts - MAX_FUTURE_MS:
        return None
    return event


def origin_of(record: LogRecord) -> tuple[int, int] | None:
    """Return (partition, offset) that a copied record came from; None for an ordinary one."""
    found = None
    for name, value in record.headers[:64]:
        if name == _ORIGIN_HEADER and 0 < len(value or b"") <= 28:
            found = value
    match = re.fullmatch(rb"(0|[1-9][0-9]{0,8})/(0|[1-9][0-9]{0,17})", found or b"")
    return (int(match[1]), int(match[2])) if match else None


def from_values(values: Iterable[bytes | None], *, num_partitions: int) -> list[LogRecord]:
    """Deal a wire log out to partitions: events by user, what has no readable user to 0."""
    next_offsets = [0] * num_partitions
    records = []
    for value in values:
        event = read_interaction(LogRecord(0, 0, value))
        partition = partition_of(event.user_id.encode(), num_partitions) if event else 0
        key = event.user_id.encode() if event else None
        records.append(LogRecord(partition, next_offsets[partition], value, key))
        next_offsets[partition] += 1
    return records


def from_kafka(bootstrap: str, topic: str) -> Iterator[LogRecord]:
    """Read a whole topic up to its ends as they are now, with kafka-python."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, group_id=None, check_crcs=True
    )
    try:
        parts = [
            TopicPartition(topic, each) for each in sorted(consumer.partitions_for_topic(topic))
        ]
        ends = consumer.end_offsets(parts)
        consumer.assign(parts)
        consumer.seek_to_beginning()
        while any(consumer.position(part) < ends[part] for part in parts):
            for part, fetched in consumer.poll(timeout_ms=1_000).items():
                for each in fetched:
                    if each.offset < ends[part]:
                        yield LogRecord(
                            partition=part.partition,
                            offset=each.offset,
                            value=each.value,
                            key=each.key,
                            timestamp_ms=each.timestamp,
                            headers=tuple(each.headers or ()),
                        )
    finally:
        consumer.close()


def by_partition(records: Sequence[LogRecord], num_partitions: int) -> list[list[LogRecord]]:
    """Return each partition's records in the order of their offsets."""
    parts: list[list[LogRecord]] = [[] for _ in range(num_partitions)]
    for record in records:
        parts[record.partition].append(record)
    return [sorted(part, key=lambda each: each.offset) for part in parts]
