"""A log on Apache Kafka: kafka-python brings it to the oracle, our own reader to the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from kafka import KafkaProducer

from consumers.kafka_replay import replay_topic
from stream.settings import Settings
from tests.chaos.comparison import check
from tests.chaos.hard_logs import misrouted, poisoned
from tests.chaos.oracle import Oracle
from tests.chaos.oracle_records import LogRecord, from_kafka

pytestmark = pytest.mark.kafka

# The corpus has times of its own, of many years; the broker's would make them rejects.
_OWN_TIMES = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**62),
    "retention.ms": "-1",
    "max.message.bytes": "2000000",
}
# Stands for an unknown time: nothing is later.
_END_OF_TIMES_MS = 4_102_444_800_000


@pytest.mark.parametrize("log", [misrouted, poisoned], ids=["misrouted", "poisoned"])
def test_a_topic_is_the_same_state_to_both(
    kafka: str, topic: Callable[..., str], log: Callable[[int], list[LogRecord]]
) -> None:
    name = topic(num_partitions=3, configs=_OWN_TIMES)
    sent = log(3)
    _produce(kafka, name, sent)
    records = list(from_kafka(kafka, name))
    assert _contents(records) == _contents(sent)
    engine = asyncio.run(replay_topic(Settings(), kafka, name))
    check(engine, Oracle(records, num_partitions=3))


def _contents(records: list[LogRecord]) -> dict[tuple[int, int], object]:
    return {(each.partition, each.offset): (each.value, each.headers) for each in records}


def _produce(kafka: str, name: str, records: list[LogRecord]) -> None:
    """Send records where they belong; kafka-python wants a key where there is no value."""
    producer = KafkaProducer(bootstrap_servers=kafka, max_request_size=2_000_000)
    try:
        futures = [
            producer.send(
                name,
                value=each.value,
                key=each.key or b"nobody",
                headers=list(each.headers),
                partition=each.partition,
                timestamp_ms=each.timestamp_ms if each.timestamp_ms >= 0 else _END_OF_TIMES_MS,
            )
            for each in records
        ]
        offsets = [future.get(timeout=60).offset for future in futures]
    finally:
        producer.close()
    assert offsets == [each.offset for each in records]
