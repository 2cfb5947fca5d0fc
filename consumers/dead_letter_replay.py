"""Replay dead letters: the original records, read where they lie, produced anew to their topic.

A dead letter holds only the first bytes of a value; the log has the whole record. Each place is
sent at most once: after the broker has taken a batch of copies, a record without a value is written
to the dead letters that says which places are done. A crash in between sends a batch again, and the
engine counts an event id once. A copy that still cannot be used becomes a dead letter of its own.
Where the newest record of a key is what holds (items), one that has a successor is not sent. A
letter of a topic that was deleted since is not sent from the one that has its name now.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumers.dead_letter_log import (
    Letter,
    check_silence,
    open_consumer,
    topic_ids,
    unreachable,
)
from consumers.dead_letters import TOPIC_ID_HEADER
from consumers.producer import MAX_BATCH_BYTES, Outgoing, ReliableProducer
from consumers.security import NO_OPTIONS
from consumers.topics import count_partitions
from stream.errors import ConfigurationError
from stream.routing import HEADER_FROM, HEADER_SOURCE

HEADER_DEAD_LETTER = "headwater-dead-letter"

_POLL_MS = 500
_MAX_RECORDS = 500
_MAX_BYTES = 8_000_000
# A wanted record further away than this is sought, not read up to.
_NEAR = 1_000
# Room for key, headers and the batch around a value.
_MAX_VALUE_BYTES = MAX_BATCH_BYTES - 50_000

Mend = Callable[[Sequence[bytes | None]], Awaitable[list[bytes | None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A record as it is to be sent.

    Attributes:
        letter: What it mends.
        before: The value that lies in the log.
        value: The value to send.
        key: The original's.
        headers: The original's but ours, and where it came from.
    """

    letter: Letter
    before: bytes | None
    value: bytes | None
    key: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass(slots=True)
class ReplayedLetters:
    """What became of the letters.

    Attributes:
        replayed: Sent and acknowledged (in a dry run: would be).
        gone: The log no longer has the record.
        other_topic: Its topic was deleted, and another one has the name now.
        left: The program answered with an empty line.
        too_large: Above what a producer may send.
        superseded: A newer record of the same key holds by now.
        topics: Copies per topic.
    """

    replayed: int = 0
    gone: int = 0
    other_topic: int = 0
    left: int = 0
    too_large: int = 0
    superseded: int = 0
    topics: Counter[str] = field(default_factory=Counter)


async def replay_letters(
    letters: Sequence[Letter],
    *,
    brokers: str,
    dead_letters: str,
    newest_holds: str | None = None,
    mend: Mend | None = None,
    dry_run: bool = False,
    on_copy: Callable[[Copy], None] = lambda copy: None,
    on_gone: Callable[[Letter, str], None] = lambda letter, why: None,
    client_options: Mapping[str, Any] = NO_OPTIONS,
) -> ReplayedLetters:
    """Send the originals of dead letters anew, in the order of their logs.

    1. read the originals of a batch; 2. mend them; 3. send and await them; 4. say which are done.

    Args:
        letters: Each place once.
        brokers: Bootstrap servers.
        dead_letters: Topic that is told what is done.
        newest_holds: Topic of which a key's newest record replaces the older ones.
        mend: Given the values of a batch; returns them mended, None for what is to be left.
        dry_run: Do all but steps 3 and 4.
        on_copy: Told of each copy.
        on_gone: Told of each letter whose original is not there any more, and why.
        client_options: Security of Kafka's clients.

    Raises:
        ServerUnreachable: Kafka did not answer; what was sent before is done.
        ConfigurationError: The program that mends failed.
    """
    report = ReplayedLetters()
    consumer = await open_consumer(brokers, client_options)
    producer = None if dry_run else ReliableProducer(brokers, client_options=client_options)
    try:
        if producer is not None:
            await producer.start()

        count = partial(count_partitions, brokers, client_options=client_options)
        ids = await topic_ids(consumer, brokers, {letter.topic for letter in letters})
        present = _of_present_topics(letters, ids, report, on_gone)
        originals = _originals(
            consumer, brokers, present, report, on_gone, count, newest_holds=newest_holds
        )
        async for batch in _batches(originals):  # 1
            copies = await _mended(batch, mend, report)  # 2
            if producer is not None:
                await _send(producer, copies)  # 3
                await producer.send_all(dead_letters, _done(copies, ids))  # 4
            for copy in copies:
                report.replayed += 1
                report.topics[copy.letter.topic] += 1
                on_copy(copy)
    finally:
        await consumer.stop()
        if producer is not None:
            await producer.stop()
    return report


def _of_present_topics(
    letters: Sequence[Letter],
    ids: Mapping[str, str],
    report: ReplayedLetters,
    on_gone: Callable[[Letter, str], None],
) -> list[Letter]:
    """Return the letters but those of a topic whose name another one has now; count these."""
    present = []
    for letter in letters:
        if not letter.is_of_another_topic(ids):
            present.append(letter)
        else:
            report.other_topic += 1
            on_gone(
                letter,
                f"left alone: its topic (id {letter.topic_id}) was deleted, what is named "
                f"{letter.topic} now (id {ids[letter.topic]}) has another record there",
            )
    return present


def _done(copies: Sequence[Copy], ids: Mapping[str, str]) -> list[Outgoing]:
    """Return the records that say that letters are done with."""
    headers = {topic: [(TOPIC_ID_HEADER, found.encode())] for topic, found in ids.items()}
    return [
        Outgoing(
            value=None,
            key=copy.letter.place.encode(),
            headers=headers.get(copy.letter.topic, ()),
        )
        for copy in copies
    ]


