"""What benchmarks from a broker share: the broker, the plain loop, and rounds of contenders.

A contender runs in a process of its own, pinned to the last core, the broker to the first one.
Rounds alternate and the first one is not counted: it warms the page cache and numba's cache.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
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


def parse_arguments(description: str | None, *, num_events: int) -> argparse.Namespace:
    """Read the command line of a benchmark from a broker; ``num_events`` is its default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--events", type=int, default=num_events)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--codec", choices=["gzip", "snappy", "lz4", "zstd"], default=None)
    parser.add_argument("--batch-bytes", type=int, default=16_384)
    parser.add_argument("--max-slab-bytes", type=int, default=1 << 20)
    parser.add_argument("--kafka", default=None, help="host:port; its topic must not exist yet")
    parser.add_argument("--contender", action="store_true")
    return parser.parse_args()


def compare(
    name: str, script: str, events: Iterable[tuple[int, bytes]], arguments: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, float]]:
    """Let a script's contender and the plain loop read the same events, in rounds.

    Args:
        name: Of the benchmark and of its contender.
        script: Its file; with ``--contender`` it runs the contender.
        events: (partition, event), written into the topic first.
        arguments: From :func:`parse_arguments`.

    Returns:
        The figures of the benchmark's line that all such benchmarks have, and the medians of the
        contender's own.
    """
    cores = sorted(os.sched_getaffinity(0))
    with broker(arguments.kafka, cores[0]) as kafka:
        size = asyncio.run(fill(kafka, events, arguments.codec, arguments.batch_bytes))
        options = [
            *("--kafka", kafka, "--events", str(arguments.events)),
            *("--max-slab-bytes", str(arguments.max_slab_bytes)),
        ]
        commands = {name: [script, "--contender"], "plain": [PLAIN_LOOP]}
        rounds = run_rounds(commands, options, arguments.rounds)
    ours, plain = medians(rounds[name]), medians(rounds["plain"])
    line = {
        "benchmark": name,
        "events_per_s": round(ours["events_per_s"]),
        "ratio": ratio(rounds[name], rounds["plain"], "events_per_s"),
        "plain_events_per_s": round(plain["events_per_s"]),
        "events_per_cpu_s": round(ours["events_per_cpu_s"]),
        "cpu_ratio": ratio(rounds[name], rounds["plain"], "events_per_cpu_s"),
        "plain_events_per_cpu_s": round(plain["events_per_cpu_s"]),
        "peak_rss_mb": round(ours["peak_rss_mb"]),
        "plain_peak_rss_mb": round(plain["peak_rss_mb"]),
        "rounds": arguments.rounds,
        "events": arguments.events,
        "event_bytes": round(size),
        "codec": arguments.codec or "none",
        "batch_bytes": arguments.batch_bytes,
        "max_slab_bytes": arguments.max_slab_bytes,
        "cores": {"contender": cores[-1], "broker": cores[0]},
    }
    return line, ours


def print_line(figures: Mapping[str, Any]) -> None:
    """Print figures as one line of JSON."""
    print(json.dumps(figures))


def run_on_last_core(contender: Coroutine[Any, Any, Mapping[str, float]]) -> dict[str, float]:
    """Run one contender, pinned."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return dict(asyncio.run(contender))
