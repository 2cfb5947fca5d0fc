"""Both producers against Apache Kafka: what arrives, and what is said when nothing does."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from kafka.admin import KafkaAdminClient

from headwater_client import (
    AsyncEventProducer,
    EventProducer,
    Interaction,
    InvalidAddress,
    InvalidEvent,
    Item,
    KafkaUnreachable,
    ProducerClosed,
    Receipt,
    WrongEventLoop,
)
from headwater_client.topics import KnownTopics
from local.kafka import KafkaServer
from state.hashing import partition_of
from stream import wire
from tests.clients.sendings import SENDERS, Send, call, lookups_of_threads, records_of

pytestmark = pytest.mark.kafka

Topics = Callable[..., str]
every_producer = pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)


def home_of(user_id: str, num_partitions: int) -> int:
    key = np.frombuffer(user_id.encode(), np.uint8)
    return int(partition_of(key, 0, len(key), num_partitions))


@every_producer
def test_every_kind_of_event_arrives_as_the_contract_wants_it(
    send: Send, kafka: str, topic: Topics
) -> None:
    name = topic("interactions")
    calls = [
        call("watch", "ann", "i1", watch_ms=5, duration_ms=9, ts=1_000, event_id="e1", position=0),
        call("like", "ann", "i2", device="tv", request_id="r"),
        *(
            call(each, "béa", "i3")
            for each in ("unlike", "comment", "share", "follow", "not_interested")
        ),
        call("erase", "bob"),
        call("send", Interaction(event_id="e9", type="like", user_id="bob", item_id="i", ts=7)),
    ]
    receipts = send(kafka, calls, topic=name, now_ms=lambda: 77)
    records = records_of(kafka, name)
    assert len(records) == len(calls)
    events = []
    for receipt in receipts:
        record = records[receipt.partition, receipt.offset]
        event = wire.Interaction.model_validate_json(record.value)
        assert (receipt.topic, receipt.record_id) == (name, event.event_id)
        assert record.key == event.user_id.encode()
        events.append(event)
    expected = ["watch", "like", "unlike", "comment", "share", "follow", "not_interested", "erase"]
    assert [event.type for event in events] == [*expected, "like"]
    assert [event.ts for event in events] == [1_000, *[77] * 7, 7]
    assert events[0].model_dump(exclude_none=True) == {
        **{"event_id": "e1", "type": "watch", "user_id": "ann", "item_id": "i1", "ts": 1_000},
        **{"watch_ms": 5, "duration_ms": 9, "position": 0},
    }
    assert (events[1].device, events[1].request_id) == ("tv", "r")
    assert len({event.event_id for event in events}) == len(events)


@every_producer
def test_items_are_announced_and_removed(send: Send, kafka: str, topic: Topics) -> None:
    name = topic("items", num_partitions=1, configs={"cleanup.policy": "compact"})
    item = Item(item_id="i1", author_id="a1", created_at=5, tags=["x"], embedding=[0.5, -1.0])
    receipts = send(kafka, [call("announce", item), call("remove", "i1")], items_topic=name)
    records = [records_of(kafka, name)[each.partition, each.offset] for each in receipts]
    assert [record.key for record in records] == [b"i1", b"i1"]
    assert wire.Item.model_validate_json(records[0].value).model_dump() == item.model_dump()
    assert records[1].value is None


@every_producer
def test_each_user_is_where_the_engine_looks(send: Send, kafka: str, topic: Topics) -> None:
    name = topic("interactions", num_partitions=11)
    random = np.random.default_rng(3)
    users = [
        "".join(map(chr, random.integers(33, 2_000, random.integers(1, 60)))) for _ in range(300)
    ]
    users = [user for user in users if not any(0x7F <= ord(each) <= 0x9F for each in user)]
    receipts = send(kafka, [call("like", user, "i") for user in users], topic=name)
    assert [each.partition for each in receipts] == [home_of(user, 11) for user in users]
    assert len({each.partition for each in receipts}) == 11


@every_producer
def test_a_users_events_stand_in_the_order_of_the_calls(
    send: Send, kafka: str, topic: Topics
) -> None:
    name = topic("interactions")
    calls = [call("like", f"u{number % 3}", f"i{number}") for number in range(2_000)]
    receipts = send(kafka, calls, topic=name, linger_ms=0)
    for user in range(3):
        offsets = [each.offset for each in receipts[user::3]]
        assert offsets == sorted(offsets)


@every_producer
def test_what_headwater_would_reject_is_not_sent(send: Send, kafka: str, topic: Topics) -> None:
    name = topic("interactions")
    bad = [
        call("like", "", "i"),
        call("like", "u", "i\n"),
        call("like", "u" * 65, "i"),
        call("like", 5, "i"),
        call("like", "u", "\ud800"),
        call("like", "u", "i", ts=1.5),
        call("like", "u", "i", ts=-1),
        call("like", "u", "i", ts=time.time_ns()),
        call("like", "u", "i", ts=time.time_ns() // 1_000_000 + 3_600_000),
        call("watch", "u", "i", watch_ms=5, duration_ms=0),
        call("watch", "u", "i", watch_ms=None, duration_ms=5),
        call("like", "u", "i", device="x" * wire.MAX_VALUE_BYTES),
        call("remove", ""),
    ]
    for each in bad:
        with pytest.raises(InvalidEvent, match="expected"):
            send(kafka, [each], topic=name)
    assert records_of(kafka, name) == {}


@every_producer
def test_a_buffer_that_is_smaller_than_the_load_slows_it_and_loses_nothing(
    send: Send, kafka: str, topic: Topics
) -> None:
    name = topic("interactions")
    calls = [call("like", f"u{number}", "i", device="x" * 12_000) for number in range(400)]
    receipts = send(kafka, calls, topic=name, max_buffered_bytes=400_000)
    assert len({(each.partition, each.offset) for each in receipts}) == 400


@every_producer
@pytest.mark.parametrize(
    "address",
    [
        "",
        "host:port",
        "http://host:9092",
        "host:9092,",
        "user@host",
        "::1:9092",
        "host:65536",
        None,
    ],
)
def test_what_is_no_address_is_refused_at_once(send: Send, address: Any) -> None:
    with pytest.raises(InvalidAddress, match="expected host:port"):
        send(address, [])


@every_producer
def test_arguments_that_cannot_work_are_refused(send: Send, kafka: str) -> None:
    for options, named in (
        ({"max_buffered_bytes": 5}, "max_buffered_bytes"),
        ({"client_options": {"acks": 0}}, "acks"),
        ({"client_options": {"no_such_option": 0}}, "no_such_option"),
        ({"client_options": {1: 2}}, "client_options: expected a mapping of names"),
        ({"client_options": None}, "client_options: .*, got NoneType"),
        ({"buffer_timeout_ms": float("inf")}, "buffer_timeout_ms: .* got inf"),
        ({"linger_ms": "5"}, "linger_ms: expected a number, got str"),
        ({"delivery_timeout_ms": None}, "delivery_timeout_ms: expected a number, got NoneType"),
        ({"topic": None}, "topic: expected the name of a topic, got NoneType"),
        ({"items_topic": ""}, "items_topic: expected the name of a topic, got an empty text"),
        ({"topic": "bad name!"}, "topic: expected a name that .* may have .*got 'bad name!'"),
        ({"items_topic": "."}, r"items_topic: expected a name .*got '\.'"),
        ({"topic": "a" * 250}, "1 to 249"),
    ):
        with pytest.raises(InvalidAddress, match=named):
            send(kafka, [], **options)


def test_a_topic_that_is_not_there_is_named_at_once_and_not_made(
    kafka_server: Callable[..., KafkaServer], caplog: pytest.LogCaptureFixture
) -> None:
    kafka = kafka_server(properties={"auto.create.topics.enable": "true"}).bootstrap
    # As long as a record may wait otherwise; no test waits for that.
    options = {"topic": "no-such-topic", "buffer_timeout_ms": 600_000}
    with caplog.at_level(logging.WARNING):
        for send in SENDERS.values():
            with pytest.raises(KafkaUnreachable, match="expected the topic 'no-such-topic'.* none"):
                send(kafka, [call("like", "u", f"i{n}") for n in range(3)], **options)
    assert caplog.records == []
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    assert "no-such-topic" not in admin.list_topics()
    admin.close()


def test_a_producer_finds_a_topic_that_was_made_since(kafka: str, topic: Topics) -> None:
    name = topic("interactions")

    async def run() -> Receipt:
        async with AsyncEventProducer(kafka, topic="not-yet") as producer:
            with pytest.raises(KafkaUnreachable, match="not-yet"):
                await producer.like("u", "i")
            producer._topic = name  # As if the topic of this name had been made.
            return await producer.like("u", "i")

    assert asyncio.run(run()).topic == name
    with EventProducer(kafka, topic="not-yet") as producer:
        with pytest.raises(KafkaUnreachable, match="not-yet"):
            producer.like("u", "i")
        producer._topic = name
        assert producer.like("u", "i").result(30).topic == name


def test_threads_that_wait_for_a_missing_topic_share_the_answer(kafka: str) -> None:
    with EventProducer(kafka, topic="no-topic-of-many") as producer:
        num_lookups = lookups_of_threads(producer, expected="no-topic-of-many")
    assert num_lookups <= 2  # One, and one for who came as it ended.


def test_a_missing_topic_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    is_asked, is_other_found = Event(), Event()

    def look_for(_: KnownTopics, name: str) -> int:
        if name == "there":
            return 0
        is_asked.set()
        return 3 if is_other_found.wait(30) else 0

    monkeypatch.setattr(KnownTopics, "_look_for", look_for)
    topics = KnownTopics("host:1", {}, timeout_ms=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(topics.check, "missing")
        assert is_asked.wait(30)
        topics.check("there")
        is_other_found.set()
        with pytest.raises(KafkaUnreachable, match="expected the topic 'missing'"):
            waiting.result()


def test_closing_while_a_topic_is_looked_for_ends_the_call(kafka: str) -> None:
    async def run() -> None:
        producer = AsyncEventProducer(kafka, topic="no-such-topic")
        await producer.start()
        waiting = asyncio.create_task(producer.like("u", "i"))
        await asyncio.sleep(0)
        await producer.close()
        with pytest.raises(ProducerClosed):
            await waiting
        cancelled = AsyncEventProducer(kafka, topic="no-such-topic")
        async with cancelled:
            waiting = asyncio.create_task(cancelled.like("u", "i"))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(run())


@every_producer
def test_what_is_no_event_and_no_item_is_refused(send: Send, kafka: str) -> None:
    event = {"event_id": "e", "type": "like", "user_id": "u", "item_id": "i", "ts": 1}
    with pytest.raises(InvalidEvent, match=r"expected an Interaction, got dict"):
        send(kafka, [call("send", event)])
    with pytest.raises(InvalidEvent, match=r"expected no further arguments than .* got devise"):
        send(kafka, [call("like", "u", "i", devise="tv")])
    with pytest.raises(InvalidEvent, match=r"expected an Item, got str"):
        send(kafka, [call("announce", "clip")])


def test_a_closed_producer_says_so(kafka: str, topic: Topics) -> None:
    producer = EventProducer(kafka, topic=topic("interactions"))
    producer.close()
    producer.close()
    with pytest.raises(ProducerClosed):
        producer.like("u", "i")

    async def run() -> None:
        producer = AsyncEventProducer(kafka)
        with pytest.raises(ProducerClosed):
            await producer.like("u", "i")
        await producer.start()
        await producer.close()
        await producer.close()
        with pytest.raises(ProducerClosed):
            await producer.like("u", "i")

    asyncio.run(run())


def test_another_event_loop_is_refused_at_once(kafka: str, topic: Topics) -> None:
    name = topic()
    with asyncio.Runner() as first, asyncio.Runner() as second:
        producer = AsyncEventProducer(kafka, topic=name)
        first.run(producer.start())
        first.run(producer.start())  # It is: nothing is made twice.
        first.run(producer.like("u", "i"))
        for call_it in (lambda: producer.like("u", "i"), producer.flush, producer.close):
            with pytest.raises(WrongEventLoop, match="the event loop that"):
                second.run(call_it())
        first.run(producer.close())


def test_a_producer_that_nobody_closed_is_noticed(kafka: str) -> None:
    producer = EventProducer(kafka)
    inner = producer._kafka
    with pytest.warns(ResourceWarning, match="was not closed"):
        del producer
    inner.close()


def test_values_are_plain_json_without_nulls(kafka: str, topic: Topics) -> None:
    name = topic("interactions")
    SENDERS["sync"](kafka, [call("like", "ü", "i", event_id="e", ts=1)], topic=name)
    (record,) = records_of(kafka, name).values()
    assert json.loads(record.value) == {
        **{"event_id": "e", "type": "like", "user_id": "ü", "item_id": "i", "ts": 1}
    }
