"""Lists that are gone from Redis are written again, for whoever has none and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from redis import Redis

from consumers.configuration import make_engine, make_pipeline
from consumers.lost_lists import LossWatch, LostLists
from consumers.metering import Metering
from consumers.metrics_registry import MetricsRegistry
from consumers.redis_client import connect_redis
from consumers.sink import RedisSink
from consumers.state_thread import WorkThread
from stream import metrics
from stream.dirty_users import DirtyUsers
from stream.engine import Engine
from stream.freshness import FreshnessLedger
from stream.refresh_queue import RefreshQueue
from stream.replay import Replay
from stream.settings import Settings
from tests.wire_logs import START_MS, event

NUM_USERS = 200
DAY_MS = 86_400_000
EVERYBODY = {b"late", *(b"u%d" % number for number in range(NUM_USERS))}


@pytest.fixture(scope="module")
def engine() -> Engine:
    lines = [event(number, user_id=f"u{number}") for number in range(NUM_USERS)]
    lines.append(event(NUM_USERS, user_id="late", ts=START_MS + 2 * DAY_MS))
    made, replay = engine_and_replay()
    replay.feed(lines)
    return made


def engine_and_replay() -> tuple[Engine, Replay]:
    settings = Settings()
    made = make_engine(settings, partitions=1)
    return made, Replay(make_pipeline(settings, made), signals_interval_ms=0)


class Looks:
    """What some looks marked, with a Redis that lacks the lists of ``missing``."""

    def __init__(self, engine: Engine, missing: set[bytes] | None, *, ttl_ms: int = 9 * DAY_MS):
        self.marked: list[bytes] = []
        self.looked: list[bytes] = []
        self.queue = RefreshQueue(max_users=1000)
        self.num_script_loads = 0
        self.is_another_server = False
        self.ledger = FreshnessLedger(max_events=10)
        self.num_counted = 0.0
        self._missing = missing
        self._engine, self._ttl_ms = engine, ttl_ms
        self.before_look: Callable[[int], None] = lambda number: None

    def look(self, times: int) -> list[int]:
        thread = WorkThread("state")
        lists = LostLists(
            engine=self._engine,
            state=thread,
            queue=self.queue,
            owed_rows=self.ledger.user_rows,
            mark=self._mark,
            find_missing=self._find_missing,
            is_caught_up=lambda partition: True,
            ttl_ms=self._ttl_ms,
            num_script_loads=lambda: self.num_script_loads,
        )

        registry = MetricsRegistry()
        metering = Metering(registry, topic="interactions")
        watch = LossWatch(
            [lists], on_lost=metering.on_lost, interval_s=0.0, probe=self._probe_server
        )

        async def run() -> list[int]:
            found = []
            for number in range(times):
                self.before_look(number)
                found.append(await watch.look())
            return found

        found = asyncio.run(run())
        thread.close()
        self.num_counted = registry.value(metrics.LOST_KEYS, kind="rec")
        return found

    async def _probe_server(self) -> None:
        self.num_script_loads += self.is_another_server

    def _mark(self, users: DirtyUsers) -> None:
        self.marked.extend(users.user_ids)

    async def _find_missing(self, keys: Sequence[bytes]) -> NDArray[np.bool_] | None:
        user_ids = [key.removeprefix(b"rec:{").removesuffix(b"}") for key in keys]
        self.looked.extend(user_ids)
        if self._missing is None:
            return None
        return np.array([user in self._missing for user in user_ids], np.bool_)


def test_after_one_round_everybody_without_a_list_is_marked_once(engine: Engine) -> None:
    looks = Looks(engine, EVERYBODY)
    assert looks.look(4) == [64, 64, 64, 9]
    assert sorted(looks.marked) == sorted(EVERYBODY) and looks.num_counted == len(EVERYBODY)


def test_a_list_that_was_never_written_is_not_lost(engine: Engine) -> None:
    """A start: everybody shed by a full queue, but two, is still owed the first list."""
    looks = Looks(engine, EVERYBODY)
    rows = np.sort(engine.users[0].tables.users.live_rows())[:-2]
    looks.ledger.owe(0, rows, NUM_USERS)
    looks.look(4)
    assert sorted(looks.marked) == sorted(EVERYBODY) and looks.num_counted == 2


def test_who_is_lost_once_written_is_counted(engine: Engine) -> None:
    looks = Looks(engine, EVERYBODY)
    rows = engine.users[0].tables.users.live_rows()
    looks.ledger.owe(0, rows, NUM_USERS)
    looks.ledger.answer(0, rows, NUM_USERS, 0)
    looks.look(4)
    assert looks.num_counted == len(EVERYBODY)


def test_only_those_without_a_list_are_marked(engine: Engine) -> None:
    looks = Looks(engine, {b"u3", b"u150"})
    looks.look(4)
    assert sorted(looks.marked) == [b"u150", b"u3"] and set(looks.looked) == EVERYBODY


def test_a_second_round_starts_at_the_first_user_again(engine: Engine) -> None:
    looks = Looks(engine, set())
    assert looks.look(5) == [0] * 5
    assert looks.looked[:64] == looks.looked[NUM_USERS + 1 :]


def test_a_server_that_forgot_our_scripts_gets_every_list_again_once(engine: Engine) -> None:
    looks = Looks(engine, set())
    looks.num_script_loads = 1
    assert looks.look(8) == [64, 64, 64, 9, 0, 0, 0, 0]
    assert sorted(looks.marked) == sorted(EVERYBODY)
    assert looks.num_counted == 0  # They stand there, but may be older.


@pytest.mark.parametrize(("num_loads", "marked"), [(1, []), (2, sorted(EVERYBODY))])
def test_a_partition_that_comes_after_a_server_changed_gets_every_list_again(
    engine: Engine, num_loads: int, marked: list[bytes]
) -> None:
    """Who had it may have died with that server. A worker's start alone says nothing of it."""
    users = dict(engine.users)
    moving = cast("Engine", SimpleNamespace(users={}))
    looks = Looks(moving, set())
    looks.num_script_loads = num_loads
    looks.before_look = lambda number: moving.users.update(users if number == 1 else {})
    looks.look(7)
    assert sorted(looks.marked) == marked


