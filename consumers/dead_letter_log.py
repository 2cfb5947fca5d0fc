"""DeadLetterLog: reads dead letters as an operator wants them: open ones, each once, filtered.

A dead letter names a place: topic, partition and offset of a record that could not be used. A
crash may leave several letters of one place; the first counts. A record without a value, whose key
is ``topic/partition/offset``, says that this place was replayed; it is done, whatever letters of it
still come. The log is read twice, because what is done is known only at its end.

A topic that was deleted and made anew under its name has the same places again: letters and marks
say the topic's id, and only those of one id mean one place. What says none (brokers without ids,
older versions) is taken to mean whichever topic it stands beside.
"""

from __future__ import annotations

import re
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from consumers.aiokafka_private import ask_any_broker
from consumers.dead_letters import TOPIC_ID_HEADER
from consumers.security import NO_OPTIONS
from consumers.topic_ids import TopicIdRequest, ids_in
from consumers.topics import count_partitions
from stream.errors import ConfigurationError, ServerUnreachable
from stream.wire import DeadLetter

_POLL_MS = 500
_MAX_SILENCE_S = 30.0
# Places remembered of one reading, 8 bytes of hash each: some 200 MB at the bound.
MAX_PLACES = 2_000_000
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter.

    Attributes:
        reason: Reason code (docs/decisions/0002-decoder.md).
        detail: What was expected and what came.
        topic: Where the record lies, with partition and offset.
        partition: Its partition.
        offset: Its offset.
        value: Its first bytes; None where it had none.
        time_ms: When the letter was written.
        topic_id: Of the topic; None where the letter says none.
    """

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    value: bytes | None
    time_ms: int
    topic_id: str | None = None

    @property
    def place(self) -> str:
        """``topic/partition/offset``."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def is_of_another_topic(self, ids: Mapping[str, str]) -> bool:
        """Say whether its topic was deleted, and another one has the name now, by these ids."""
        now = ids.get(self.topic)
        return now is not None and self.topic_id not in (None, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which letters are wanted; what is empty or None wants all.

    Attributes:
        reasons: Reason codes.
        topics: Topics of the records.
        topic: One of them.
        partition: Their partition.
        offset: Their offset.
        since_ms: Letters written since.
    """

    reasons: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    since_ms: int | None = None

    def takes(self, letter: Letter) -> bool:
        """Say whether a letter is wanted."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.topics or letter.topic in self.topics)
            and self.topic in (None, letter.topic)
            and self.partition in (None, letter.partition)
            and self.offset in (None, letter.offset)
            and (self.since_ms is None or letter.time_ms >= self.since_ms)
        )


def parse_since(text: str, *, now_ms: int) -> int:
    """Return the ms that a person means by ``90s``, ``15m``, ``2h``, ``7d`` or an ISO 8601 time.

    A time without a zone is UTC.

    >>> parse_since("2h", now_ms=10_000_000), parse_since("1970-01-01T00:01", now_ms=0)
    (2800000, 60000)

    Raises:
        ConfigurationError: It is neither.
    """
    ago = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if ago:
        return max(0, now_ms - int(ago[1]) * _UNITS_S[ago[2]] * 1_000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"--since: expected 90s, 15m, 2h, 7d or a time as 2026-01-31T12:00, got {text!r}"
        raise ConfigurationError(message) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, round(moment.timestamp() * 1_000))


def decode_letter(value: bytes, *, time_ms: int) -> Letter | None:
    """Decode the value of a dead letter; None where it is none of ours."""
    try:
        found = DeadLetter.model_validate_json(value)
        cut = found.value.encode() if found.value is not None else None
        if found.value_base64 is not None:
            cut = b64decode(found.value_base64, validate=True)
    except (ValidationError, ValueError):
        return None
    return Letter(
        reason=found.reason,
        detail=found.detail,
        topic=found.topic,
        partition=found.partition,
        offset=found.offset,
        value=cut,
        time_ms=time_ms,
        topic_id=found.topic_id,
    )


class _Places:
    """A bounded set of places, each with the ids of topics it is of; "" is whichever topic."""

    def __init__(self) -> None:
        self._ids: dict[bytes, tuple[str, ...]] = {}
        # Few topics have been: one tuple each for all places.
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, place: bytes, topic_id: str | None) -> None:
        hashed, name = blake2b(place, digest_size=8).digest(), topic_id or ""
        ids = self._ids.get(hashed, ())
        if name in ids:
            return
        if not ids and len(self._ids) >= MAX_PLACES:
            message = f"expected at most {MAX_PLACES:,} dead letters, more came: narrow --since"
            raise ConfigurationError(message)
        both = (*ids, name)
        self._ids[hashed] = self._shared.setdefault(both, both)

    def has(self, place: bytes, topic_id: str | None) -> bool:
        ids = self._ids.get(blake2b(place, digest_size=8).digest(), ())
        return bool(ids) and (topic_id is None or topic_id in ids or "" in ids)


