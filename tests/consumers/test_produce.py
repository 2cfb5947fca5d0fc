"""Producing to Apache Kafka: every record acknowledged once, in order, where Kafka's rule says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import murmur2

from consumers.produce import ProduceReport, Record, produce_interactions
from local.kafka import KafkaServer
from stream.errors import ConfigurationError, ServerUnreachable


def records(count: int, *, step_ms: int = 1, num_users: int = 50) -> list[Record]:
    return [
        (index * step_ms, "interactions", b"user-%d" % (index % num_users), b"%d" % index, False)
        for index in range(count)
    ]


async def produce(brokers: str, blocks: Any, **options: Any) -> ProduceReport:
    options.setdefault("stop", asyncio.Event())
    return await produce_interactions(blocks, brokers=brokers, **options)


async def read(brokers: str, topic: str, num_partitions: int) -> dict[int, list[Any]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, index) for index in range(num_partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: dict[int, list[Any]] = {index: [] for index in range(num_partitions)}
        while [w for w in partitions if await consumer.position(w) < ends[w]]:
            for where, batch in (await consumer.getmany(timeout_ms=1000)).items():
                found[where.partition] += batch
        return found
    finally:
        await consumer.stop()


@pytest.mark.kafka
@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
def test_each_record_is_there_once_in_order_in_its_partition(
    kafka: str, topic: Callable[..., str], compression: str | None
) -> None:
    name = topic("interactions", num_partitions=3)
    sent = records(5_000)
    report = asyncio.run(
        produce(
            kafka, [sent[:1], sent[1:4_000], [], sent[4_000:]], topic=name, compression=compression
        )
    )
    found = asyncio.run(read(kafka, name, 3))
    assert (report.produced, report.acknowledged, report.failed) == (5_000, 5_000, 0)
    assert (report.next_index, report.last_time_ms, report.error) == (5_000, 4_999, "")
    for partition, batch in found.items():
        expected = [
            (key, value)
            for _, _, key, value, _ in sent
            if (murmur2(key) & 0x7FFFFFFF) % 3 == partition
        ]
        assert [(record.key, record.value) for record in batch] == expected


@pytest.mark.kafka
def test_records_larger_than_a_batch_are_all_sent(kafka: str, topic: Callable[..., str]) -> None:
    name = topic("interactions", num_partitions=1)
    sent: list[Record] = [
        (index, "interactions", b"u", b"%3d" % index + b"x" * 300_000, False) for index in range(7)
    ]
    report = asyncio.run(produce(kafka, [sent], topic=name))
    found = asyncio.run(read(kafka, name, 1))
    assert report.acknowledged == 7
    assert [record.value for record in found[0]] == [value for *_, value, _ in sent]


@pytest.mark.kafka
def test_items_tombstones_and_duplicates_are_counted_apart(
    kafka: str, topic: Callable[..., str]
) -> None:
    interactions, items = topic("interactions", 2), topic("items", 1)
    block: list[Record] = [
        (1, "items", b"i", b"{}", False),
        (2, "interactions", b"u", b"1", False),
        (3, "interactions", b"u", b"1", True),
        (4, "items", b"i", None, False),
    ]
    report = asyncio.run(produce(kafka, [block], topic=interactions, items_topic=items))
    assert (report.produced, report.acknowledged, report.duplicates_sent) == (2, 2, 1)
    assert report.by_topic[items].acknowledged == 2
    assert report.next_index == 2
    values = [record.value for record in asyncio.run(read(kafka, items, 1))[0]]
    assert values == [b"{}", None]


@pytest.mark.kafka
def test_stop_ends_a_paced_run_at_a_resumable_index(kafka: str, topic: Callable[..., str]) -> None:
    name = topic("interactions", num_partitions=2)
    sent = records(100, step_ms=3_600_000)

    async def stopped() -> ProduceReport:
        stop = asyncio.Event()
        # One record an hour: only the first is ever due. The first progress report ends it.
        asyncio.get_running_loop().call_later(0.5, stop.set)
        return await produce(kafka, [sent], topic=name, speed=1.0, stop=stop)

    first = asyncio.run(stopped())
    assert first.acknowledged == first.next_index == 1
    rest = asyncio.run(
        produce(kafka, [sent[first.next_index :]], topic=name, start_index=first.next_index)
    )
    assert rest.next_index == 100
    found = asyncio.run(read(kafka, name, 2))
    assert sorted(int(record.value) for batch in found.values() for record in batch) == list(
        range(100)
    )


@pytest.mark.kafka
def test_a_rate_is_never_exceeded(kafka: str, topic: Callable[..., str]) -> None:
    name = topic("interactions", num_partitions=2)
    began = time.monotonic()
    seen: list[ProduceReport] = []
    report = asyncio.run(
        produce(kafka, [records(200)], topic=name, rate=400.0, on_progress=seen.append)
    )
    assert report.acknowledged == 200
    assert time.monotonic() - began >= 199 / 400
    assert seen[-1] == report


@pytest.mark.kafka
def test_a_restarted_broker_loses_and_doubles_nothing(
    kafka_server: Callable[..., KafkaServer],
) -> None:
    server = kafka_server()
    brokers = server.bootstrap

    async def chaos() -> tuple[ProduceReport, dict[int, list[Any]]]:
        from consumers.topic_specs import TopicSpec
        from consumers.topics import ensure_topics

        await ensure_topics(brokers, [TopicSpec(name="t", num_partitions=2)])
        killed = asyncio.Event()

        def on_progress(report: ProduceReport) -> None:
            if report.acknowledged > 200:
                killed.set()

        run = asyncio.create_task(
            produce(brokers, [records(1_500)], topic="t", rate=500.0, on_progress=on_progress)
        )
        await killed.wait()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        report = await run
        return report, await read(brokers, "t", 2)

    report, found = asyncio.run(chaos())
    assert (report.acknowledged, report.failed, report.error) == (1_500, 0, "")
    values = [int(record.value) for batch in found.values() for record in batch]
    assert sorted(values) == list(range(1_500))


@pytest.mark.kafka
def test_a_broker_that_stays_away_fails_what_was_not_stored(
    kafka_server: Callable[..., KafkaServer],
) -> None:
    server = kafka_server()

    async def chaos() -> ProduceReport:
        from consumers.topic_specs import TopicSpec
        from consumers.topics import ensure_topics

        await ensure_topics(server.bootstrap, [TopicSpec(name="t", num_partitions=1)])
        gone = asyncio.Event()

        def on_progress(report: ProduceReport) -> None:
            if report.acknowledged > 50:
                gone.set()

        run = asyncio.create_task(
            produce(
                server.bootstrap,
                [records(100_000)],
                topic="t",
                rate=300.0,
                on_progress=on_progress,
                max_outage_s=2.0,
                client_options={"request_timeout_ms": 1_000},
            )
        )
        await gone.wait()
        await asyncio.to_thread(server.kill)
        return await run

    report = asyncio.run(chaos())
    assert report.error
    assert report.failed > 0
    assert report.produced == report.acknowledged + report.failed
    assert report.next_index == report.acknowledged


@pytest.mark.kafka
def test_a_topic_that_is_missing_is_said_at_once(
    kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigurationError, match="expected the topic nowhere, .*start a worker"):
        asyncio.run(produce(kafka, [records(3)], topic="nowhere"))
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


def test_no_broker_is_server_unreachable(free_port: Callable[[], int]) -> None:
    brokers = f"127.0.0.1:{free_port()}"
    with pytest.raises(ServerUnreachable, match=f"expected Kafka at {brokers}"):
        asyncio.run(produce(brokers, [], topic="t"))


@pytest.mark.parametrize("pace", [{"rate": 0.0}, {"speed": -1.0}, {"rate": 1.0, "speed": 1.0}])
def test_a_pace_that_cannot_be_is_refused(pace: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected a"):
        asyncio.run(produce("127.0.0.1:1", [], topic="t", **pace))