async def _send(producer: ReliableProducer, copies: Sequence[Copy]) -> None:
    for topic, group in groupby(copies, key=lambda copy: copy.letter.topic):
        records = (
            Outgoing(
                value=copy.value,
                key=copy.key,
                partition=copy.letter.partition,
                headers=copy.headers,
            )
            for copy in group
        )
        await producer.send_all(topic, records)


async def _mended(
    batch: Sequence[tuple[Letter, Any]], mend: Mend | None, report: ReplayedLetters
) -> list[Copy]:
    values = [record.value for _, record in batch]
    after = values if mend is None else await mend(values)
    copies = []
    for (letter, record), value in zip(batch, after, strict=True):
        if mend is not None and value is None:
            report.left += 1
        elif len(value or b"") > _MAX_VALUE_BYTES:
            report.too_large += 1
        else:
            # A copy brought from another partition must not pass for it again: it is new.
            kept = [
                (name, bytes(text or b""))
                for name, text in record.headers
                if name not in (HEADER_FROM, HEADER_SOURCE, HEADER_DEAD_LETTER)
            ]
            copies.append(
                Copy(
                    letter=letter,
                    before=record.value,
                    value=value,
                    key=record.key,
                    headers=[*kept, (HEADER_DEAD_LETTER, letter.place.encode())],
                )
            )
    return copies


async def _batches(
    originals: AsyncIterator[tuple[Letter, Any]],
) -> AsyncIterator[list[tuple[Letter, Any]]]:
    """Cut into batches bounded in records and bytes."""
    batch: list[tuple[Letter, Any]] = []
    num_bytes = 0
    async for letter, record in originals:
        batch.append((letter, record))
        num_bytes += len(record.value or b"")
        if len(batch) >= _MAX_RECORDS or num_bytes >= _MAX_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


async def _originals(
    consumer: AIOKafkaConsumer,
    brokers: str,
    letters: Sequence[Letter],
    report: ReplayedLetters,
    on_gone: Callable[[Letter, str], None],
    count: Callable[[str], Awaitable[int]],
    *,
    newest_holds: str | None,
) -> AsyncIterator[tuple[Letter, Any]]:
    """Yield each letter with its record; count those whose record is gone or superseded."""
    ordered = sorted(letters, key=lambda each: (each.topic, each.partition, each.offset))
    partitions: dict[str, int] = {}
    for (topic, number), group in groupby(ordered, key=lambda each: (each.topic, each.partition)):
        if topic not in partitions:
            try:
                partitions[topic] = await count(topic)
            except ConfigurationError:
                partitions[topic] = 0  # Deleted since.
        wanted = list(group)
        found: AsyncIterator[Any] = _none(wanted)
        newest: dict[bytes, int] = {}
        if number < partitions[topic]:
            tp = TopicPartition(topic, number)
            if topic == newest_holds:
                newest = await _newest_of_keys(consumer, brokers, tp, wanted[0].offset)
            found = _records(consumer, brokers, tp, wanted)
        position = 0
        async for record in found:
            letter = wanted[position]
            position += 1
            if record is None:
                report.gone += 1
                on_gone(letter, "the log no longer has this record")
            elif newest.get(record.key, -1) > record.offset:
                report.superseded += 1
            else:
                yield letter, record


async def _newest_of_keys(
    consumer: AIOKafkaConsumer, brokers: str, tp: TopicPartition, begin: int
) -> dict[bytes, int]:
    """Return the offset of each key's newest record, from an offset to the present end."""
    newest: dict[bytes, int] = {}
    try:
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        consumer.seek(tp, max(begin, (await consumer.beginning_offsets([tp]))[tp]))
        heard_s = time.monotonic()
        while await consumer.position(tp) < end:
            answer = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
            for record in answer.get(tp, []):
                if record.key is not None:
                    newest[record.key] = record.offset
            heard_s = time.monotonic() if answer else heard_s
            check_silence(heard_s, brokers)
    except KafkaError as error:
        raise unreachable(brokers, error) from error
    return newest


async def _none(wanted: Sequence[Letter]) -> AsyncIterator[None]:
    for _ in wanted:
        yield None


async def _records(
    consumer: AIOKafkaConsumer, brokers: str, tp: TopicPartition, wanted: Sequence[Letter]
) -> AsyncIterator[Any]:
    """Yield the record of each wanted letter, ascending; None for one that the log has lost."""
    try:
        consumer.assign([tp])
        begin = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
        buffered: deque[Any] = deque()
        next_read = end  # Behind every wanted one, so that the first is sought.
        for letter in wanted:
            if not begin <= letter.offset < end:
                yield None
                continue
            while buffered and buffered[0].offset < letter.offset:
                buffered.popleft()
            if not buffered and not 0 <= letter.offset - next_read <= _NEAR:
                consumer.seek(tp, letter.offset)
                next_read = letter.offset
            heard_s = time.monotonic()
            while not buffered and next_read <= letter.offset:
                answer = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_MAX_RECORDS)
                records = answer.get(tp, [])
                buffered.extend(each for each in records if each.offset >= letter.offset)
                next_read = await consumer.position(tp)
                heard_s = time.monotonic() if records else heard_s
                check_silence(heard_s, brokers)
            # A later one first: compacted away, or cut off while we read.
            is_there = bool(buffered) and buffered[0].offset == letter.offset
            yield buffered[0] if is_there else None
    except KafkaError as error:
        raise unreachable(brokers, error) from error
