"""The plain contender: read a topic as everybody does, ``getmany`` and msgspec into structs.

No columns, no interning, no Faust. A program of its own that imports nothing else: a heap full of
other libraries' objects would slow its garbage collector, and flatter us.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

TOPIC = "interactions"
NUM_PARTITIONS = 4
# One part in so many warms up.
WARM_UP_PART = 4


class Interaction(msgspec.Struct):
    """What each event is decoded into."""

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


def _peak_rss_mb() -> float:
    # Not getrusage: its maximum comes through fork and exec from the process that started us.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Stopwatch:
    """Counts events; the first part of them only warms up, and the batch that ends it.

    Args:
        num_events: Events to come.

    Attributes:
        result: Figures, once :meth:`stop` was called.
    """

    def __init__(self, num_events: int) -> None:
        self._num_warm = num_events // WARM_UP_PART
        self._timed = 0
        self._begin: tuple[float, float] | None = None
        self.result: dict[str, float] = {}

    def count(self, num_events: int) -> None:
        """Note a finished batch."""
        if self._begin is not None:
            self._timed += num_events
            return
        self._num_warm -= num_events
        if self._num_warm <= 0:
            self._begin = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        """Take the time: everything is done."""
        assert self._begin is not None, "count() comes first"
        wall_s = time.perf_counter() - self._begin[0]
        cpu_s = time.process_time() - self._begin[1]
        self.result = {
            "events_per_s": self._timed / wall_s,
            "events_per_cpu_s": self._timed / cpu_s,
            "peak_rss_mb": _peak_rss_mb(),
        }


async def read_with_loop(kafka: str, num_events: int, max_fetch_bytes: int) -> dict[str, float]:
    """Read the topic whole; return the figures."""
    stopwatch = Stopwatch(num_events)
    decode = msgspec.json.Decoder(Interaction).decode
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=max_fetch_bytes,
    )
    async with consumer:
        consumer.assign([TopicPartition(TOPIC, each) for each in range(NUM_PARTITIONS)])
        while num_events > 0:
            fetched = await consumer.getmany(timeout_ms=1_000)
            for records in fetched.values():
                for record in records:
                    decode(record.value)
                stopwatch.count(len(records))
                num_events -= len(records)
        stopwatch.stop()
    return stopwatch.result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--max-slab-bytes", type=int, default=1 << 20)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    figures = read_with_loop(arguments.kafka, arguments.events, arguments.max_slab_bytes)
    print(json.dumps(asyncio.run(figures)))


if __name__ == "__main__":
    main()
