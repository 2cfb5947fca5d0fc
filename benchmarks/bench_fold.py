"""Time both sides of the state on one core: broker → fold → acknowledged deltas → their owner.

Run: ``python benchmarks/bench_fold.py [--events 400000] [--rounds 5]``. Starts Apache Kafka on the
first core (or uses ``--kafka``), fills one topic with the sessions of ``fold_events``, then lets
the contenders read it whole on the last core, each in its own process, rounds alternating. Prints
one JSON line.

- ``fold``: a :class:`consumers.app.Worker` without its refresh loop and Redis: slab transport, two
  Faust agents, handlers, pipeline, frame producer; four user and four item partitions. It is done
  once every event is folded, every frame acknowledged, read back and folded by its items' owner.
- ``plain`` (``plain_loop.py``): ``getmany`` and msgspec into a struct per event; no state at all.

The first quarter of the events warms up; the clock runs from there to the end of everything.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contest import compare, create_topic, parse_arguments, print_line, run_on_last_core
from fold_events import fold_events
from plain_loop import NUM_PARTITIONS, Stopwatch

from consumers.app import Worker
from consumers.faust_app import run_app
from consumers.warm_up import compile_kernels, freeze_garbage
from stream.settings import Settings, TopicSettings, WorkerSettings
from stream.slab import Slab

# A worker wants an address; no list is made here, so nothing connects to it.
UNUSED_REDIS = "redis://127.0.0.1:1/0"
# More than what the tables grow by (1.6 GB on huge pages).
TABLE_BYTES = 2 << 30
# About twice what they grow by meanwhile.
PIECE_BYTES = 32 << 20
PIECE_INTERVAL_S = 0.06
# How often it is asked whether all is folded: the error of a run of seconds.
POLL_S = 0.002
INTERACTIONS = TopicSettings().interactions


class Count:
    """Counts the events that a worker's agents hand over, and ends its app when all are folded."""

    def __init__(self, worker: Worker, num_events: int) -> None:
        self._worker = worker
        self._accept = worker.handlers.accept
        self._num_left = num_events
        self._has_all = asyncio.Event()
        self.stopwatch = Stopwatch(num_events)

    async def accept(self, slab: Slab) -> None:
        """Hand a slab on and count its events; frames of item deltas are not events."""
        await self._accept(slab)
        if slab.topic == INTERACTIONS:
            self.stopwatch.count(len(slab))
            self._num_left -= len(slab)
            if self._num_left <= 0:
                self._has_all.set()

    async def stop_when_done(self) -> None:
        """End the worker's app once every event and every row is folded and acknowledged."""
        await self._has_all.wait()
        while not self._is_all_folded():  # noqa: ASYNC110 (no event says so)
            await asyncio.sleep(POLL_S)
        self.stopwatch.stop()
        self._worker.ownership.held.clear()  # No snapshots: nothing after the fold is of use.
        await self._worker.app.stop()

    def _is_all_folded(self) -> bool:
        engine, frames = self._worker.engine, self._worker.frames
        for source, shard in engine.users.items():
            folded = [engine.items[each].watermarks[source] for each in sorted(engine.items)]
            if folded != shard.tables.emitted.tolist():
                return False
            if frames.acknowledged(source) < shard.tables.next_offset:
                return False
        return True


class TouchedMemory:
    """Memory that has been touched, given back to the system piece by piece while tables grow.

    Tables grow by kilobytes an event until they reach their bounds. Memory that the host of a
    virtual machine must find first came at 0.3 GB/s, what had been touched before at 7 GB/s: more
    than the fold. A host takes free memory back within seconds, so it is freed as it is needed.
    """

    def __init__(self, num_bytes: int, piece_bytes: int) -> None:
        self._pieces = [
            mmap.mmap(-1, piece_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for _ in range(num_bytes // piece_bytes)
        ]
        for piece in self._pieces:
            piece.madvise(mmap.MADV_HUGEPAGE)
            np.frombuffer(piece, np.uint8)[:] = 1

    async def give_back(self, interval_s: float) -> None:
        """Free a piece per interval until cancelled; the first ones serve the warm-up."""
        while self._pieces:
            self._pieces.pop().close()
            await asyncio.sleep(interval_s)


async def read_and_fold(kafka: str, num_events: int, max_slab_bytes: int) -> dict[str, float]:
    """Fold the topic whole; return the figures."""
    compile_kernels()
    memory = TouchedMemory(TABLE_BYTES, PIECE_BYTES)
    topics = TopicSettings(item_deltas=f"item-deltas-{os.getpid()}")
    await create_topic(kafka, topics.item_deltas)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder),
            topics=topics,
            worker=WorkerSettings(group=f"bench-{os.getpid()}", max_slab_bytes=max_slab_bytes),
        )
        worker = Worker(settings, brokers=kafka, redis_url=UNUSED_REDIS)
        count = Count(worker, num_events)
        worker.handlers.accept = count.accept  # type: ignore[method-assign]
        connected = (worker.offsets, worker.producer, worker.frame_sender)
        for each in connected:
            await each.start()
        tasks = [
            asyncio.create_task(each)
            for each in (
                worker.handlers.run(),
                count.stop_when_done(),
                memory.give_back(PIECE_INTERVAL_S),
            )
        ]
        freeze_garbage()
        try:
            await run_app(worker.app)
        finally:
            for task in tasks:
                task.cancel()
            await worker.frames.stop()
            for each in connected:
                await each.stop()
            worker.state.close()
    counters = worker.engine.counters()
    assert counters["applied"] == counters["read"] == num_events, counters
    return {
        **count.stopwatch.result,
        "emitted_bytes_per_event": worker.frames.num_bytes / num_events,
        "num_overflowed": worker.engine.num_overflowed,
    }


def main() -> None:
    arguments = parse_arguments(__doc__, num_events=400_000)
    if not arguments.contender:
        events = fold_events(arguments.events, num_partitions=NUM_PARTITIONS)
        line, ours = compare("fold", __file__, events, arguments)
        emitted = round(ours["emitted_bytes_per_event"], 1)
        overflowed = round(ours["num_overflowed"])
        print_line({**line, "emitted_bytes_per_event": emitted, "num_overflowed": overflowed})
        return
    figures = read_and_fold(arguments.kafka, arguments.events, arguments.max_slab_bytes)
    print_line(run_on_last_core(figures))


if __name__ == "__main__":
    main()
