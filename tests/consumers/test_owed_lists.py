"""Whoever was shed from the refresh queue gets a list when there is room, and nobody twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from consumers.configuration import make_engine, make_pipeline
from consumers.owed_lists import OwedLists
from consumers.state_thread import WorkThread
from stream.engine import Engine
from stream.freshness import FreshnessLedger
from stream.refresh_queue import RefreshQueue
from stream.replay import Replay
from stream.settings import Settings
from tests.wire_logs import event

NUM_USERS = 20


@pytest.fixture(scope="module")
def engine() -> Engine:
    settings = Settings()
    engine = make_engine(settings, partitions=1)
    lines = [event(number, user_id=f"u{number}") for number in range(NUM_USERS)]
    Replay(make_pipeline(settings, engine), signals_interval_ms=0).feed(lines)
    return engine


@pytest.fixture
def state() -> Iterator[WorkThread]:
    thread = WorkThread("state")
    yield thread
    thread.close()


class Outage:
    """Every user acted while the queue had room for eight."""

    def __init__(self, engine: Engine, state: WorkThread) -> None:
        self.is_caught_up = True
        self.ledger = FreshnessLedger(max_events=5)
        self.queue = RefreshQueue(max_users=8, interval_ms=0, max_batch=8, max_wait_ms=0)
        self.users = engine.users[0].tables.users
        self.rows = self.users.live_rows()
        self.ledger.append(
            0,
            user_rows=self.rows,
            offsets=np.arange(NUM_USERS, dtype=np.int64),
            times_ms=np.zeros(NUM_USERS, np.int64),
            actions=np.zeros(NUM_USERS, np.uint8),
        )
        everybody = engine.users[0].dirty_users(self.rows, np.zeros(NUM_USERS, np.uint8))
        assert self.queue.offer(everybody, 0) == NUM_USERS - 8
        self.owed = OwedLists(
            engine=engine,
            state=state,
            queue=self.queue,
            ledger=self.ledger,
            mark=lambda users: self.queue.offer(users, 0) and None,
            is_caught_up=lambda partition: self.is_caught_up,
        )

    def write(self) -> list[bytes]:
        """Write the lists of all who wait."""
        batch = self.queue.take(0)
        if batch is None:
            return []
        self.ledger.answer(0, batch.user_rows, NUM_USERS, 0)
        self.queue.finish(batch, is_done=np.ones(len(batch), np.bool_), now_ms=0)
        return list(batch.user_ids)


def test_all_who_were_shed_are_served_once_there_is_room(engine: Engine, state: WorkThread) -> None:
    outage = Outage(engine, state)

    async def scenario() -> list[bytes]:
        served = []
        while written := outage.write():
            served += written
            await outage.owed.look()
        return served

    served = asyncio.run(scenario())
    assert sorted(served) == sorted(outage.users.ids(outage.rows))
    assert not len(outage.ledger.user_rows(0))


def test_nobody_is_marked_of_a_partition_that_catches_up(engine: Engine, state: WorkThread) -> None:
    outage = Outage(engine, state)
    outage.is_caught_up = False
    outage.write()
    assert asyncio.run(outage.owed.look()) == 0
    assert not len(outage.queue)


def test_while_nobody_was_shed_nobody_looks(engine: Engine, state: WorkThread) -> None:
    outage = Outage(engine, state)
    outage.queue.num_shed = 0
    outage.write()
    assert asyncio.run(outage.owed.look()) == 0
