"""Kafka clients that people have, each with its own partitioner, through a worker to a list.

kafka-python, aiokafka and the client of this repository hash keys as Kafka does; librdkafka, and so
confluent-kafka and kcat, does not unless told: then records are routed, and counted once all the
same.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaProducer

from headwater_client import (
    AsyncEventProducer,
    AsyncRecommendationReader,
    EventProducer,
    Interaction,
    RecommendationReader,
)
from tests.integration.test_routing import home_of
from tests.integration.workers import Deployment, until
from tests.wire_logs import wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

# Sends lines that are keyed by user to a topic and returns when all are acknowledged.
Sender = Callable[[Deployment, list[tuple[str, bytes]], Path], None]


def with_kafka_python(deployment: Deployment, lines: list[tuple[str, bytes]], _: Path) -> None:
    producer = KafkaProducer(bootstrap_servers=deployment.kafka)
    sent = [producer.send(deployment.interactions, line, user.encode()) for user, line in lines]
    assert all(each.get(timeout=30) for each in sent)
    producer.close()


def with_aiokafka(deployment: Deployment, lines: list[tuple[str, bytes]], _: Path) -> None:
    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=deployment.kafka) as producer:
            sent = [
                await producer.send(deployment.interactions, line, key=user.encode())
                for user, line in lines
            ]
            await asyncio.gather(*sent)

    asyncio.run(run())


def with_event_producer(deployment: Deployment, lines: list[tuple[str, bytes]], _: Path) -> None:
    with EventProducer(deployment.kafka, topic=deployment.interactions) as producer:
        sent = [producer.send(Interaction.model_validate_json(line)) for _, line in lines]
    assert all(each.result(0) for each in sent)


def with_async_event_producer(
    deployment: Deployment, lines: list[tuple[str, bytes]], _: Path
) -> None:
    async def run() -> None:
        async with AsyncEventProducer(deployment.kafka, topic=deployment.interactions) as producer:
            for _, line in lines[::2]:
                await producer.send(Interaction.model_validate_json(line))
            events = [Interaction.model_validate_json(line) for _, line in lines[1::2]]
            await asyncio.gather(*map(producer.send, events))

    asyncio.run(run())


def with_confluent_kafka(deployment: Deployment, lines: list[tuple[str, bytes]], _: Path) -> None:
    confluent_kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is missing")
    producer = confluent_kafka.Producer({"bootstrap.servers": deployment.kafka})
    failed: list[Any] = []
    for user, line in lines:
        producer.produce(
            deployment.interactions,
            line,
            user.encode(),
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert producer.flush(30) == 0 and failed == []


def run_kcat(
    deployment: Deployment, lines: list[tuple[str, bytes]], folder: Path, *options: str
) -> None:
    if which("kcat") is None:
        pytest.skip("there is no kcat on the PATH")
    path = folder / "keyed.tsv"
    path.write_bytes(b"".join(user.encode() + b"\t" + line + b"\n" for user, line in lines))
    words = ["kcat", "-P", "-b", deployment.kafka, "-t", deployment.interactions, "-K", "\t"]
    subprocess.run([*words, *options, "-l", str(path)], check=True, timeout=60)


def with_kcat(deployment: Deployment, lines: list[tuple[str, bytes]], folder: Path) -> None:
    run_kcat(deployment, lines, folder)


def with_kcat_and_murmur2(
    deployment: Deployment, lines: list[tuple[str, bytes]], folder: Path
) -> None:
    run_kcat(deployment, lines, folder, "-X", "topic.partitioner=murmur2_random")


HOME = [
    with_kafka_python,
    with_aiokafka,
    with_event_producer,
    with_async_event_producer,
    with_kcat_and_murmur2,
]
ELSEWHERE = [with_confluent_kafka, with_kcat]
TRIES: Counter[str] = Counter()


@pytest.fixture(scope="module")
def deployment(
    kafka: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory, warm_kernels: None
) -> Iterator[Deployment]:
    """Give a worker that all clients of this module send to."""
    folder = tmp_path_factory.mktemp("clients")
    made = Deployment(kafka=kafka, redis_url=redis_url, folder=folder, partitions=5)
    made.worker()
    yield made
    made.close()


def log_of(name: str) -> list[tuple[str, bytes]]:
    """Return a log of users that no other client has, nor another try of its test.

    User and line, some lines twice.
    """
    TRIES[name] += 1
    lines = []
    for line in wire_log(300, seed=len(name), num_users=20, late_share=0.0):
        event = json.loads(line)
        user = f"{name}-{TRIES[name]}-{event['user_id']}"
        lines.append((user, json.dumps({**event, "user_id": user}).encode()))
    assert len(set(lines)) < len(lines)
    return lines


def misplaced(deployment: Deployment) -> int:
    """Count records that lie elsewhere than their user's home, without the worker's own copies."""
    return sum(
        home_of(json.loads(record.value)["user_id"], deployment.partitions) != record.partition
        for record in deployment.records(deployment.interactions, deployment.partitions)
    )


def is_answered(stats: dict[str, Any]) -> bool:
    return not stats["dirty"] and not stats["freshness_ms"]["outstanding"]


@pytest.mark.parametrize("send", HOME + ELSEWHERE, ids=lambda send: send.__name__)
def test_what_a_client_sends_counts_exactly_once_and_becomes_lists(
    send: Sender, deployment: Deployment, tmp_path: Path
) -> None:
    lines = log_of(send.__name__)
    (worker,) = deployment.alive
    before, misplaced_before = worker.stats(), misplaced(deployment)
    send(deployment, lines, tmp_path)
    deployment.drain()
    until(lambda: is_answered(worker.stats()), "every event is answered")
    after = worker.stats()
    came = {name: after[name] - before[name] for name in before if isinstance(before[name], int)}
    num_misplaced = misplaced(deployment) - misplaced_before
    if send in HOME:
        assert num_misplaced == 0
    else:
        assert num_misplaced > len(lines) // 2
    assert came["routed"] == num_misplaced
    assert came["read"] == len(lines) + num_misplaced
    assert came["applied"] == len(set(lines))
    assert came["duplicate"] == len(lines) - len(set(lines))
    assert came["rejected"] == came["late"] == came["filtered"] == 0

    users = sorted({user for user, _ in lines})
    lists = read_with_everything(deployment, users)
    assert all(lists[user] for user in users)


def read_with_everything(deployment: Deployment, users: list[str]) -> dict[str, list[str]]:
    """Return each user's items, the same by redis-py, both readers and redis-cli."""
    raw = {user: deployment.newest_list(user) for user in users}
    found = {user: [each["id"] for each in json.loads(raw[user][b"items"])] for user in users}
    with RecommendationReader(deployment.redis_url) as reader:
        read = reader.many(users)
        assert until(reader.trending, "something trends").is_fallback
        until(lambda: getattr(reader.similar("i1"), "items", ()), "i1 has similar items")

    async def run() -> Any:
        async with AsyncRecommendationReader(deployment.redis_url) as reader:
            return await reader.many(users, fallback=False)

    for lists in (read, asyncio.run(run())):
        assert {user: each.ids for user, each in lists.items()} == found
        versions = {user: each.version.encode() for user, each in lists.items()}
        assert versions == {user: fields[b"version"] for user, fields in raw.items()}
    if which("redis-cli") is not None:
        done = subprocess.run(
            ["redis-cli", "-u", deployment.redis_url, "HGET", f"rec:{{{users[0]}}}", "items"],
            capture_output=True,
            check=True,
        )
        assert re.findall(rb'"id":"(\w+)"', done.stdout) == [
            each.encode() for each in found[users[0]]
        ]
    return found
