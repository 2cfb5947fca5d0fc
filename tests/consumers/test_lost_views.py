"""Similar items and tombstones that are gone from Redis are written again, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from redis import Redis

from consumers.configuration import make_engine, make_pipeline
from consumers.lost_views import LostKeys, LostSimilar, SimilarView, TombstoneView, View
from consumers.redis_client import connect_redis
from consumers.signal_publisher import SignalPacer
from consumers.sink import RedisSink
from consumers.sink_keys import list_keys
from consumers.sink_replies import Reply
from consumers.state_thread import WorkThread
from stream.engine import Engine
from stream.replay import Replay
from stream.settings import Settings
from stream.versions import erase_version
from tests.wire_logs import START_MS, event

NUM = 300
DAY_MS = 86_400_000
ERASED = [f"gone-{number}" for number in range(NUM)]


@pytest.fixture(scope="module")
def engine() -> Engine:
    """An engine with 301 items, one of them touched two days later, and 300 erased users."""
    settings = Settings()
    engine = make_engine(settings, partitions=1)
    lines = [event(number, user_id="u1", item_id=f"i{number}") for number in range(NUM)]
    lines += [event(NUM + number, user_id=user, type="erase") for number, user in enumerate(ERASED)]
    replay = Replay(make_pipeline(settings, engine), signals_interval_ms=0)
    replay.feed(lines)
    ts = START_MS + 2 * DAY_MS
    replay.feed([event(2 * NUM, user_id="u2", item_id="late", ts=ts)])
    replay.feed([event(2 * NUM + 1, user_id="gone-late", type="erase", ts=ts)])
    return engine


class Store:
    """Keys that Redis holds; what is written is there from then on."""

    def __init__(self, *held: bytes, answers: bool = True) -> None:
        self.held = set(held)
        self.answers = answers
        self.is_full = False
        self.looked: list[bytes] = []
        self.written: list[tuple[bytes, str]] = []

    async def find_missing(self, keys: Sequence[bytes]) -> NDArray[np.bool_] | None:
        self.looked += keys
        return np.array([key not in self.held for key in keys], bool) if self.answers else None

    async def write_similar(self, partition: int, item_ids: Sequence[bytes]) -> None:
        await self.write([(b"sim:{%b}" % each, "") for each in item_ids])

    async def write(self, stones: Sequence[tuple[bytes, str]]) -> None:
        self.written += stones
        if not self.is_full:
            self.held |= {key for key, _ in stones}


def look(view: View, store: Store, times: int) -> list[int]:
    thread = WorkThread("state")
    lost = LostKeys(view, state=thread, find_missing=store.find_missing)

    async def run() -> list[int]:
        return [await lost.look() for _ in range(times)]

    try:
        return asyncio.run(run())
    finally:
        thread.close()


def similar(
    engine: Engine, store: Store, *, ttl_ms: int = 9 * DAY_MS, pacer: SignalPacer | None = None
) -> SimilarView:
    return SimilarView(
        engine=engine,
        pacers={0: pacer or SignalPacer(interval_ms=1_000, max_rows_per_s=100)},
        write_similar=store.write_similar,
        is_caught_up=lambda partition: True,
        ttl_ms=ttl_ms,
    )


def tombstones(
    engine: Engine, store: Store, *, num_waiting: int = 0, retention_ms: int = 9 * DAY_MS
) -> TombstoneView:
    return TombstoneView(
        engine=engine,
        write_tombstones=store.write,
        num_waiting=lambda: num_waiting,
        epoch=3,
        retention_ms=retention_ms,
    )


def test_a_round_writes_every_item_that_is_missing_once(engine: Engine) -> None:
    store = Store(b"sim:{i7}")
    assert look(similar(engine, store), store, 4) == [255, 45, 0, 0]
    expected = {b"sim:{late}", *(b"sim:{i%d}" % number for number in range(NUM))}
    assert {key for key, _ in store.written} == expected - {b"sim:{i7}"}
    assert len(store.written) == NUM and len(store.looked) == 2 * len(expected)


def test_where_redis_has_no_room_items_are_looked_for_slowly(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.loss_pace._REST_S", 3_600.0)
    store = Store()
    store.is_full = True  # What it is given pushes out the rest.
    assert look(similar(engine, store), store, 9) == [256, 45] * 3 + [256, 0, 0]


def test_where_redis_does_not_answer_the_same_keys_are_looked_at_again(engine: Engine) -> None:
    store = Store(answers=False)
    assert look(similar(engine, store), store, 2) == [0, 0]
    assert store.looked[:256] == store.looked[256:] and not store.written


def test_an_item_about_to_be_published_is_not_missed(engine: Engine) -> None:
    pacer = SignalPacer(interval_ms=1_000, max_rows_per_s=100)
    pacer.admit(np.arange(10, dtype=np.int32), 0)
    store = Store()
    look(similar(engine, store, pacer=pacer), store, 2)
    assert len(store.written) == NUM + 1 - 10


def test_an_item_touched_before_the_life_of_a_list_needs_none(engine: Engine) -> None:
    store = Store()
    look(similar(engine, store, ttl_ms=DAY_MS), store, 2)
    assert [key for key, _ in store.written] == [b"sim:{late}"]


def test_every_tombstone_comes_back_under_its_own_key_and_version(engine: Engine) -> None:
    store = Store()
    assert look(tombstones(engine, store), store, 3) == [256, 45, 0]
    expected = [
        (list_keys(user.encode())[1], erase_version(epoch=3, offset=NUM + number))
        for number, user in enumerate(ERASED)
    ]
    late = (list_keys(b"gone-late")[1], erase_version(epoch=3, offset=2 * NUM + 1))
    assert store.written == [*expected, late]


def test_an_erase_before_the_life_of_a_tombstone_needs_none(engine: Engine) -> None:
    store = Store()
    look(tombstones(engine, store, retention_ms=DAY_MS), store, 2)
    assert [key for key, _ in store.written] == [list_keys(b"gone-late")[1]]


def test_while_erases_wait_for_redis_no_tombstone_is_missed(engine: Engine) -> None:
    store = Store()
    assert look(tombstones(engine, store, num_waiting=1), store, 1) == [0]
    assert not store.looked


@pytest.mark.redis
def test_a_tombstone_is_written_without_its_list_and_never_goes_back(redis_url: str) -> None:
    list_key, stone = list_keys(b"lost-stone")
    older, newer = (erase_version(epoch=3, offset=offset) for offset in (7, 8))

    async def run() -> list[Reply]:
        client = connect_redis(redis_url)
        sink = RedisSink(client, epoch=3)
        versions = (older, newer, newer, older)
        reports = [await sink.write_tombstones([(stone, version)]) for version in versions]
        await client.aclose()
        return [Reply(int(report.replies[0])) for report in reports]

    with Redis.from_url(redis_url) as client:
        client.delete(stone)
        client.hset(list_key, "version", "a list")
        assert asyncio.run(run()) == [Reply.ACCEPTED, Reply.ACCEPTED, Reply.SAME, Reply.STALE]
        assert client.get(stone).decode() == newer and client.pttl(stone) > 0
        assert client.hget(list_key, "version") == b"a list"


def test_a_server_that_is_another_one_gets_every_key_again_once(engine: Engine) -> None:
    """A promoted replica holds what it had of them, perhaps older."""
    held = [b"sim:{i%d}" % number for number in range(NUM)]
    store, num_loads = Store(b"sim:{late}", *held), [1]
    view, thread = similar(engine, store), WorkThread("state")
    lost = LostSimilar(
        view,
        state=thread,
        find_missing=store.find_missing,
        num_script_loads=lambda: num_loads[0],
    )

    async def run() -> list[int]:
        before = [await lost.look() for _ in range(2)]  # The first load is a worker's start.
        num_loads[0] = 2
        return before + [await lost.look() for _ in range(4)]

    try:
        assert asyncio.run(run()) == [0, 0, 256, 45, 0, 0]
        assert lost.num_lost == 0  # They stand there, but may be older.
    finally:
        thread.close()
    assert len(store.written) == NUM + 1


@pytest.mark.parametrize(("num_loads", "written"), [(1, [0] * 4), (2, [0, 256, 45, 0])])
def test_a_partition_that_comes_after_a_server_changed_gets_every_key_again(
    engine: Engine, num_loads: int, written: list[int]
) -> None:
    """Who had it may have died with that server. A worker's start alone says nothing of it."""
    held = [b"sim:{i%d}" % number for number in range(NUM)]
    store = Store(b"sim:{late}", *held)
    moving = cast("Engine", SimpleNamespace(items={}))
    view, thread = similar(moving, store), WorkThread("state")
    lost = LostSimilar(
        view,
        state=thread,
        find_missing=store.find_missing,
        num_script_loads=lambda: num_loads,
    )

    async def run() -> list[int]:
        before = await lost.look()
        moving.items.update(engine.items)
        return [before] + [await lost.look() for _ in range(3)]

    try:
        assert asyncio.run(run()) == written
    finally:
        thread.close()
