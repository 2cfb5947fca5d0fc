"""A whole worker as ``consumers.app`` wires it, whose broker and group are a few lists in memory.

Nothing connects: the real producers, ownership, handlers, queue and ledger run over a fake of
aiokafka's producer that notes what it was given and acknowledges it when a gate is open. For what
no part alone can show: that one waits for the other.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consumers.app import Worker
from consumers.group_session import now_s
from stream.settings import (
    CatalogueSettings,
    ItemSettings,
    RefreshSettings,
    Settings,
    TopicSettings,
    UserSettings,
    WorkerSettings,
)
from stream.slab import Slab
from tests.wire_logs import START_MS

TOPICS = TopicSettings(partitions=2, item_partitions=1)
_UNUSED = "127.0.0.1:1"


class FakeBroker:
    """What was sent by topic, and where logs end.

    Attributes:
        sent: Topic to values, in order.
        shut: Topics whose records are taken and not acknowledged.
        num_open: Topic to records that wait for their acknowledgement.
    """

    def __init__(self) -> None:
        self.sent: dict[str, list[bytes]] = defaultdict(list)
        self.shut: set[str] = set()
        self.num_open: dict[str, int] = defaultdict(int)
        self.logs: dict[tuple[str, int], int] = defaultdict(int)
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    def take(self, topic: str, value: bytes) -> asyncio.Future[None]:
        """Take a record; the future is done once it is acknowledged."""
        future = asyncio.get_running_loop().create_future()
        self.sent[topic].append(value)
        self.num_open[topic] += 1
        self._waiting.append((topic, future))
        self.open()
        return future

    def open(self, topic: str = "") -> None:
        """Acknowledge whatever waits for topics that are not shut, this one any more."""
        self.shut.discard(topic)
        waiting, self._waiting = self._waiting, []
        for name, future in waiting:
            if name in self.shut:
                self._waiting.append((name, future))
            elif not future.done():
                self.num_open[name] -= 1
                future.set_result(None)

    # What aiokafka's producer does.

    async def send(self, topic: str, value: bytes, **_: Any) -> asyncio.Future[None]:
        return self.take(topic, value)

    def create_batch(self) -> _Batch:
        return _Batch()

    async def send_batch(self, batch: _Batch, topic: str, **_: Any) -> asyncio.Future[None]:
        *before, last = [self.take(topic, value) for value in batch.values]
        return last

    # What BrokerOffsets does.

    async def ends(self, partitions: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return {key: self.logs[key] for key in partitions}

    async def beginnings(self, partitions: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, 0)

    async def committed(self, partitions: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, 0)

    async def topic_ids(self, topics: Mapping[str, str]) -> dict[str, str]:
        return {}


class _Batch:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, value: bytes, **_: Any) -> object:
        self.values.append(value)
        return self


class WiredWorker:
    """One worker; inside ``running`` its handlers fold."""

    def __init__(self, folder: Path, broker: FakeBroker) -> None:
        bounds = {"max_users": 64, "max_items": 64}
        settings = self.settings = Settings(
            data_dir=folder,
            topics=TOPICS,
            worker=WorkerSettings(session_timeout_s=300.0),  # No heartbeats here.
            users=UserSettings(**bounds, max_event_ids=1024),
            items=ItemSettings(max_items=64, max_ids=128, max_pairs=4096),
            catalogue=CatalogueSettings(max_items=64),
            refresh=RefreshSettings(max_dirty=256, max_unanswered=256),
        )
        self.broker = broker
        self.worker = worker = Worker(settings, brokers=_UNUSED, redis_url=f"redis://{_UNUSED}/0")
        fake: Any = broker
        worker.producer._producer = worker.frame_sender._producer = fake
        worker.ownership._offsets = fake
        worker.ownership._ask_generation = lambda: 1
        worker.app.session.renew(now_s())
        self.ownership = worker.ownership

    async def give(self, values: list[bytes], *, partition: int = 0, begin: int = 0) -> None:
        """Hand a slab over, as the agent does."""
        slab = Slab.from_values(
            values,
            topic=TOPICS.interactions,
            partition=partition,
            first_offset=begin,
            timestamps_ms=[START_MS] * len(values),
        )
        await self.worker.handlers.accept(slab)

    def owed(self, partition: int = 0) -> set[bytes]:
        """Return the users who are owed a list."""
        users = self.worker.engine.users[partition].tables.users
        return {*users.ids(self.worker.ledger.user_rows(partition))}

    def due(self) -> set[bytes]:
        """Take everybody out of the queue whose list may be made now."""
        found: set[bytes] = set()
        while (batch := self.worker.queue.take(1 << 40, flush=True)) is not None:
            found.update(batch.user_ids)
        return found

    def files(self) -> list[str]:
        """Return the snapshots there are."""
        return [name.file for kind in ("users", "items") for name in self._names(kind)]

    def _names(self, kind: str) -> list[Any]:
        return self.ownership._store.all_names(kind)


@contextmanager
def wired(folder: Path, broker: FakeBroker) -> Iterator[WiredWorker]:
    """Make a worker; its threads end with the block, as they would with the process."""
    one = WiredWorker(folder, broker)
    try:
        yield one
    finally:
        one.worker.state.close()
        one.worker.scorer.close()


async def until(holds: Callable[[], object], what: str) -> None:
    """Let tasks and threads go on until something holds."""
    for _ in range(20_000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError(what)


async def a_while() -> None:
    """Let everything go on that can: for what must not happen."""
    for _ in range(200):
        await asyncio.sleep(0.0005)
