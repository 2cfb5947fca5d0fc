"""Against Apache Kafka: originals found or said to be gone, sent once, marked, never doubled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from consumers.broker_offsets import BrokerOffsets
from consumers.dead_letter_log import DeadLetterLog, Letter, Wanted
from consumers.dead_letter_replay import HEADER_DEAD_LETTER, replay_letters
from consumers.dead_letters import DeadLetterProducer
from consumers.producer import Outgoing, ReliableProducer
from stream.errors import ConfigurationError, ServerUnreachable
from stream.events import Reject
from stream.wire import Reason
from tests.consumers.kafka_calls import recreate, run

pytestmark = pytest.mark.kafka

Topic = Callable[..., str]


async def send(kafka: str, topic: str, records: Sequence[Outgoing]) -> None:
    producer = ReliableProducer(kafka)
    await producer.start()
    try:
        await producer.send_all(topic, records)
    finally:
        await producer.stop()


async def reject(
    kafka: str,
    dead: str,
    topic: str,
    partition: int,
    offsets: Sequence[int],
    topic_id: str | None = None,
) -> None:
    """Write dead letters of records at these offsets."""
    producer = ReliableProducer(kafka)
    await producer.start()
    try:
        letters = DeadLetterProducer(producer, dead_letters=dead)
        rejects = [
            Reject(offset=each, reason=Reason.BAD_JSON, detail="", value=b"cut") for each in offsets
        ]
        await letters.send(rejects, topic=topic, partition=partition, topic_id=topic_id)
    finally:
        await producer.stop()


async def id_of(kafka: str, topic: str) -> str:
    offsets = BrokerOffsets(kafka)
    await offsets.start()
    try:
        return (await offsets.topic_ids([topic]))[topic]
    finally:
        await offsets.stop()


async def open_letters(kafka: str, dead: str) -> list[Letter]:
    async with DeadLetterLog(kafka, topic=dead) as log:
        return [letter async for letter in log.read(Wanted())]


async def records(kafka: str, topic: str, partition: int = 0) -> list[Any]:
    """Return every record of a partition."""
    tp = TopicPartition(topic, partition)
    async with AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer:
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        found: list[Any] = []
        while await consumer.position(tp) < end:
            for each in (await consumer.getmany(tp, timeout_ms=500)).values():
                found += each
        return found


def topics(topic: Topic) -> tuple[str, str]:
    return topic("interactions", num_partitions=2), topic("dead", num_partitions=1)


def values(count: int) -> list[Outgoing]:
    return [
        Outgoing(value=b"value %d" % number, key=b"u%d" % number, partition=0)
        for number in range(count)
    ]


def test_a_record_is_sent_whole_with_its_key_its_headers_and_its_origin(
    kafka: str, topic: Topic
) -> None:
    source, dead = topics(topic)
    whole = b"x" * 50_000
    headers = [("trace", b"1"), ("headwater-from", b"1/5"), (HEADER_DEAD_LETTER, b"older/0/1")]

    async def scenario() -> None:
        await send(kafka, source, [Outgoing(value=b"good", partition=1)])
        await send(kafka, source, [Outgoing(value=whole, key=b"k", partition=1, headers=headers)])
        await reject(kafka, dead, source, 1, [1])
        letters = await open_letters(kafka, dead)
        report = await replay_letters(letters, brokers=kafka, dead_letters=dead)
        assert (report.replayed, report.gone) == (1, 0)
        *_, copy = await records(kafka, source, 1)
        assert (copy.value, copy.key) == (whole, b"k")
        origin = (HEADER_DEAD_LETTER, f"{source}/1/1".encode())
        assert list(copy.headers) == [("trace", b"1"), origin]

    run(scenario())


def test_each_place_is_sent_once_over_copies_and_runs(kafka: str, topic: Topic) -> None:
    source, dead = topics(topic)

    async def scenario() -> None:
        await send(kafka, source, values(8))
        await reject(kafka, dead, source, 0, [2, 5])
        await reject(kafka, dead, source, 0, [2, 5, 6])  # As after a crash of a worker.
        letters = await open_letters(kafka, dead)
        assert [letter.offset for letter in letters] == [2, 5, 6]
        first = await replay_letters(letters, brokers=kafka, dead_letters=dead)
        await reject(kafka, dead, source, 0, [5])  # And once more, later.
        assert await open_letters(kafka, dead) == []
        again = await replay_letters([], brokers=kafka, dead_letters=dead)
        assert (first.replayed, again.replayed) == (3, 0)
        sent = [each.value for each in (await records(kafka, source))[8:]]
        assert sent == [b"value 2", b"value 5", b"value 6"]

    run(scenario())


def test_an_item_that_was_announced_anew_meanwhile_is_not_set_back(
    kafka: str, topic: Topic
) -> None:
    items, dead = topic("items", num_partitions=1), topic("dead", num_partitions=1)
    sent = [(b"a", b"old a"), (b"b", b"b"), (b"a", b"new a"), (None, b"keyless")]

    async def scenario() -> None:
        await send(kafka, items, [Outgoing(value=value, key=key) for key, value in sent])
        await reject(kafka, dead, items, 0, [0, 1, 3])
        letters = await open_letters(kafka, dead)
        report = await replay_letters(letters, brokers=kafka, dead_letters=dead, newest_holds=items)
        assert (report.replayed, report.superseded) == (2, 1)
        assert [each.value for each in (await records(kafka, items))[4:]] == [b"b", b"keyless"]
        assert [each.offset for each in await open_letters(kafka, dead)] == [0]

    run(scenario())


def test_a_crash_between_the_copy_and_its_mark_sends_it_again(kafka: str, topic: Topic) -> None:
    source, dead = topics(topic)
    closed = topic("closed", num_partitions=1, configs={"max.message.bytes": "1"})

    async def scenario() -> None:
        await send(kafka, source, values(2))
        await reject(kafka, dead, source, 0, [1])
        letters = await open_letters(kafka, dead)
        with pytest.raises(ServerUnreachable, match=closed):
            await replay_letters(letters, brokers=kafka, dead_letters=closed)
        assert [each.offset for each in await open_letters(kafka, dead)] == [1]
        await replay_letters(letters, brokers=kafka, dead_letters=dead)
        assert await open_letters(kafka, dead) == []
        # Twice the same record: the engine counts its event id once.
        assert [each.value for each in (await records(kafka, source))[2:]] == [b"value 1"] * 2

    run(scenario())


def test_what_retention_took_is_said_to_be_gone(kafka: str, topic: Topic) -> None:
    source, dead = topics(topic)
    gone: list[str] = []

    async def scenario() -> None:
        await send(kafka, source, values(6))
        await reject(kafka, dead, source, 0, [1, 2, 4])
        await reject(kafka, dead, f"{source}-deleted", 0, [3])
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(source, 0): RecordsToDelete(3)})
        finally:
            await admin.close()
        letters = await open_letters(kafka, dead)
        report = await replay_letters(
            letters,
            brokers=kafka,
            dead_letters=dead,
            on_gone=lambda letter, why: gone.append(letter.place),
        )
        assert (report.replayed, report.gone) == (1, 3)
        assert sorted(gone) == [f"{source}-deleted/0/3", f"{source}/0/1", f"{source}/0/2"]
        assert (await records(kafka, source))[-1].value == b"value 4"

    run(scenario())


def test_a_letter_is_of_one_topic_and_not_of_the_next_of_its_name(kafka: str, topic: Topic) -> None:
    source, dead = topics(topic)
    said: list[str] = []

    async def scenario() -> None:
        await send(kafka, source, values(3))
        first = await id_of(kafka, source)
        await reject(kafka, dead, source, 0, [0, 1], first)
        done = (await open_letters(kafka, dead))[:1]
        assert (await replay_letters(done, brokers=kafka, dead_letters=dead)).replayed == 1
        assert [each.offset for each in await open_letters(kafka, dead)] == [1]

        await recreate(kafka, source)
        await send(kafka, source, [Outgoing(value=b"another %d" % n) for n in range(2)])
        second = await id_of(kafka, source)
        # The same places, of which the old topic's first is done.
        await reject(kafka, dead, source, 0, [0, 1], second)
        letters = await open_letters(kafka, dead)
        assert [(each.offset, each.topic_id) for each in letters] == [
            (1, first), (0, second), (1, second),
        ]  # fmt: skip
        async with DeadLetterLog(kafka, topic=dead) as log:
            ids = await log.topic_ids({source})
            assert await log.topic_ids(set()) == {}
        assert [each.is_of_another_topic(ids) for each in letters] == [True, False, False]
        report = await replay_letters(
            letters,
            brokers=kafka,
            dead_letters=dead,
            on_gone=lambda letter, why: said.append(f"{letter.place} {why}"),
        )
        assert (report.replayed, report.other_topic, report.gone) == (2, 1, 0)
        assert [each.value for each in (await records(kafka, source))[2:]] == [
            b"another 0", b"another 1",
        ]  # fmt: skip
        assert [each.topic_id for each in await open_letters(kafka, dead)] == [first]
        (line,) = said
        assert line.startswith(f"{source}/0/1 left alone") and first in line and second in line

    run(scenario())


def test_letters_without_an_id_are_of_the_topic_that_is_there(kafka: str, topic: Topic) -> None:
    source, dead = topics(topic)

    async def scenario() -> None:
        await send(kafka, source, values(4))
        await reject(kafka, dead, source, 0, [0, 1])  # By an older worker,
        await reject(kafka, dead, source, 0, [0, 1, 2], await id_of(kafka, source))  # a newer,
        await reject(kafka, dead, source, 0, [2])  # and an older one again.
        letters = await open_letters(kafka, dead)
        assert [each.offset for each in letters] == [0, 1, 2]
        # An older one's mark names no topic, and is of each of that place.
        await send(kafka, dead, [Outgoing(value=None, key=f"{source}/0/2".encode())])
        letters = await open_letters(kafka, dead)
        assert [each.offset for each in letters] == [0, 1]
        report = await replay_letters(letters, brokers=kafka, dead_letters=dead)
        assert (report.replayed, report.other_topic) == (2, 0)
        assert await open_letters(kafka, dead) == []

    run(scenario())


def test_far_and_near_offsets_of_several_partitions_are_found(kafka: str, topic: Topic) -> None:
    source, dead = topics(topic)
    wanted = {0: [0, 1, 999, 2_500, 2_501, 4_999], 1: [3, 4_000]}

    async def scenario() -> None:
        for partition in wanted:
            await send(
                kafka,
                source,
                [
                    Outgoing(value=b"%d/%d" % (partition, number), partition=partition)
                    for number in range(5_000)
                ],
            )
            await reject(kafka, dead, source, partition, wanted[partition])
        letters = await open_letters(kafka, dead)
        report = await replay_letters(letters[::-1], brokers=kafka, dead_letters=dead)
        assert report.replayed == 8
        for partition, offsets in wanted.items():
            sent = [each.value for each in (await records(kafka, source, partition))[5_000:]]
            assert sent == [b"%d/%d" % (partition, number) for number in offsets]

    run(scenario())


def test_a_record_that_compaction_took_is_gone_and_its_neighbour_is_not(
    kafka: str, topic: Topic
) -> None:
    """An aborted transaction leaves the same gap in what may be read, at once."""
    source, dead = topics(topic)

    async def scenario() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=source) as producer:
            await producer.begin_transaction()
            for number in range(3):
                await producer.send(source, b"aborted %d" % number, partition=0)
            await producer.abort_transaction()
        await send(kafka, source, values(2))  # At 4 and 5, behind the mark of the abort.
        await reject(kafka, dead, source, 0, [1, 4])
        letters = await open_letters(kafka, dead)
        report = await replay_letters(letters, brokers=kafka, dead_letters=dead)
        assert (report.replayed, report.gone) == (1, 1)

    run(scenario())


def test_a_dry_run_sends_and_marks_nothing(kafka: str, topic: Topic) -> None:
    source, dead = topics(topic)
    seen: list[tuple[bytes | None, bytes | None]] = []

    async def mend(found: Sequence[bytes | None]) -> list[bytes | None]:
        return [(value or b"").upper() for value in found]

    async def scenario() -> None:
        await send(kafka, source, values(2))
        await reject(kafka, dead, source, 0, [0, 1])
        letters = await open_letters(kafka, dead)
        report = await replay_letters(
            letters,
            brokers=kafka,
            dead_letters=dead,
            mend=mend,
            dry_run=True,
            on_copy=lambda copy: seen.append((copy.before, copy.value)),
        )
        assert report.replayed == 2
        assert await open_letters(kafka, dead) == letters
        assert len(await records(kafka, source)) == 2

    run(scenario())
    assert seen == [(b"value 0", b"VALUE 0"), (b"value 1", b"VALUE 1")]


def test_what_the_program_leaves_stays_open_and_what_it_breaks_sends_nothing(
    kafka: str, topic: Topic
) -> None:
    source, dead = topics(topic)

    async def leave_first(found: Sequence[bytes | None]) -> list[bytes | None]:
        return [None, *found[1:]]

    async def fail(found: Sequence[bytes | None]) -> list[bytes | None]:
        message = "it fails"
        raise ConfigurationError(message)

    async def scenario() -> None:
        await send(kafka, source, values(3))
        await reject(kafka, dead, source, 0, [0, 1])
        letters = await open_letters(kafka, dead)
        with pytest.raises(ConfigurationError):
            await replay_letters(letters, brokers=kafka, dead_letters=dead, mend=fail)
        assert await open_letters(kafka, dead) == letters
        report = await replay_letters(letters, brokers=kafka, dead_letters=dead, mend=leave_first)
        assert (report.replayed, report.left) == (1, 1)
        assert [each.offset for each in await open_letters(kafka, dead)] == [0]
        assert [each.value for each in (await records(kafka, source))[3:]] == [b"value 1"]

    run(scenario())
