"""Slabs from Apache Kafka through aiokafka equal its records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import NodeNotReadyError

from consumers.aiokafka_private import (
    SlabSource,
    ask_any_broker,
    hand_out_slabs,
    leave_group,
)
from consumers.records import RecordsWalk
from consumers.topic_ids import TopicIdRequest, ids_in
from stream.slab import Slab
from tests.consumers.batches import rows

MakeTopic = Callable[..., str]


async def produce(kafka: str, topic: str, values: Sequence[bytes | None], **options: Any) -> None:
    """Send values to partition 0 with keys and headers, in several batches."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, **options) as producer:
        for index, value in enumerate(values):
            key = b"key-%d" % index if index % 3 else None
            headers = [("h", b"1")] if index % 5 == 0 else []
            await producer.send(
                topic, value, key=key, partition=0, headers=headers, timestamp_ms=1_000 + index
            )
            if index % 17 == 0:
                await producer.flush()


async def read(
    kafka: str, topic: str, *, begin: int = 0, slabs: bool = True, **options: Any
) -> list[Any]:
    """Read partition 0 to its end: slabs, or aiokafka's records."""
    tp = TopicPartition(topic, 0)
    read: list[Any] = []
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
        **options,
    )
    async with consumer:
        if slabs:
            walk = RecordsWalk(max_batch_bytes=1 << 22)
            source = SlabSource(topics={topic}, walk=walk, needs_seek=False)
            hand_out_slabs(consumer, source)
        consumer.assign([tp])
        consumer.seek(tp, begin)
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            for batch in (await consumer.getmany(timeout_ms=1_000)).values():
                read.extend(batch)
    return read


def stock_rows(records: Sequence[Any]) -> list[Any]:
    return [(r.offset, r.timestamp, r.key, r.value, bool(r.headers)) for r in records]


def run(scenario: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(scenario, 90)

    return asyncio.run(bounded())


@pytest.mark.kafka
@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_slabs_equal_records_for_every_codec(
    kafka: str, topic: MakeTopic, codec: str | None
) -> None:
    name = topic("codec", 1)
    values = [b"value-%d " % i * 20 for i in range(100)]

    async def scenario() -> None:
        await produce(kafka, name, values, compression_type=codec, enable_idempotence=True)
        slabs = await read(kafka, name)
        assert [value for _, _, _, value, _ in rows(slabs)] == values
        assert rows(slabs) == stock_rows(await read(kafka, name, slabs=False))
        assert rows(await read(kafka, name, begin=63)) == rows(slabs)[63:]

    run(scenario())


@pytest.mark.kafka
@pytest.mark.parametrize("kind", ["LogAppendTime", "CreateTime"])
def test_timestamps_are_the_topics_kind(kafka: str, topic: MakeTopic, kind: str) -> None:
    name = topic("times", 1, {"message.timestamp.type": kind})

    async def scenario() -> list[Slab]:
        await produce(kafka, name, [b"a", b"b"])
        return await read(kafka, name)

    times = [time for _, time, *_ in rows(run(scenario()))]
    if kind == "CreateTime":
        assert times == [1_000, 1_001]
    else:
        assert min(times) > 10**12


@pytest.mark.kafka
def test_aborted_transactions_are_not_handed_out(kafka: str, topic: MakeTopic) -> None:
    name = topic("transactions", 1)

    async def scenario() -> list[Slab]:
        async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name) as producer:
            for value, commits in [(b"in", True), (b"out", False), (b"in again", True)]:
                await producer.begin_transaction()
                await producer.send_and_wait(name, value, partition=0)
                await (producer.commit_transaction() if commits else producer.abort_transaction())
        slabs: list[Slab] = []
        while not slabs or slabs[-1].end < 6:  # Markers follow answers; covered, they are no lag.
            slabs = await read(kafka, name)
        return slabs

    slabs = run(scenario())
    assert [(offset, value) for offset, _, _, value, _ in rows(slabs)] == [
        (0, b"in"),
        (4, b"in again"),
    ]


