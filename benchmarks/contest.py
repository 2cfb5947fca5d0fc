"""What benchmarks from a broker share: the broker, the plain loop, and rounds of contenders.

A contender runs in a process of its own, pinned to the last core, the broker to the first one.
Rounds alternate and the first one is not counted: it warms the page cache and numba's cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from plain_loop import NUM_PARTITIONS, TOPIC

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from local.kafka import KafkaServer

PLAIN_LOOP = str(Path(__file__).with_name("plain_loop.py"))


@contextlib.contextmanager
def broker(address: str | None, core: int) -> Iterator[str]:
    """Give bootstrap servers; a broker started here is pinned to one core."""
    if address:
        yield address
        return
    everywhere = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        server = KafkaServer(Path(folder))
        os.sched_setaffinity(0, {core})
        server.start()
        os.sched_setaffinity(0, everywhere)
        try:
            yield server.bootstrap
        finally:
            server.stop()


async def create_topic(kafka: str, name: str) -> None:
    """Create a topic as the worker does: LogAppendTime."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    configs = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([NewTopic(name, NUM_PARTITIONS, 1, topic_configs=configs)])
    await admin.close()


async def fill(
    kafka: str, events: Iterable[tuple[int, bytes]], codec: str | None, batch_bytes: int
) -> float:
    """Write (partition, event) into the topic; return the mean size of an event in bytes."""
    await create_topic(kafka, TOPIC)
    size = num_events = 0
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, max_batch_size=batch_bytes, compression_type=codec, linger_ms=5
    )
    async with producer:
        batches = [producer.create_batch() for _ in range(NUM_PARTITIONS)]
        for partition, event in events:
            size += len(event)
            num_events += 1
            if batches[partition].append(key=None, value=event, timestamp=None) is None:
                await producer.send_batch(batches[partition], TOPIC, partition=partition)
                batches[partition] = producer.create_batch()
                batches[partition].append(key=None, value=event, timestamp=None)
        for partition, batch in enumerate(batches):
            await producer.send_batch(batch, TOPIC, partition=partition)
    return size / num_events


def run_rounds(
    commands: Mapping[str, Sequence[str]], options: Sequence[str], num_rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Run every contender once per round, in turns of order; return its results by name.

    Args:
        commands: Script and first arguments by name of contender.
        options: Further arguments, the same for all.
        num_rounds: Rounds that count; one more goes before.
    """
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for index in range(num_rounds + 1):
        for name in sorted(commands, reverse=bool(index % 2)):
            command = [sys.executable, *commands[name], *options]
            process = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600)
            if index > 0:
                rounds[name].append(msgspec.json.decode(process.stdout.splitlines()[-1]))
    return rounds


def medians(results: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {key: statistics.median(each[key] for each in results) for key in results[0]}


def ratio(ours: list[dict[str, float]], others: list[dict[str, float]], figure: str) -> float:
    """Return the median over the rounds of one figure, ours over theirs."""
    pairs = zip(ours, others, strict=True)
    return round(statistics.median(one[figure] / other[figure] for one, other in pairs), 3)


def run_on_last_core(contender: Coroutine[Any, Any, Mapping[str, float]]) -> dict[str, float]:
    """Run one contender, pinned."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return dict(asyncio.run(contender))
