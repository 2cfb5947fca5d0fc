"""Lists of erased users that a promoted replica holds again are deleted, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import ClassVar, cast

import pytest
from redis import Redis

from consumers.configuration import make_engine, make_pipeline
from consumers.redis_client import connect_redis
from consumers.returned_lists import ReturnedLists
from consumers.sink import RedisSink
from consumers.sink_keys import list_keys
from consumers.state_thread import WorkThread
from stream.engine import Engine
from stream.replay import Replay
from stream.settings import Settings
from stream.versions import erase_version
from tests.wire_logs import event

pytestmark = pytest.mark.redis

# Braces of its own: the tombstone's slot is another part of the key.
ERASED = ["gone", "go}ne", "back"]
KEPT = ["here", "}", "gon"]


@pytest.fixture(scope="module")
def engine() -> Engine:
    """An engine that read an erase of each of the erased, at offsets 0, 1 and 2."""
    settings = Settings()
    engine = make_engine(settings, partitions=1)
    lines = [event(number, user_id=user, type="erase") for number, user in enumerate(ERASED)]
    Replay(make_pipeline(settings, engine), signals_interval_ms=0).feed(lines)
    return engine


@pytest.fixture
def state() -> Iterator[WorkThread]:
    thread = WorkThread("state")
    yield thread
    thread.close()


def make_look(
    engine: Engine, state: WorkThread, sink: RedisSink, num_loads: list[int]
) -> ReturnedLists:
    return ReturnedLists(
        engine=engine,
        state=state,
        sink=sink,
        epoch=3,
        retention_ms=10**9,
        num_script_loads=lambda: num_loads[0],
    )


def put_list(redis: Redis, user: str, *, epoch: int = 2) -> bytes:
    key = list_keys(user.encode())[0]
    redis.hset(key, mapping={"version": erase_version(epoch=epoch, offset=9), "items": "[]"})
    return key


def test_what_a_server_brought_back_of_erased_users_is_deleted_once(
    engine: Engine, state: WorkThread, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.from_url(redis_url) as redis:
        keys = {user: put_list(redis, user) for user in ["gone", "go}ne", *KEPT]}
        keys["back"] = put_list(redis, "back", epoch=3)  # Acted after the erase.

        async def run() -> None:
            client = connect_redis(redis_url)
            num_loads = [1]
            look = make_look(engine, state, RedisSink(client, epoch=3), num_loads)
            try:
                assert await look.look() == 0
                put_list(redis, "go}ne")
                await look.look()  # The same server: nobody scans again.
                assert redis.exists(keys["go}ne"])
                num_loads[0] = 2
                await look.look()
            finally:
                await client.aclose()

        asyncio.run(run())
        left = {user for user, key in keys.items() if redis.exists(key)}
        redis.delete(*keys.values())
    assert left == {*KEPT, "back"}
    said = [each.message.split()[0] for each in caplog.records if "come back" in each.message]
    assert said == ["2", "1"]  # Never the one who acted after the erase.


def test_a_server_that_lets_nobody_scan_is_told_of_once_and_asked_again(
    engine: Engine, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing:
        num_asked = 0

        async def delete_returned(self, stones: object) -> int | None:
            self.num_asked += 1
            return None if self.num_asked < 4 else 0

    async def run() -> int:
        sink = Refusing()
        look = make_look(engine, state, sink, [1])  # type: ignore[arg-type]
        for _ in range(6):
            await look.look()
        return sink.num_asked

    assert asyncio.run(run()) == 4
    assert sum("+scan" in each.message for each in caplog.records) == 1


def test_a_partition_that_comes_is_looked_at_too(engine: Engine, state: WorkThread) -> None:
    """Who had it may have died before it scanned the server that was promoted."""

    class Counting:
        found: ClassVar[list[int]] = []

        async def delete_returned(self, stones: Mapping[int, object]) -> int | None:
            self.found.append(len(stones))
            return 0

    async def run() -> list[int]:
        moving = cast("Engine", SimpleNamespace(users={}))
        look = make_look(moving, state, Counting(), [1])  # type: ignore[arg-type]
        for users in ({}, engine.users, engine.users, {}, engine.users):
            moving.users = dict(users)
            await look.look()
        return Counting.found

    assert asyncio.run(run()) == [3, 3]


def test_where_nobody_was_erased_nobody_scans(state: WorkThread) -> None:
    empty = make_engine(Settings(), partitions=1)
    look = make_look(empty, state, None, [1])  # type: ignore[arg-type]
    assert asyncio.run(look.look()) == 0
