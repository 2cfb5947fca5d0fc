"""Lists in a simulated Redis: who is owed one, what a worker writes, what Redis takes.

Mirrors what ``consumers.app`` decides (what is owed travels in snapshots, no list before the log is
caught up); the marks of ``consumers.handlers``, the settling of ``consumers.refresh``, the
erasures, the queue, the ledger and the versions are the real ones. A list here is its user's whole
history in place of a model's scores. Absent: looks for what Redis lost, which would hide a list
that nobody wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from consumers.erasures import Erasures
from consumers.handlers import SlabHandlers
from consumers.refresh import RefreshLoop, _Trip
from consumers.sink_replies import Reply, WriteReport
from stream.dirty_users import RefreshBatch
from stream.engine import Engine
from stream.freshness import FreshnessHistograms, FreshnessLedger
from stream.outcomes import Folded
from stream.refresh_queue import RefreshQueue
from stream.versions import erase_version, version_text
from tests.chaos import exported_state
from tests.chaos.simulated_world import ITEMS, USERS, FakeRedis, Owed, demand

if TYPE_CHECKING:
    from tests.chaos.simulated_worker import Worker

Steps = Iterator[str | None]
_NONE: Any = None
# So few that some events find no place, and only their users are known to be owed a list.
_MAX_EVENTS = 8


class Lists:
    """What one worker owes to users, and two tasks that settle it.

    Attributes:
        ends: End of each user partition's log as it was at assignment.
    """

    def __init__(self, worker: Worker, redis: FakeRedis, clock: Callable[[], int]) -> None:
        self.ends: dict[int, int] = {}
        self.queue = RefreshQueue(max_users=64, interval_ms=0, max_batch=3, max_wait_ms=0)
        self.ledger = FreshnessLedger(max_events=_MAX_EVENTS)
        self.erasures = Erasures(_NONE, epoch=0, max_waiting=64)
        self._worker, self._redis, self._clock = worker, redis, clock
        ownership: Any = self
        self._handlers = SlabHandlers(
            pipeline=_NONE,
            state=_NONE,
            ownership=ownership,
            frames=_NONE,
            dead_letters=_NONE,
            copies=_NONE,
            freshness=self.ledger,
            offer=lambda users: self.refresh.mark(users),
            release=lambda partition: self.refresh.release(partition),
            erase=self.erasures.add,
            on_fold=_NONE,
            interactions=USERS,
            item_deltas=ITEMS,
            max_waiting_bytes=1,
        )
        self.refresh: RefreshLoop[Any] = RefreshLoop(
            queue=self.queue,
            ledger=self.ledger,
            freshness=FreshnessHistograms(),
            retrieve=_NONE,
            score=_NONE,
            write=_NONE,
            state_executor=_NONE,
            scorer_executor=_NONE,
            monotonic_ms=lambda: 0,
            wall_ms=clock,
        )

    # What the handlers ask of their ownership.

    @property
    def assigned(self) -> set[tuple[str, int]]:
        """Partitions that the worker believes to own."""
        return self._worker.assigned

    def is_caught_up(self, topic: str, partition: int) -> bool:
        """Whether the state has passed the log's end as it was at assignment."""
        return self._worker.next_offset((topic, partition)) >= self.ends[partition]

    # The partitions' lives.

    def mark(self, partition: int, folded: Folded) -> None:
        """Owe lists and erasures for what was folded."""
        self._handlers._mark(partition, folded)

    def owed(self, partition: int) -> Owed:
        """Return what a snapshot keeps."""
        rows = self.ledger.user_rows(partition)
        if self._worker.bug == "owed lists are not in the snapshot":
            rows = rows[:0]
        return rows, self.erasures.encode()

    def open(self, partition: int, owed: Owed | None) -> None:
        """Take up a partition that was not in memory."""
        self.queue.hold(partition)
        if owed is not None:
            shard, (rows, waits) = self._worker.engine.users[partition], owed
            self.ledger.owe(partition, rows, shard.tables.next_offset)
            self.refresh.mark(shard.dirty_users(rows, np.zeros(len(rows), np.uint8)))
            self.erasures.restore(waits)

    def assign(self, partition: int) -> None:
        """Let lists be made where the log is caught up; called when partitions come or go."""
        if (USERS, partition) in self.assigned and self.is_caught_up(USERS, partition):
            self.refresh.release(partition)
        else:
            self.queue.hold(partition)

    def is_idle(self) -> bool:
        """Tell whether nobody is owed anything."""
        return not (len(self.queue) or self.queue.num_in_flight or len(self.erasures))

    # Tasks.

    def write(self) -> Steps:
        """Write lists of dirty users, a batch at a time."""
        while True:
            batch = self.queue.take(0, flush=True)
            if batch is None:
                yield None
            else:
                yield from self._write(batch)

    def _write(self, batch: RefreshBatch) -> Steps:
        engine, partition = self._worker.engine, batch.partition
        shard = engine.users.get(partition)
        is_gone, is_done = np.ones(len(batch), np.bool_), np.zeros(len(batch), np.bool_)
        lists, next_offset = {}, 0
        if shard is not None:
            tables, next_offset = shard.tables, shard.tables.next_offset
            rows = zip(batch.user_ids, batch.user_rows.tolist(), strict=True)
            is_gone = np.array([tables.users.row_of(user) != row for user, row in rows])
            lists = exported_state.users(tables)
        yield "after retrieval"
        is_ours = shard is not None and engine.users.get(partition) is shard
        for index, user in enumerate(batch.user_ids if is_ours else ()):
            if is_gone[index]:
                continue
            version = version_text(
                epoch=0,
                next_offset=next_offset,
                model_sequence=0,
                generated_at_ms=self._clock(),
            )
            is_done[index] = self._redis.write(user, version, lists[user.decode()])
            is_done[index] |= self._worker.bug == "an outage counts as written"
            if index == 0:
                yield "mid-pipeline"
        trip: _Trip[Any] = _Trip(batch=batch, is_gone=is_gone, retrieve_s=0.0)
        made: Any = SimpleNamespace(next_offset=next_offset)
        trip.lists = made if is_ours else None
        self.refresh._settle(trip, is_done)
        yield "after pipeline"

    def erase(self) -> Steps:
        """Write tombstones."""
        while True:
            batch = list(self.erasures._waiting.items())[:2]
            if not batch or self._redis.is_away:
                yield None
                continue
            for user, version in batch:
                self._redis.erase(user, version)
                yield "mid-erasure"
            self.erasures._settle(batch, WriteReport.of([Reply.ACCEPTED] * len(batch)))
            yield None


def check_lists(redis: FakeRedis, expected: Engine, users: list[bytes]) -> None:
    """Demand that everybody has the newest list, who is erased none, and a tombstone."""
    live: set[bytes] = set()
    for shard in expected.users.values():
        for user, facts in exported_state.users(shard.tables).items():
            live.add(user.encode())
            _, found = redis.lists.get(user.encode(), ("", None))
            demand(found == facts, f"the list of {user} is of {found}, the state is {facts}")
        for each in users:
            offset = shard.tables.erased_offset_of(each)
            if offset is not None:
                stone, wanted = redis.stones.get(each, ""), erase_version(epoch=0, offset=offset)
                demand(stone >= wanted, f"tombstone {stone!r} of {each!r}, expected {wanted}")
    extra = redis.lists.keys() - live
    demand(not extra, f"lists of users who are gone: {sorted(extra)}")
