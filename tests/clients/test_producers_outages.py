"""Both producers while Kafka is away: what waits, what fails in time, and what is said."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from headwater_client import (
    AsyncEventProducer,
    BufferFull,
    Delivery,
    DeliveryFailed,
    EventProducer,
    KafkaUnreachable,
    Receipt,
)
from local.kafka import KafkaServer
from tests.clients.sendings import SENDERS, Send, lookups_of_threads, records_of

pytestmark = pytest.mark.kafka

# kafka-python leaves the socket of each failed connection to the garbage collector.
without_kafka = pytest.mark.filterwarnings("ignore:unclosed .*socket:ResourceWarning")
every_producer = pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)


@pytest.fixture
def collected_sockets(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Collect the sockets of failed connections within this test."""
    # Captured log records would hold connections, and these their sockets, beyond it.
    caplog.set_level(logging.CRITICAL + 1, logger="kafka")
    yield
    gc.collect()


@pytest.fixture
def dying_kafka(collected_sockets: None, kafka_server: Callable[..., KafkaServer]) -> KafkaServer:
    """Give a Kafka of one's own that has the topic."""
    server = kafka_server()
    admin = KafkaAdminClient(bootstrap_servers=server.bootstrap)
    admin.create_topics([NewTopic(name="interactions", num_partitions=2, replication_factor=1)])
    admin.close()
    return server


@without_kafka
@every_producer
def test_an_address_where_nobody_answers_is_named(
    send: Send, collected_sockets: None, free_port: Callable[[], int]
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    with pytest.raises(KafkaUnreachable, match=f"expected Kafka at {nowhere} to answer"):
        send(nowhere, [], connect_timeout_ms=500)


@without_kafka
def test_threads_that_wait_for_a_kafka_that_is_gone_share_the_answer(
    dying_kafka: KafkaServer,
) -> None:
    with quick_producer(dying_kafka.bootstrap) as producer:
        dying_kafka.kill()
        num_lookups = lookups_of_threads(producer, expected="within 600 ms")
    assert num_lookups <= 2  # Not one after the other, each for as long.


@without_kafka
def test_a_first_record_waits_for_a_kafka_that_restarts(dying_kafka: KafkaServer) -> None:
    async def run() -> Receipt:
        async with AsyncEventProducer(dying_kafka.bootstrap, buffer_timeout_ms=60_000) as producer:
            dying_kafka.kill()
            waiting = asyncio.create_task(producer.like("u", "i"))
            await asyncio.to_thread(dying_kafka.start)
            return await waiting

    assert asyncio.run(run()).offset == 0


@without_kafka
def test_the_error_of_the_block_comes_first(dying_kafka: KafkaServer) -> None:
    server = dying_kafka
    with pytest.raises(KeyError) as caught, quick_producer(server.bootstrap) as producer:
        confirmed(producer, "before")
        server.kill()
        producer.like("u", "i", event_id="lost")
        raise KeyError
    assert any("(lost" in note for note in caught.value.__notes__)


def confirmed(producer: EventProducer, item_id: str) -> Receipt:
    """Send until it is confirmed, as an application does: the event_id makes that once."""
    for _ in range(50):
        try:
            return producer.like("u", item_id, event_id=item_id).result(60)
        except DeliveryFailed:
            continue
    pytest.fail("Kafka did not come back")


async def confirmed_async(producer: AsyncEventProducer, item_id: str) -> Receipt:
    """Send until it is confirmed, as an application does."""
    for _ in range(50):
        try:
            return await producer.like("u", item_id, event_id=item_id)
        except DeliveryFailed:
            continue
    pytest.fail("Kafka did not come back")


def quick_producer(kafka: str, **options: Any) -> EventProducer:
    return EventProducer(kafka, delivery_timeout_ms=1_500, buffer_timeout_ms=600, **options)


@without_kafka
def test_without_kafka_deliveries_fail_in_time_and_go_on_after_it(
    dying_kafka: KafkaServer,
) -> None:
    server = dying_kafka
    producer = quick_producer(server.bootstrap, max_buffered_bytes=300_000)
    confirmed(producer, "before")
    server.kill()
    seen = producer.like("u", "i", event_id="seen")
    unseen = producer.like("u", "i", event_id="unseen")
    with pytest.raises(DeliveryFailed, match="event_id") as caught:
        seen.result(30)
    assert caught.value.record_ids == ("seen",)
    with pytest.raises(DeliveryFailed) as caught:
        producer.flush()
    assert caught.value.record_ids == ("unseen",) and unseen.done()
    producer.flush()

    big = {"device": "x" * 16_000}
    waiting: list[Delivery] = []
    with pytest.raises(BufferFull, match="300,000 bytes within 600 ms"):
        while len(waiting) < 100:
            waiting.append(producer.like("u", "i", **big))
    assert 10 <= len(waiting) < 20
    with pytest.raises(DeliveryFailed) as caught:
        producer.flush()
    assert caught.value.record_ids == tuple(each.record_id for each in waiting)
    server.start()
    assert confirmed(producer, "after").offset >= 1
    producer.close()


@without_kafka
def test_without_kafka_awaits_fail_in_time_and_go_on_after_it(
    dying_kafka: KafkaServer,
) -> None:
    server = dying_kafka

    async def run() -> None:
        producer = await AsyncEventProducer(
            server.bootstrap,
            delivery_timeout_ms=1_500,
            buffer_timeout_ms=400,
            max_buffered_bytes=300_000,
        ).start()
        await confirmed_async(producer, "before")
        server.kill()
        with pytest.raises(DeliveryFailed) as caught:
            await producer.like("u", "i", event_id="seen")
        assert caught.value.record_ids == ("seen",)
        left = asyncio.create_task(producer.like("u", "i", event_id="left"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        left.cancel()
        many = [producer.like("u", "i", device="x" * 16_000) for _ in range(40)]
        outcomes = await asyncio.gather(*many, return_exceptions=True)
        kinds = {type(each) for each in outcomes}
        assert BufferFull in kinds and kinds <= {BufferFull, DeliveryFailed, KafkaUnreachable}
        with pytest.raises(DeliveryFailed) as caught:
            await producer.flush()
        assert caught.value.record_ids == ("left",)
        await producer.flush()
        await asyncio.to_thread(server.start)
        assert (await confirmed_async(producer, "after")).offset >= 1
        await producer.close()

    asyncio.run(run())


@without_kafka
def test_what_waits_while_kafka_is_away_arrives_in_order(dying_kafka: KafkaServer) -> None:
    server = dying_kafka
    items = [f"i{number}" for number in range(30)]

    async def send_all(producer: AsyncEventProducer) -> None:
        for item in items:
            await producer.like("async", item)

    async def run() -> None:
        async with AsyncEventProducer(server.bootstrap, delivery_timeout_ms=120_000) as tasks:
            await tasks.like("async", "before")
            with EventProducer(server.bootstrap, delivery_timeout_ms=120_000) as threads:
                threads.like("sync", "before").result(20)
                server.kill()
                for item in items:
                    threads.like("sync", item)
                sending = asyncio.create_task(send_all(tasks))
                await asyncio.to_thread(server.start)
                await sending
                await asyncio.to_thread(threads.flush)

    asyncio.run(run())
    records = records_of(server.bootstrap, "interactions")
    events = [json.loads(records[place].value) for place in sorted(records)]
    for user in ("sync", "async"):
        # A retry may stand there twice; its event_id makes that one.
        mine = {each["event_id"]: each["item_id"] for each in events if each["user_id"] == user}
        assert list(mine.values()) == ["before", *items]
