"""Time the way from broker to columns: a Faust agent on slabs against a plain aiokafka loop.

Run: ``python benchmarks/bench_agent.py [--events 1000000] [--rounds 5] [--codec zstd]``. Starts
Apache Kafka on the first core (or uses ``--kafka``), fills one topic, then lets the contenders read
it whole on the last core, each in its own process, rounds alternating. Prints one JSON line.

- ``agent``: slab transport → ordinary Faust agent → ``decode_events`` → both ids interned.
- ``plain``: ``getmany`` and msgspec into a struct per event; no columns, no interning, no Faust.

The clock runs from the end of the first batch to the end of the last one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from consumers.faust_app import create_app, run_app
from consumers.record_kernel import compile_kernels as compile_walk
from local.kafka import KafkaServer
from state.id_index import IdIndex
from stream.decode import compile_kernels as compile_decoder
from stream.decode import decode_events
from stream.slab import Slab

TOPIC = "interactions"
NUM_USERS = 50_000
NUM_ITEMS = 10_000


class Interaction(msgspec.Struct):
    """What the plain loop decodes each event into."""

    event_id: str
    type: str
    user_id: str
    item_id: str
    ts: int
    watch_ms: int | None = None
    duration_ms: int | None = None
    request_id: str | None = None
    position: int | None = None
    device: str | None = None


class Stopwatch:
    """Counts events; the first batch only starts the clock."""

    def __init__(self, num_events: int) -> None:
        self._left = num_events
        self._timed = 0
        self._begin: tuple[float, float] | None = None
        self.result: dict[str, float] = {}

    def count(self, num_events: int) -> bool:
        """Note a finished batch; True when it was the last one."""
        self._left -= num_events
        if self._begin is None:
            self._begin = (time.perf_counter(), time.process_time())
        else:
            self._timed += num_events
        if self._left > 0:
            return False
        wall_s = time.perf_counter() - self._begin[0]
        cpu_s = time.process_time() - self._begin[1]
        self.result = {
            "events_per_s": self._timed / wall_s,
            "events_per_cpu_s": self._timed / cpu_s,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        return True


class BeginningLedger:
    """A ledger without a state: everything from the log's start, nothing durable."""

    async def restore(self, partitions: set[tuple[str, int]]) -> None:
        """Do nothing."""

    def next_offset(self, topic: str, partition: int) -> int | None:
        """Return the log's start."""
        return None

    def durable_offset(self, topic: str, partition: int) -> int | None:
        """Return that nothing is durable."""
        return None

    async def release(self, partitions: set[tuple[str, int]]) -> None:
        """Do nothing."""

    async def retain(self, partitions: set[tuple[str, int]]) -> None:
        """Do nothing."""


async def read_with_agent(kafka: str, num_events: int, max_slab_bytes: int) -> dict[str, float]:
    compile_walk()
    compile_decoder()
    users, items = IdIndex(max_ids=1_000_000), IdIndex(max_ids=1_000_000)
    stopwatch = Stopwatch(num_events)
    fold(Slab.from_values([]), users, items)
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(
            brokers=kafka,
            group=f"bench-{os.getpid()}",
            topics=[TOPIC],
            ledger=BeginningLedger(),
            data_dir=Path(folder),
            max_slab_bytes=max_slab_bytes,
        )

        async def interactions(stream: Any) -> None:
            async for event in stream.noack().events():
                fold(event.value, users, items)
                event.ack()
                if stopwatch.count(len(event.value)):
                    asyncio.ensure_future(app.stop())

        app.agent(app.slab_topic(TOPIC))(interactions)
        await run_app(app)
    assert users.num_ids <= NUM_USERS
    return stopwatch.result


def fold(slab: Slab, users: IdIndex, items: IdIndex) -> None:
    batch = decode_events(slab)
    assert not batch.rejected
    rows = np.empty((2, len(batch)), np.int32)
    users.intern(batch.buffer, batch.user_starts, batch.user_lengths, rows[0])
    items.intern(batch.buffer, batch.item_starts, batch.item_lengths, rows[1])


async def read_with_loop(kafka: str, num_events: int, max_slab_bytes: int) -> dict[str, float]:
    stopwatch = Stopwatch(num_events)
    decode = msgspec.json.Decoder(Interaction).decode
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=max_slab_bytes,
    )
    async with consumer:
        consumer.assign([TopicPartition(TOPIC, partition) for partition in range(4)])
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000)
            for records in fetched.values():
                for record in records:
                    decode(record.value)
                if stopwatch.count(len(records)):
                    return stopwatch.result