@pytest.mark.kafka
@pytest.mark.parametrize("fetch_bytes", [100, 1_000, 5_000])
def test_batches_cut_off_by_a_small_fetch_come_whole_with_the_next(
    kafka: str, topic: MakeTopic, fetch_bytes: int
) -> None:
    name = topic("small-fetches", 1)
    values = [b"v" * size for size in (10, 3_000, 50, 700, 20_000, 5)] * 3

    async def scenario() -> list[Slab]:
        await produce(kafka, name, values)
        return await read(kafka, name, max_partition_fetch_bytes=fetch_bytes)

    slabs = run(scenario())
    assert [value for _, _, _, value, _ in rows(slabs)] == values
    assert all(one.end == next_.begin for one, next_ in zip(slabs, slabs[1:], strict=False))


@pytest.mark.kafka
def test_truncated_log_shows_as_a_begin_above_what_was_wanted(kafka: str, topic: MakeTopic) -> None:
    name = topic("truncated", 1)

    async def scenario() -> list[Slab]:
        await produce(kafka, name, [b"%d" % i for i in range(10)])
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=6)})
        await admin.close()
        return await read(kafka, name, begin=2)

    slabs = run(scenario())
    assert slabs[0].begin == 6
    assert [offset for offset, *_ in rows(slabs)] == [6, 7, 8, 9]


@pytest.mark.kafka
def test_another_clients_records_read_the_same(kafka: str, topic: MakeTopic) -> None:
    from kafka import KafkaProducer

    name = topic("kafka-python", 1)
    with KafkaProducer(bootstrap_servers=kafka, compression_type="gzip") as producer:
        for index in range(50):
            key = None if index % 2 else b"key"
            producer.send(name, b"%d" % index, key=key, partition=0, headers=[("a", b"b")])
        producer.flush()
    slabs = run(read(kafka, name))
    assert rows(slabs) == stock_rows(run(read(kafka, name, slabs=False)))
    assert len(rows(slabs)) == 50


@pytest.mark.kafka
def test_topics_that_are_not_slabs_keep_records(kafka: str, topic: MakeTopic) -> None:
    name = topic("light", 1)

    async def scenario() -> None:
        await produce(kafka, name, [b"a", b"b"])
        tp = TopicPartition(name, 0)
        async with AIOKafkaConsumer(bootstrap_servers=kafka) as consumer:
            walk = RecordsWalk(max_batch_bytes=1 << 16)
            hand_out_slabs(consumer, SlabSource(topics=set(), walk=walk))
            consumer.assign([tp])
            consumer.seek(tp, 0)
            first = await consumer.getone()
            assert (first.value, first.offset) == (b"a", 0)

    run(scenario())


async def join(kafka: str, topic: str, group: str, **options: Any) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, group_id=group, session_timeout_ms=60_000, **options
    )
    await consumer.start()
    return consumer  # aiokafka's start ends once the group has joined.


@pytest.mark.kafka
@pytest.mark.parametrize("instance_id", [None, "one"])
@pytest.mark.parametrize("is_connected", [True, False])
def test_a_leaving_member_frees_its_partitions_at_once(
    kafka: str, topic: MakeTopic, instance_id: str | None, *, is_connected: bool
) -> None:
    name = topic("leaving", 1)

    async def scenario() -> None:
        first = await join(kafka, name, name, group_instance_id=instance_id)
        if not is_connected:
            for connection in list(first._client._conns.values()):
                connection.close()
        await leave_group(first)
        await first.stop()
        # Far below the session timeout of a minute: the group knows.
        second = await asyncio.wait_for(join(kafka, name, name), 20)
        await second.stop()

    run(scenario())


@pytest.mark.kafka
def test_a_request_of_ours_goes_over_a_consumers_connections(kafka: str, topic: MakeTopic) -> None:
    name = topic("asked", 1)

    async def scenario() -> dict[str, str]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
        with pytest.raises(NodeNotReadyError):
            await ask_any_broker(consumer, TopicIdRequest([name]))
        await consumer.start()
        try:
            return ids_in(await ask_any_broker(consumer, TopicIdRequest([name])))
        finally:
            await consumer.stop()

    assert run(scenario())[name]
