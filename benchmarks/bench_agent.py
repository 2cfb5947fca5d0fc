"""Time the way from broker to columns: a Faust agent on slabs against a plain aiokafka loop.

Run: ``python benchmarks/bench_agent.py [--events 1000000] [--rounds 5] [--codec zstd]``. Starts
Apache Kafka on the first core (or uses ``--kafka``), fills one topic, then lets the contenders read
it whole on the last core, each in its own process, rounds alternating. Prints one JSON line.

- ``agent``: slab transport → ordinary Faust agent → ``decode_events`` → both ids interned.
- ``plain`` (``plain_loop.py``): ``getmany`` and msgspec into a struct per event; no columns, no
  interning, no Faust.

The first quarter of the events warms up; the clock runs from there to the end of the last batch.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contest import compare, parse_arguments, print_line, run_on_last_core
from plain_loop import TOPIC, Stopwatch

from consumers.faust_app import create_app, run_app
from consumers.record_kernel import compile_kernels as compile_walk
from state.id_index import IdIndex
from stream.decode import compile_kernels as compile_decoder
from stream.decode import decode_events
from stream.slab import Slab

NUM_USERS = 50_000
NUM_ITEMS = 10_000


class BeginningLedger:
    """A ledger without a state: everything from the log's start, nothing durable."""

    assignment = 0

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
    stopwatch, num_left = Stopwatch(num_events), num_events
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
            nonlocal num_left
            async for event in stream.noack().events():
                fold(event.value, users, items)
                event.ack()
                stopwatch.count(len(event.value))
                num_left -= len(event.value)
                if num_left == 0:
                    stopwatch.stop()
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


def main() -> None:
    arguments = parse_arguments(__doc__, num_events=1_000_000)
    if not arguments.contender:
        line, _ = compare("agent", __file__, events(arguments.events), arguments)
        print_line(line)
        return
    figures = read_with_agent(arguments.kafka, arguments.events, arguments.max_slab_bytes)
    print_line(run_on_last_core(figures))


if __name__ == "__main__":
    main()