class DeadLetterLog:
    """Reads the topic of dead letters to the end that it has when reading begins.

    Use as an asynchronous context; one reading at a time.

    Args:
        brokers: Bootstrap servers.
        topic: Topic of dead letters.
        client_options: Security of Kafka's clients.
    """

    def __init__(
        self, brokers: str, *, topic: str, client_options: Mapping[str, Any] = NO_OPTIONS
    ) -> None:
        self._brokers = brokers
        self._client_options = client_options
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []
        self.num_done = 0
        self.num_repeated = 0
        self.num_unreadable = 0

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ServerUnreachable: Kafka does not answer.
            ConfigurationError: There is no such topic.
        """
        try:
            count = await count_partitions(
                self._brokers, self._topic, client_options=self._client_options
            )
        except ConfigurationError as error:
            message = (
                f"expected the topic {self._topic} of dead letters, Kafka at {self._brokers} has "
                "none: a worker makes it at its start, HEADWATER_TOPICS__DEAD_LETTERS names it"
            )
            raise ConfigurationError(message) from error
        self._partitions = [TopicPartition(self._topic, number) for number in range(count)]
        self._consumer = await open_consumer(self._brokers, self._client_options)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def read(self, wanted: Wanted) -> AsyncIterator[Letter]:
        """Yield the open letters that are wanted, each place once, in the log's order.

        Raises:
            ServerUnreachable: Kafka stopped answering.
        """
        done, seen = _Places(), _Places()
        async for record in self._records(wanted.since_ms):
            if record.value is None and record.key is not None:
                done.add(record.key, _topic_id_of(record))
        async for record in self._records(wanted.since_ms):
            if record.value is None:
                continue
            letter = decode_letter(record.value, time_ms=record.timestamp)
            if letter is None:
                self.num_unreadable += 1
            elif wanted.takes(letter):
                place = (letter.place.encode(), letter.topic_id)
                if seen.has(*place):
                    self.num_repeated += 1
                    continue
                seen.add(*place)
                if done.has(*place):
                    self.num_done += 1
                else:
                    yield letter

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids that topics have now, as :func:`topic_ids`."""
        assert self._consumer is not None, "enter the context first"
        return await topic_ids(self._consumer, self._brokers, topics)

    async def _records(self, since_ms: int | None) -> AsyncIterator[Any]:
        """Yield every record from a time on, to the ends at this moment."""
        assert self._consumer is not None, "enter the context first"
        consumer, partitions = self._consumer, self._partitions
        try:
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            begins = await consumer.beginning_offsets(partitions)
            if since_ms is not None:
                found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
                begins = {
                    tp: ends[tp] if place is None else place.offset for tp, place in found.items()
                }
            for partition in partitions:
                consumer.seek(partition, begins[partition])
            left = {tp for tp in partitions if begins[tp] < ends[tp]}
            heard_s = time.monotonic()
            while left:
                for tp, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                    heard_s = time.monotonic()
                    for record in records:
                        if record.offset < ends[tp]:
                            yield record
                left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
                check_silence(heard_s, self._brokers)
        except KafkaError as error:
            raise unreachable(self._brokers, error) from error


async def topic_ids(
    consumer: AIOKafkaConsumer, brokers: str, topics: Collection[str]
) -> dict[str, str]:
    """Return the ids that topics have now; none where there is no topic, or it has no id.

    Raises:
        ServerUnreachable: No broker answers.
    """
    if not topics:
        return {}
    try:
        answer = await ask_any_broker(consumer, TopicIdRequest(sorted(topics)))
    except NotImplementedError:
        return {}
    except (KafkaError, OSError) as error:
        raise unreachable(brokers, error) from error
    return {topic: topic_id for topic, topic_id in ids_in(answer).items() if topic_id}


def _topic_id_of(record: Any) -> str | None:
    """Return the id that a mark says, None where it says none."""
    found = dict(record.headers).get(TOPIC_ID_HEADER)
    return bytes(found).decode(errors="replace") if found else None


async def open_consumer(
    brokers: str, client_options: Mapping[str, Any] = NO_OPTIONS
) -> AIOKafkaConsumer:
    """Connect a consumer without a group.

    Raises:
        ServerUnreachable: No broker answers.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=brokers,
        enable_auto_commit=False,
        # Every reader seeks; a log cut meanwhile goes on at its new beginning.
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        **client_options,
    )
    try:
        await consumer.start()
    except (KafkaError, OSError) as error:
        await consumer.stop()
        raise unreachable(brokers, error) from error
    except BaseException:  # Cancelled: nobody else could close it.
        await consumer.stop()
        raise
    return consumer


def check_silence(heard_s: float, brokers: str) -> None:
    """Raise ServerUnreachable when a broker has sent nothing for too long."""
    if time.monotonic() - heard_s > _MAX_SILENCE_S:
        message = (
            f"expected records from Kafka at {brokers}, none came for {_MAX_SILENCE_S:.0f} s: "
            "is a broker down?"
        )
        raise ServerUnreachable(message)


def unreachable(brokers: str, error: BaseException) -> ServerUnreachable:
    """Return the error of a broker that does not do as asked."""
    return ServerUnreachable(
        f"expected Kafka at {brokers} to answer, got {type(error).__name__} ({error}): is it "
        "running, is HEADWATER_KAFKA right?"
    )
