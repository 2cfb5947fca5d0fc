"""What snapshots cost the state thread: pauses, and fold throughput with and without them.

Run: ``python benchmarks/bench_snapshot.py [--users 250000] [--items 250000] [--seconds 20]``. Fills
a user and an item partition, then folds events and frames on one thread, as a worker's state
thread does, with no snapshots and with them by turns: in each turn with snapshots both partitions
are frozen, copied and written to a temporary folder one after the other, with the rests of
``Ownership.snapshot_due``; a turn should be longer than several of them. No server. Prints one
JSON line.

``pause_ms`` is what snapshots take from the state thread at a time, in CPU time, so that a shared
machine counts nothing twice: freezing or thawing, and what keeping old rows adds to a fold.
``copy_at_once_ms`` is the pause of copying the partition on the state thread, as before. ``cost``
is 1 - throughput with / without, by the clock and by the CPU time of the state thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure_memory import AT_ONCE, ID_BYTES, NOW_MS, fill_catalogue, fill_items, fill_users, spans

from consumers.snapshot_copies import REST
from consumers.snapshots import SnapshotStore
from state.frame_columns import FrameColumns
from state.frozen import FrozenColumns
from state.item_partition import ItemPartition
from state.item_partition import compile_kernels as compile_items
from state.table import Arrays
from state.user_partition import UserPartition
from state.warmup import compile_kernels as compile_users

NUM_PAIRS = 5
NUM_BATCHES = 32
NUM_TURNS = 3
# CPU seconds that snapshots took from the state thread at a time, by what it did.
Pauses = dict[str, list[float]]


class Keeping:
    """Sums the seconds that the current fold spends on keeping old rows."""

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in ("keep", "keep_all"):
            setattr(FrozenColumns, name, self._timed(getattr(FrozenColumns, name)))

    def _timed(self, function: Callable[..., None]) -> Callable[..., None]:
        def timed(*arguments: Any) -> None:
            started = time.thread_time()
            function(*arguments)
            self.seconds += time.thread_time() - started

        return timed

    def take(self) -> float:
        """Return the seconds so far and start anew."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def event_batches(num_users: int, num_items: int) -> list[dict[str, Any]]:
    """Return batches whose users and items are drawn with a heavy head and a long tail."""
    rng = np.random.default_rng(3)
    batches = []
    for number in range(NUM_BATCHES):
        users = (num_users * rng.random(AT_ONCE) ** 2).astype(np.int64)
        items = (num_items * rng.random(AT_ONCE) ** 3).astype(np.int64)
        numbers = 10**9 + number * AT_ONCE + np.arange(AT_ONCE)
        buffers, columns = [], {}
        for place, (name, prefix, each) in enumerate(
            (("user", b"u", users), ("item", b"i", items), ("event_id", b"e", numbers))
        ):
            buffer, starts, lengths = spans(prefix, each)
            buffers.append(buffer)
            columns[f"{name}_starts"] = starts + place * AT_ONCE * ID_BYTES
            columns[f"{name}_lengths"] = lengths
        batches.append({"buffer": np.concatenate(buffers), **columns})
    return batches


def fold_events(partition: UserPartition, batches: list[dict[str, Any]]) -> Iterator[int]:
    """Fold batches for ever; every event is 10 ms after the one before, copies are late by then."""
    for batch in itertools.cycle(batches):
        begin = partition.next_offset
        offsets = np.arange(begin, begin + AT_ONCE)
        partition.apply(
            begin=begin,
            end=begin + AT_ONCE,
            offsets=offsets,
            kafka_timestamps_ms=NOW_MS + offsets * 2_000,
            timestamps_ms=NOW_MS + offsets * 2_000,
            types=np.zeros(AT_ONCE, np.uint8),
            watch_ms=np.full(AT_ONCE, 30_000, np.int64),
            duration_ms=np.full(AT_ONCE, 30_000, np.int64),
            rejected_offsets=np.empty(0, np.int64),
            routed_offsets=np.empty(0, np.int64),
            **batch,
        )
        yield AT_ONCE


def fold_frames(partition: ItemPartition, num_items: int) -> Iterator[int]:
    """Fold frames for ever: a row an event, pairs with the five items before."""
    rng = np.random.default_rng(4)
    parts: list[tuple[Any, NDArray[np.int32]]] = []
    for _ in range(NUM_BATCHES):
        items = (num_items * rng.random(AT_ONCE) ** 3).astype(np.int64)
        distinct, refs = np.unique(items, return_inverse=True)
        parts.append((spans(b"i", distinct), refs.astype(np.int32)))
    rows = np.arange(AT_ONCE)
    others = np.maximum(rows[:, None] - np.arange(1, NUM_PAIRS + 1), 0).ravel()
    for number, ((buffer, starts, lengths), item_refs) in enumerate(itertools.cycle(parts)):
        begin = int(partition.watermarks[0])
        frame = FrameColumns(
            source_partition=0,
            begin=begin,
            end=begin + AT_ONCE,
            buffer=buffer,
            id_starts=starts,
            id_lengths=lengths,
            is_owned=np.ones(len(starts), np.bool_),
            offsets=begin + rows,
            item_refs=item_refs,
            timestamps_ms=np.full(AT_ONCE, NOW_MS + number * 1_000, np.int64),
            actions=np.zeros(AT_ONCE, np.uint8),
            counts=np.ones(AT_ONCE, np.int8),
            strengths=np.ones(AT_ONCE, np.int16),
            pair_splits=np.arange(AT_ONCE + 1) * NUM_PAIRS,
            pair_refs=item_refs[others],
            pair_lags=np.tile(np.arange(1, NUM_PAIRS + 1), AT_ONCE).astype(np.uint8),
            pair_weights=np.full(AT_ONCE * NUM_PAIRS, 200, np.uint8),
        )
        partition.apply(offset=partition.next_offset, frame=frame)
        yield AT_ONCE