CONTENDERS = {"agent": read_with_agent, "plain": read_with_loop}


def events(num_events: int) -> Iterator[tuple[int, bytes]]:
    """Yield (partition, event) of about 283 bytes, as the figures in FAUST.md."""
    rng = np.random.default_rng(7)
    users = rng.integers(NUM_USERS, size=num_events).tolist()
    items = rng.zipf(1.2, size=num_events) % NUM_ITEMS
    request = "request-" + "r" * 24
    for index, (user, item) in enumerate(zip(users, items.tolist(), strict=True)):
        event = (
            f'{{"event_id":"e-{index:030d}","type":"watch","user_id":"user-{user:016d}",'
            f'"item_id":"item-{item:016d}","ts":{1_700_000_000_000 + index},'
            f'"watch_ms":{index % 30_000},"duration_ms":30000,"request_id":"{request}",'
            f'"position":{index % 20},"device":"phone-of-some-kind"}}'
        )
        yield user % 4, event.encode()


async def fill(kafka: str, num_events: int, codec: str | None, batch_bytes: int) -> float:
    """Write the topic; returns the mean size of an event in bytes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics(
        [NewTopic(TOPIC, 4, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})]
    )
    await admin.close()
    size = 0
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, max_batch_size=batch_bytes, compression_type=codec, linger_ms=5
    )
    async with producer:
        batches = [producer.create_batch() for _ in range(4)]
        for partition, event in events(num_events):
            size += len(event)
            if batches[partition].append(key=None, value=event, timestamp=None) is None:
                await producer.send_batch(batches[partition], TOPIC, partition=partition)
                batches[partition] = producer.create_batch()
                batches[partition].append(key=None, value=event, timestamp=None)
        for partition, batch in enumerate(batches):
            await producer.send_batch(batch, TOPIC, partition=partition)
    return size / num_events


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


def run_contender(name: str, kafka: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--contender", name, "--kafka", kafka]
    command += ["--events", str(arguments.events)]
    command += ["--max-slab-bytes", str(arguments.max_slab_bytes)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def compare(arguments: argparse.Namespace, core: int, broker_core: int) -> dict[str, Any]:
    with broker(arguments.kafka, broker_core) as kafka:
        event_bytes = asyncio.run(
            fill(kafka, arguments.events, arguments.codec, arguments.batch_bytes)
        )
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for index in range(arguments.rounds + 1):
            for name in sorted(CONTENDERS, reverse=bool(index % 2)):
                result = run_contender(name, kafka, arguments)
                if index > 0:  # The first round warms the page cache and numba's cache.
                    rounds[name].append(result)
    median = {
        name: {key: statistics.median(result[key] for result in results) for key in results[0]}
        for name, results in rounds.items()
    }
    pairs = zip(rounds["agent"], rounds["plain"], strict=True)
    return {
        "benchmark": "agent",
        "events_per_s": round(median["agent"]["events_per_s"]),
        "ratio": round(
            statistics.median(a["events_per_s"] / p["events_per_s"] for a, p in pairs), 3
        ),
        "plain_events_per_s": round(median["plain"]["events_per_s"]),
        "events_per_cpu_s": round(median["agent"]["events_per_cpu_s"]),
        "plain_events_per_cpu_s": round(median["plain"]["events_per_cpu_s"]),
        "peak_rss_mb": round(median["agent"]["peak_rss_mb"]),
        "plain_peak_rss_mb": round(median["plain"]["peak_rss_mb"]),
        "rounds": arguments.rounds,
        "events": arguments.events,
        "event_bytes": round(event_bytes),
        "codec": arguments.codec or "none",
        "batch_bytes": arguments.batch_bytes,
        "max_slab_bytes": arguments.max_slab_bytes,
        "cores": {"contender": core, "broker": broker_core},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--codec", choices=["gzip", "snappy", "lz4", "zstd"], default=None)
    parser.add_argument("--batch-bytes", type=int, default=16_384)
    parser.add_argument("--max-slab-bytes", type=int, default=1 << 20)
    parser.add_argument("--kafka", default=None, help="host:port; its topic must not exist yet")
    parser.add_argument("--contender", choices=sorted(CONTENDERS), default=None)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if arguments.contender is None:
        print(json.dumps(compare(arguments, cores[-1], cores[0])))
        return
    os.sched_setaffinity(0, {cores[-1]})
    gc.collect()
    read = CONTENDERS[arguments.contender]
    print(
        json.dumps(asyncio.run(read(arguments.kafka, arguments.events, arguments.max_slab_bytes)))
    )


if __name__ == "__main__":
    main()
