"""Both producers behind one face, so that one test says what holds for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from headwater_client import AsyncEventProducer, EventProducer, KafkaUnreachable, Receipt

# Calls on a producer: the method, its arguments, its keyword arguments.
Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def call(method: str, *arguments: Any, **keywords: Any) -> Call:
    """Return one call."""
    return method, arguments, keywords


def send_with_threads(kafka: str, calls: Sequence[Call], **options: Any) -> list[Receipt]:
    """Send through an EventProducer; return the receipts in order."""
    with EventProducer(kafka, **options) as producer:
        sent = [getattr(producer, name)(*words, **named) for name, words, named in calls]
        return [delivery.result(30) for delivery in sent]


def send_with_tasks(kafka: str, calls: Sequence[Call], **options: Any) -> list[Receipt]:
    """Send through an AsyncEventProducer; return the receipts in order."""

    async def run() -> list[Receipt]:
        async with AsyncEventProducer(kafka, **options) as producer:
            return await asyncio.gather(
                *(getattr(producer, name)(*words, **named) for name, words, named in calls)
            )

    return asyncio.run(run())


Send = Callable[..., list[Receipt]]
SENDERS: dict[str, Send] = {"sync": send_with_threads, "async": send_with_tasks}


def lookups_of_threads(producer: EventProducer, *, expected: str) -> int:
    """Like from eight threads, each told that Kafka is away; return how often it was asked."""
    lookups: list[str] = []
    look_for = producer._topics._look_for
    producer._topics._look_for = lambda name: lookups.append(name) or look_for(name)  # type: ignore[func-returns-value,method-assign]

    def ask(number: int) -> None:
        with pytest.raises(KafkaUnreachable, match=expected):
            producer.like("u", f"i{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    return len(lookups)


def records_of(kafka: str, topic: str) -> dict[tuple[int, int], Any]:
    """Return all records of a topic by partition and offset."""
    consumer = KafkaConsumer(bootstrap_servers=kafka, consumer_timeout_ms=30_000)
    try:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(places)
        found = {}
        while any(consumer.position(place) < end for place, end in ends.items()):
            for records in consumer.poll(timeout_ms=500).values():
                found.update({(each.partition, each.offset): each for each in records})
        return found
    finally:
        consumer.close()