@pytest.mark.parametrize(("at_first", "marked"), [(0, 0), (100, 100)])
def test_who_comes_after_a_server_changed_gets_one_list_and_not_another(
    at_first: int, marked: int
) -> None:
    """A first start, for instance: nobody is there, so that no list can be older."""
    made, replay = engine_and_replay()
    come = [event(number, user_id=f"u{number}") for number in range(150)]
    replay.feed(come[:at_first])
    looks = Looks(made, set())
    looks.num_script_loads = 1
    looks.before_look = lambda number: replay.feed(come[at_first:]) if number == 1 else None
    looks.look(6)
    assert sorted(looks.marked) == sorted(b"u%d" % number for number in range(marked))


def test_another_server_with_older_lists_is_noticed_though_none_is_missing(engine: Engine) -> None:
    looks = Looks(engine, set())
    looks.is_another_server = True
    assert looks.look(1) == [64]


def test_lists_that_are_gone_round_after_round_are_not_written_without_end(engine: Engine) -> None:
    """As of a Redis that evicts one for each that it is given: a rest after three whole rounds."""
    looks = Looks(engine, EVERYBODY)
    assert looks.look(16) == [64, 64, 64, 9] * 3 + [64, 0, 0, 0]


def test_where_redis_does_not_answer_the_same_users_are_looked_at_again(engine: Engine) -> None:
    looks = Looks(engine, None)
    assert looks.look(2) == [0, 0] and not looks.marked
    assert looks.looked[:64] == looks.looked[64:]


def test_who_waits_for_a_list_is_not_missed(engine: Engine) -> None:
    looks = Looks(engine, EVERYBODY)
    rows = np.arange(10, dtype=np.int32)
    looks.queue.offer(engine.users[0].dirty_users(rows, np.zeros(10, np.uint8)), 0)
    assert looks.look(1) == [54]


def test_while_many_wait_for_a_list_nobody_is_looked_at(engine: Engine) -> None:
    looks = Looks(engine, EVERYBODY)
    rows = np.arange(64, dtype=np.int32)
    looks.queue.offer(engine.users[0].dirty_users(rows, np.zeros(64, np.uint8)), 0)
    assert looks.look(1) == [0] and not looks.looked


def test_who_was_seen_before_the_life_of_a_list_needs_none(engine: Engine) -> None:
    looks = Looks(engine, EVERYBODY, ttl_ms=DAY_MS)
    looks.look(4)
    assert looks.marked == [b"late"]


def test_where_redis_has_no_room_lists_are_looked_for_slowly_until_it_is_another_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.loss_pace._REST_S", 3_600.0)
    looks = Looks(engine, EVERYBODY)

    def restart(number: int) -> None:
        looks.num_script_loads = int(number >= 18)

    looks.before_look = restart
    assert looks.look(20) == [64, 64, 64, 9] * 3 + [64] + [0] * 5 + [64, 64]


@pytest.mark.redis
def test_the_sink_tells_who_has_no_list(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.hset("rec:{lost-1}", "items", "[]")
        client.delete("rec:{lost-2}")

    async def run() -> tuple[list[bool], int]:
        client = connect_redis(redis_url)
        sink = RedisSink(client, epoch=0)
        found = await sink.find_missing([b"rec:{lost-1}", b"rec:{lost-2}"])
        nobody = await sink.find_missing([])
        await client.aclose()
        assert found is not None and nobody is not None
        return found.tolist(), len(nobody)

    assert asyncio.run(run()) == ([False, True], 0)


def test_a_redis_that_is_away_tells_nothing(free_port) -> None:
    async def run() -> object:
        client = connect_redis(f"redis://127.0.0.1:{free_port()}/0")
        found = await RedisSink(client, epoch=0).find_missing([b"u1"])
        await client.aclose()
        return found

    assert asyncio.run(run()) is None