class Snapshots(threading.Thread):
    """Snapshots the partitions in turn until told to stop; jobs go to the state thread."""

    def __init__(self, partitions: dict[str, Any], store: SnapshotStore) -> None:
        super().__init__()
        self.jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self.ending = threading.Event()
        self.written: list[dict[str, float]] = []
        self._partitions = partitions
        self._store = store

    def run(self) -> None:
        """Snapshot one partition after the other."""
        for kind, partition in itertools.cycle(self._partitions.items()):
            if self.ending.is_set():
                return
            started = time.perf_counter()
            offset = partition.next_offset
            spare = partition.spare() if isinstance(partition, ItemPartition) else {}
            frozen = self._ask(partial(_freeze, partition, spare))
            for _ in frozen.pieces():
                pass
            copied = time.perf_counter()
            self._ask(partition.thaw)
            size = self._store.write(kind, 0, offset, frozen.arrays(), {}, generation=1)
            seconds = time.perf_counter() - started
            self.written.append({"bytes": size, "copy_s": copied - started, "seconds": seconds})
            self.ending.wait(REST * seconds)

    def _ask(self, job: Callable[[], Any]) -> Any:
        answer: Future[Any] = Future()
        self.jobs.put((job, answer))
        return answer.result()


def _freeze(partition: Any, spare: Arrays) -> Any:
    if isinstance(partition, UserPartition):
        return partition.freeze({})
    return partition.freeze(spare)


def turn(
    folds: list[Iterator[int]], seconds: float, keeping: Keeping, snapshots: Snapshots | None
) -> tuple[float, float, Pauses]:
    """Fold for some seconds; return events per second of clock and of CPU, and the pauses."""
    count = 0
    pauses: Pauses = {"freeze": [], "keep": []}
    started, cpu = time.perf_counter(), time.thread_time()
    for fold in itertools.cycle(folds):
        if snapshots is not None:
            pauses["freeze"] += _run_jobs(snapshots)
        is_over = time.perf_counter() - started >= seconds
        if is_over and snapshots is not None:
            snapshots.ending.set()
        if is_over and (snapshots is None or not snapshots.is_alive()):
            break
        count += next(fold)
        kept = keeping.take()
        if kept:
            pauses["keep"].append(kept)
    seconds, cpu = time.perf_counter() - started, time.thread_time() - cpu
    return count / seconds, count / cpu, pauses


def _run_jobs(snapshots: Snapshots) -> list[float]:
    pauses: list[float] = []
    while True:
        try:
            job, answer = snapshots.jobs.get_nowait()
        except Empty:
            return pauses
        started = time.thread_time()
        found = job()
        pauses.append(time.thread_time() - started)
        answer.set_result(found)


def measure(num_users: int, num_items: int, seconds: float, folder: str) -> dict[str, Any]:
    """Fill, fold by turns; return the line."""
    compile_users()
    compile_items()
    users = fill_users(num_users, num_items, fill_catalogue(num_items))
    items = fill_items(num_items)
    partitions: dict[str, Any] = {"users": users, "items": items}
    keeping = Keeping()
    folds = [fold_events(users, event_batches(num_users, num_items)), fold_frames(items, num_items)]
    turn(folds, seconds / 4, keeping, None)
    rates: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
    pauses: Pauses = {"freeze": [], "keep": []}
    written: list[dict[str, float]] = []
    for _ in range(NUM_TURNS):
        rates["off"].append(turn(folds, seconds, keeping, None)[:2])
        snapshots = Snapshots(partitions, SnapshotStore(folder))
        snapshots.start()
        *rate, found = turn(folds, seconds, keeping, snapshots)
        snapshots.join()
        rates["on"].append((rate[0], rate[1]))
        for what, each in found.items():
            pauses[what] += each
        written += snapshots.written
    at_once = {}
    for kind, partition in partitions.items():
        started = time.perf_counter()
        copies = [np.array(each) for each in partition.arrays().values()]
        at_once[kind] = round(1e3 * (time.perf_counter() - started), 1)
        del copies
    medians = {name: np.median(each, axis=0) for name, each in rates.items()}
    costs = 1 - medians["on"] / medians["off"]
    return {
        "benchmark": "snapshot",
        "users": num_users,
        "items": num_items,
        "pause_ms": {what: _milliseconds(each) for what, each in pauses.items()},
        "copy_at_once_ms": at_once,
        "snapshots": len(written),
        "bytes": round(float(np.mean([each["bytes"] for each in written]))),
        "copy_s": round(float(np.mean([each["copy_s"] for each in written])), 2),
        "seconds": round(float(np.mean([each["seconds"] for each in written])), 2),
        "events_per_s": {name: round(each[0]) for name, each in medians.items()},
        "events_per_cpu_s": {name: round(each[1]) for name, each in medians.items()},
        "cost": {"clock": round(float(costs[0]), 3), "cpu": round(float(costs[1]), 3)},
    }


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    each = 1e3 * np.array(seconds or [0.0])
    return {
        "max": round(float(each.max()), 1),
        "p99": round(float(np.percentile(each, 99)), 1),
        "p50": round(float(np.median(each)), 2),
        "count": len(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=250_000)
    parser.add_argument("--items", type=int, default=250_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of six turns.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(arguments.users, arguments.items, arguments.seconds, folder)))


if __name__ == "__main__":
    main()
