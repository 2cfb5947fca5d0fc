"""Records where they do not belong, and records that nobody can use."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from state.hashing import partitions_of
from tests.integration.conftest import Deploy
from tests.integration.workers import Deployment, figures, until
from tests.wire_logs import event, wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

# Without late events: what is late depends on how the copies lie between the others.
LOG = wire_log(3000, seed=8, num_users=100, num_items=150, late_share=0.0)
BAD = [b"\xff\xfe", b"[1]", event(1, user_id=""), event(2, type="dance"), b"", None]


def home_of(user_id: str, num_partitions: int) -> int:
    key = np.frombuffer(user_id.encode(), np.uint8)
    start, length = np.zeros(1, np.int64), np.full(1, len(key), np.int32)
    return int(partitions_of(key, start, length, num_partitions)[0])


def produce_elsewhere(deployment: Deployment, lines: list[bytes]) -> int:
    """Produce as another partitioner would: a user's records in one partition, often the wrong one.

    Every second user's records have no key. Returns how many are misrouted.
    """
    count = deployment.partitions

    async def run() -> int:
        num_misrouted = 0
        async with AIOKafkaProducer(bootstrap_servers=deployment.kafka) as producer:
            for line in lines:
                user_id = json.loads(line)["user_id"]
                number = int(user_id.removeprefix("u"))
                partition = number % count
                num_misrouted += partition != home_of(user_id, count)
                key = None if number % 2 else user_id.encode()
                await producer.send(deployment.interactions, line, key=key, partition=partition)
        return num_misrouted

    return asyncio.run(run())


def produce_bad(deployment: Deployment) -> set[tuple[str, int, int]]:
    """Produce every bad value to every partition; return where they lie."""

    async def run() -> set[tuple[str, int, int]]:
        places = set()
        async with AIOKafkaProducer(bootstrap_servers=deployment.kafka) as producer:
            for value in BAD:
                for partition in range(deployment.partitions):
                    sent = await producer.send_and_wait(
                        deployment.interactions, value, key=b"key", partition=partition
                    )
                    places.add((sent.topic, sent.partition, sent.offset))
        return places

    return asyncio.run(run())


def test_misrouted_and_bad_records_are_counted_once_and_end_in_the_same_state(
    deploy: Deploy,
) -> None:
    deployment = deploy()
    worker = deployment.worker()
    half = len(LOG) // 2
    num_misrouted = produce_elsewhere(deployment, LOG[:half])
    bad = produce_bad(deployment)
    until(lambda: worker.stats()["read"] > half // 2, "the worker folds")
    worker.kill()  # Copies and dead letters are sent again after it.
    worker = deployment.worker()
    num_misrouted += produce_elsewhere(deployment, LOG[half:])
    deployment.drain()
    assert num_misrouted > len(LOG) // 3

    stats = worker.stats()
    assert stats["routed"] == num_misrouted
    assert stats["read"] - stats["routed"] == len(LOG) + len(bad)
    assert stats["rejected"] == len(bad)
    deployment.stop_all()

    expected = deployment.replay(LOG + [value or b"" for value in BAD] * deployment.partitions)
    expected |= {"routed": num_misrouted, "read": expected["read"] + num_misrouted}
    assert figures(deployment.engine()) == expected

    letters = Counter(
        (letter["topic"], letter["partition"], letter["offset"])
        for letter in (
            json.loads(record.value) for record in deployment.records(deployment.dead_letters, 1)
        )
    )
    assert set(letters) == bad


def test_without_a_crash_each_reject_is_one_dead_letter(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.worker()
    bad = produce_bad(deployment)
    deployment.drain()
    letters = [
        json.loads(record.value) for record in deployment.records(deployment.dead_letters, 1)
    ]
    places = [(letter["topic"], letter["partition"], letter["offset"]) for letter in letters]
    assert sorted(places) == sorted(bad)
    assert all(letter["reason"] for letter in letters)
