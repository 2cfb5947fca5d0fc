"""A ledger that remembers every slab in plain Python, and an app around it, for tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from consumers.faust_app import App, create_app, run_app
from stream.errors import LogGap
from stream.slab import Slab

Partition = tuple[str, int]
# What snapshots hold: (next offset, values) per partition.
Store = dict[Partition, tuple[int, tuple[bytes | None, ...]]]


class MemoryLedger:
    """Offsets and values per partition; "durable" is what ``snapshot`` copied into ``store``.

    ``store`` stands for the snapshot store: several ledgers may share one.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.values: dict[Partition, list[bytes | None]] = {}
        self.next: dict[Partition, int] = {}
        self.durable: dict[Partition, int] = {}
        self.calls: list[tuple[str, frozenset[Partition]]] = []
        self.slabs: list[Slab] = []
        self.changed = asyncio.Condition()
        self.snapshot_on_release = True
        self.assignment = 0

    async def restore(self, partitions: set[Partition]) -> None:
        self.calls.append(("restore", frozenset(partitions)))
        for partition in partitions - set(self.next):
            offset, values = self.store.get(partition, (None, ()))
            self.values[partition] = list(values)
            if offset is not None:
                self.next[partition] = self.durable[partition] = offset
        self.assignment += 1
        await self.touch()

    def next_offset(self, topic: str, partition: int) -> int | None:
        return self.next.get((topic, partition))

    def durable_offset(self, topic: str, partition: int) -> int | None:
        return self.durable.get((topic, partition))

    async def release(self, partitions: set[Partition]) -> None:
        self.calls.append(("release", frozenset(partitions)))
        self.assignment += 1
        if self.snapshot_on_release:
            for partition in partitions:
                self.snapshot(partition)
        await self.touch()

    async def retain(self, partitions: set[Partition]) -> None:
        self.calls.append(("retain", frozenset(partitions)))
        for partition in set(self.values) - partitions:
            for table in (self.values, self.next, self.durable):
                table.pop(partition, None)

    def snapshot(self, partition: Partition) -> None:
        if partition in self.next:
            self.store[partition] = (self.next[partition], tuple(self.values[partition]))
            self.durable[partition] = self.next[partition]

    async def fold(self, slab: Slab) -> None:
        key = (slab.topic, slab.partition)
        wanted = self.next.get(key)
        if wanted is not None and slab.begin > wanted:
            message = f"expected {key} at {wanted}, came {slab.begin}"
            raise LogGap(message)
        for index, offset in enumerate(slab.offsets):
            if wanted is None or offset >= wanted:
                self.values[key].append(slab.value(index))
        self.next[key] = max(slab.end, wanted or 0)
        self.slabs.append(slab)
        await self.touch()

    async def touch(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait until a condition on this ledger holds."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), timeout_s)

    def all_values(self) -> list[bytes | None]:
        return sorted((v for values in self.values.values() for v in values), key=repr)


def make_app(brokers: str, topic: str, ledger: MemoryLedger, data_dir: Path, **options: Any) -> App:
    options.setdefault("group", f"group-{topic}")
    app = create_app(
        brokers=brokers,
        topics=[topic],
        ledger=ledger,
        data_dir=data_dir,
        **{"session_timeout_s": 6.0, "commit_interval_s": 0.1, **options},
    )

    @app.agent(app.slab_topic(topic))
    async def fold(stream: Any) -> None:
        async for event in stream.noack().events():
            await ledger.fold(event.value)
            event.ack()

    return app


@contextlib.asynccontextmanager
async def running(app: App) -> AsyncIterator[asyncio.Task[None]]:
    """Run an app beside the test; a crash is raised at the end unless the task was awaited."""
    task = asyncio.create_task(run_app(app))
    try:
        yield task
    finally:
        await app.stop()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()
