"""BroadcastReader on Apache Kafka: whole topics, growth, truncation, compaction, outage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete

from consumers.reader import BroadcastReader
from local.kafka import KafkaServer
from stream.errors import ConfigurationError, ServerUnreachable
from stream.slab import Slab
from tests.consumers.kafka_calls import numbers, produce, run

pytestmark = pytest.mark.kafka

MakeTopic = Callable[..., str]


class Seen:
    """Collects what a reader hands out and what it reports."""

    def __init__(self) -> None:
        self.slabs: list[Slab] = []
        self.resets: list[str] = []
        self.lags: list[int] = []
        self.num_records = 0
        self.changed = asyncio.Condition()

    async def take(self, slab: Slab) -> None:
        self.slabs.append(slab)
        async with self.changed:
            self.changed.notify_all()

    def on_slab(self, topic: str, num_records: int, num_bytes: int) -> None:
        self.num_records += num_records

    def on_reset(self, topic: str) -> None:
        self.resets.append(topic)

    def on_lag(self, lag: int) -> None:
        self.lags.append(lag)

    @property
    def values(self) -> list[bytes | None]:
        return [slab.value(i) for slab in self.slabs for i in range(len(slab))]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self.changed:
            await self.changed.wait_for(condition)


@contextlib.asynccontextmanager
async def reading(kafka: str, seen: Seen, *topics: str, **options: Any) -> AsyncIterator[Any]:
    reader = BroadcastReader(
        brokers=kafka, topics=topics, on_slab=seen.take, metrics=seen, **options
    )
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


@contextlib.asynccontextmanager
async def administering(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def test_catch_up_hands_out_everything_then_follows(kafka: str, topic: MakeTopic) -> None:
    items, signals = topic("items", 3), topic("signals", 2)

    async def scenario() -> Seen:
        await produce(kafka, items, numbers(0, 200), compression_type="lz4")
        await produce(kafka, signals, numbers(200, 300))
        seen = Seen()
        async with reading(kafka, seen, items, signals) as reader:
            await reader.catch_up()
            assert reader.is_caught_up
            assert sorted(seen.values) == numbers(0, 300)
            assert sum(reader.next_offsets.values()) == 300
            await produce(kafka, items, numbers(300, 310))
            await seen.until(lambda: len(seen.values) == 310)
        return seen

    seen = run(scenario())
    assert seen.num_records >= 300
    assert seen.resets == []
    assert min(seen.lags) == 0


def test_empty_topics_are_caught_up_at_once(kafka: str, topic: MakeTopic) -> None:
    name = topic("items", 2)

    async def scenario() -> None:
        seen = Seen()
        async with reading(kafka, seen, name) as reader:
            await reader.catch_up()
        assert seen.slabs == []

    run(scenario())


def test_log_emptied_before_the_start_is_caught_up(kafka: str, topic: MakeTopic) -> None:
    name = topic("items", 1)

    async def scenario() -> None:
        await produce(kafka, name, numbers(0, 10))
        async with administering(kafka) as admin:
            await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(10)})
        seen = Seen()
        async with reading(kafka, seen, name) as reader:
            await reader.catch_up()
            assert reader.next_offsets == {(name, 0): 10}
        assert (seen.slabs, seen.resets) == ([], [])

    run(scenario())


def test_new_partitions_are_read_and_old_ones_go_on(kafka: str, topic: MakeTopic) -> None:
    name = topic("items", 1)

    async def scenario() -> None:
        await produce(kafka, name, numbers(0, 10))
        seen = Seen()
        async with reading(kafka, seen, name, refresh_s=0.1) as reader:
            await reader.catch_up()
            async with administering(kafka) as admin:
                await admin.create_partitions({name: NewPartitions(3)})
            await produce(kafka, name, numbers(10, 40))
            await seen.until(lambda: len(seen.values) == 40)
        assert sorted(seen.values) == numbers(0, 40)
        assert {slab.partition for slab in seen.slabs} == {0, 1, 2}

    run(scenario())


def test_recreated_topic_is_read_again_and_reported(kafka: str, topic: MakeTopic) -> None:
    name = topic("items", 1)

    async def scenario() -> None:
        await produce(kafka, name, numbers(0, 10))
        seen = Seen()
        async with reading(kafka, seen, name, refresh_s=0.1) as reader:
            await reader.catch_up()
            async with administering(kafka) as admin:
                await admin.delete_topics([name])
                while name in await admin.list_topics():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                await admin.create_topics([NewTopic(name, 1, 1)])
            await produce(kafka, name, numbers(10, 13))
            await seen.until(lambda: len(seen.values) == 13)
        assert seen.values == numbers(0, 13)
        assert seen.resets == [name]

    run(scenario())


def test_aborted_transactions_are_left_out(kafka: str, topic: MakeTopic) -> None:
    name = topic("items", 1)

    async def scenario() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(name, b"out", partition=0)
            await producer.abort_transaction()
        seen = Seen()
        next_offsets: dict[tuple[str, int], int] = {}
        # The broker writes the marker of the abort after it has answered; until then the log that
        # may be read ends before the transaction, and a reader is caught up at its start.
        while next_offsets != {(name, 0): 2}:
            async with reading(kafka, seen, name) as reader:
                await reader.catch_up()
                next_offsets = dict(reader.next_offsets)
        assert seen.values == []

    run(scenario())


def test_compacted_holes_are_stepped_over(kafka_server: Callable[..., KafkaServer]) -> None:
    server = kafka_server(properties={"log.cleaner.backoff.ms": 50})
    name = "items"
    configs = {
        "cleanup.policy": "compact",
        "segment.ms": "1",
        "min.cleanable.dirty.ratio": "0.001",
        "min.compaction.lag.ms": "0",
    }

    async def whole() -> Seen:
        seen = Seen()
        async with reading(server.bootstrap, seen, name) as reader:
            await reader.catch_up()
        return seen

    async def scenario() -> Seen:
        async with administering(server.bootstrap) as admin:
            await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs)])
        async with AIOKafkaProducer(bootstrap_servers=server.bootstrap) as producer:
            for number in range(60):
                await producer.send_and_wait(name, b"%d" % number, key=b"%d" % (number % 3))
        while len((seen := await whole()).values) == 60:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        return seen

    seen = run(scenario())
    offsets = [int(offset) for slab in seen.slabs for offset in slab.offsets]
    assert offsets == sorted(set(offsets))
    assert len(offsets) < 60
    assert seen.values[-3:] == [b"57", b"58", b"59"]
    assert seen.slabs[-1].end == 60


def test_reader_survives_a_broker_restart(kafka_server: Callable[..., KafkaServer]) -> None:
    server = kafka_server()

    async def scenario() -> None:
        async with administering(server.bootstrap) as admin:
            await admin.create_topics([NewTopic("items", 1, 1)])
        await produce(server.bootstrap, "items", numbers(0, 10))
        seen = Seen()
        async with reading(server.bootstrap, seen, "items") as reader:
            await reader.catch_up()
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await produce(server.bootstrap, "items", numbers(10, 20))
            await seen.until(lambda: len(seen.values) == 20)
        assert seen.values == numbers(0, 20)

    run(scenario())


def test_outage_beyond_the_bound_ends_the_reader(
    kafka_server: Callable[..., KafkaServer],
) -> None:
    server = kafka_server()

    async def scenario() -> None:
        async with administering(server.bootstrap) as admin:
            await admin.create_topics([NewTopic("items", 1, 1)])
        async with reading(server.bootstrap, Seen(), "items", max_outage_s=1.0) as reader:
            await reader.catch_up()
            await asyncio.to_thread(server.kill)
            await reader.run_until_failure()

    with pytest.raises(ServerUnreachable, match="expected Kafka at 127.0.0.1"):
        run(scenario())


def test_absent_broker_is_one_clear_error(free_port: Callable[[], int]) -> None:
    async def scenario() -> None:
        address = f"127.0.0.1:{free_port()}"
        async with reading(address, Seen(), "items", max_outage_s=0.3):
            pass

    with pytest.raises(ServerUnreachable, match="start it, or correct the address"):
        run(scenario())


def test_missing_topic_is_one_clear_error(kafka: str) -> None:
    async def scenario() -> None:
        async with reading(kafka, Seen(), "no-such-topic"):
            pass

    with pytest.raises(ConfigurationError, match="no-such-topic"):
        run(scenario())


def test_failing_handler_ends_the_reader(kafka: str, topic: MakeTopic) -> None:
    name = topic("items", 1)

    async def fail(slab: Slab) -> None:
        message = "the handler broke"
        raise ValueError(message)

    async def scenario() -> None:
        await produce(kafka, name, numbers(0, 3))
        reader = BroadcastReader(brokers=kafka, topics=[name], on_slab=fail)
        await reader.start()
        try:
            await reader.catch_up()
        finally:
            await reader.stop()

    with pytest.raises(ValueError, match="the handler broke"):
        run(scenario())
