"""What the loops write that is of more than one partition."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from redis import Redis

from consumers.configuration import make_engine, make_pipeline
from consumers.group_session import GroupSession
from consumers.loops import WorkerLoops, trending_of
from consumers.lost_lists import LossWatch
from consumers.redis_client import connect_redis
from consumers.similar_writer import SimilarWriter
from consumers.sink import RedisSink
from consumers.sink_replies import Reply, WriteReport
from consumers.state_thread import WorkThread
from state.hashing import partition_of
from stream.candidates import RecommendationBatch
from stream.engine import Engine
from stream.errors import ServerUnreachable
from stream.replay import Replay
from stream.settings import Settings
from stream.slab import Slab
from tests.wire_logs import START_MS, event

DAY_MS = 86_400_000


def ids_of_partition(number: int, count: int) -> list[str]:
    names = (f"i{index}" for index in range(1_000))
    of = [
        name
        for name in names
        if partition_of(np.frombuffer(name.encode(), np.uint8), 0, len(name), 2) == number
    ]
    return of[:count]


def trending(*items: tuple[str, int, int]) -> RecommendationBatch:
    """Return the list after (item, number of likes, event time), two item partitions."""
    settings = Settings(topics={"partitions": 1, "item_partitions": 2})
    engine = make_engine(settings)
    replay = Replay(make_pipeline(settings, engine), signals_interval_ms=0)
    index = 0
    for item_id, num_likes, ts in items:
        for _ in range(num_likes):
            index += 1
            user = f"u{index}"
            replay.feed([event(index, type="like", user_id=user, item_id=item_id, ts=ts)])
    found = trending_of(engine, 10)
    assert found is not None
    return found


def test_trending_is_dated_and_faded_though_item_partition_0_has_seen_nothing() -> None:
    once, now = ids_of_partition(1, 2)
    later_ms = START_MS + 60 * DAY_MS
    found = trending((once, 9, START_MS), (now, 2, later_ms))
    assert found.next_offset == 0
    assert found.events_to_ms.tolist() == [later_ms]
    assert found.item_ids[0] == now.encode()


def test_trending_is_dated_by_the_newest_of_any_partition() -> None:
    (first,), (second,) = ids_of_partition(0, 1), ids_of_partition(1, 1)
    for order in ((first, second), (second, first)):
        found = trending((order[0], 1, START_MS), (order[1], 1, START_MS + DAY_MS))
        assert found.events_to_ms.tolist() == [START_MS + DAY_MS] and found.next_offset > 0


class Outage:
    """A sink that takes no similar items while ``is_away``; the trending list it only counts."""

    def __init__(self) -> None:
        self.is_away = False
        self.written: list[bytes] = []
        self.num_trending = 0

    async def write_trending(
        self, batch: RecommendationBatch, *, generated_at_ms: int
    ) -> WriteReport:
        self.num_trending += 1
        return WriteReport.of([Reply.ACCEPTED])

    async def write_similar(
        self, batch: RecommendationBatch, *, generated_at_ms: int
    ) -> WriteReport:
        reply = Reply.UNREACHABLE if self.is_away else Reply.ACCEPTED
        if not self.is_away:
            self.written += batch.user_ids
        return WriteReport.of([reply] * len(batch))


class Publisher:
    """Takes signals."""

    num_held = 0

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    async def publish(self, records: list[tuple[bytes, bytes]]) -> None:
        self.keys += [key for key, _ in records]


def loops_of(engine: Engine, session: GroupSession, state: WorkThread, **given: Any) -> WorkerLoops:
    """Return loops over an engine that owns item partition 0."""
    owner: Any = SimpleNamespace(assigned={("item-deltas", 0)})
    none: Any = None
    options: dict[str, Any] = {"publisher": none, "sink": none, "similar": none}
    options["trending_interval_s"] = 3_600
    return WorkerLoops(
        pipeline=make_pipeline(Settings(), engine),
        state=state,
        ownership=owner,
        on_ends=lambda ends: None,
        wall_ms=lambda: 1,
        monotonic_ms=lambda: 1,
        item_deltas="item-deltas",
        snapshot_interval_s=3_600,
        signals_interval_s=0.0,
        signals_per_s=1_000,
        slate_size=10,
        pacers={},
        losses=none,
        owed=none,
        session=session,
        why_over=session.why_over,
        kafka_timeout_s=30.0,
        ends=none,
        **{**options, **given},
    )


def engine_with_items() -> Engine:
    """Return an engine that owns thirty items, all of them news."""
    settings = Settings(topics={"partitions": 1, "item_partitions": 1})
    engine = make_engine(settings)
    lines = [event(number, user_id="u1", item_id=f"i{number}") for number in range(30)]
    engine.open_users(0), engine.open_items(0)
    pipeline = make_pipeline(settings, engine)
    for _, frame in pipeline.fold_interactions(Slab.from_values(lines)).frames:
        pipeline.fold_item_deltas(Slab.from_values([frame], topic="item-deltas"))
    return engine


def similar_writer(
    engine: Engine, session: GroupSession, state: WorkThread, sink: Outage, loops: WorkerLoops
) -> SimilarWriter:
    return SimilarWriter(
        engine=engine,
        state=state,
        write=sink.write_similar,
        pacers=loops._pacers,
        why_over=session.why_over,
        wall_ms=lambda: 1,
        tick_s=0.0,
    )


@pytest.fixture
def state() -> Iterator[WorkThread]:
    thread = WorkThread("state")
    yield thread
    thread.close()


def test_similar_items_that_redis_did_not_take_are_written_after_the_outage(
    state: WorkThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.similar_writer._PAUSE_S", 0.0)
    engine, session = engine_with_items(), GroupSession(timeout_s=60.0)
    session.renew(session.now_s())
    sink, publisher = Outage(), Publisher()
    loops = loops_of(engine, session, state, publisher=publisher)
    writer = similar_writer(engine, session, state, sink, loops)

    async def scenario() -> None:
        sink.is_away = True
        signals = asyncio.create_task(loops._signals())
        similar = asyncio.create_task(writer.run())
        while len(publisher.keys) < 30:  # noqa: ASYNC110  (Kafka gets them all the same)
            await asyncio.sleep(0)
        assert sink.written == []
        sink.is_away = False
        while len(set(sink.written)) < 30:
            assert not similar.done()
            await asyncio.sleep(0)
        for task in (signals, similar):
            task.cancel()

    asyncio.run(scenario())
    assert sorted(set(sink.written)) == sorted(publisher.keys)


class Looks:
    """Counts how often somebody looked for what Redis lost."""

    kind = "rec"
    num_lost = 0

    def __init__(self) -> None:
        self.count = 0

    async def look(self) -> int:
        self.count += 1
        return 0


def test_without_a_lease_nothing_is_written_for_others_and_with_one_it_is(
    state: WorkThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.similar_writer._PAUSE_S", 0.0)
    engine, session = engine_with_items(), GroupSession(timeout_s=3_600.0)
    sink, publisher, looks = Outage(), Publisher(), Looks()
    loops = loops_of(
        engine, session, state, publisher=publisher, sink=sink, trending_interval_s=0.0
    )
    losses = LossWatch([looks], on_lost=lambda *_: None, interval_s=0.0, why_over=session.why_over)
    writer = similar_writer(engine, session, state, sink, loops)

    async def a_while() -> tuple[int, int, int, int]:
        for _ in range(50):
            await asyncio.sleep(0.001)
        return len(publisher.keys), len(sink.written), sink.num_trending, looks.count

    async def scenario() -> None:
        parts = (loops._signals(), loops._trending(), losses.run(), writer.run())
        tasks = [asyncio.create_task(part) for part in parts]
        assert await a_while() == (0, 0, 0, 0)
        sink.is_away = True  # So that similar items are still owed when the lease ends.
        session.renew(session.now_s())
        while len(publisher.keys) < 30 or not (sink.num_trending and looks.count):  # noqa: ASYNC110
            await asyncio.sleep(0)
        session.end()
        before = await a_while()  # What was under way.
        sink.is_away = False
        assert await a_while() == before and sink.written == []
        session.renew(session.now_s())
        while len(set(sink.written)) < 30:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("of", ["the group", "the logs"])
def test_a_kafka_that_stays_silent_ends_the_worker_with_what_to_do(
    state: WorkThread, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    monkeypatch.setattr("consumers.loops._SILENCE_TICK_S", 0.0)
    looks: list[float] = []

    def clock() -> float:
        looks.append(1.0)
        if of == "the group":
            loops._num_ends += 1
        else:
            session.hear()
        return sum(looks)

    session = GroupSession(timeout_s=6.0, now_s=clock)
    loops = loops_of(make_engine(Settings()), session, state)
    with pytest.raises(ServerUnreachable, match="Kafka within 30 s.*goes on where it was"):
        asyncio.run(loops._silence())
    assert len(looks) == 31  # Thirty seconds after the first look.


@pytest.mark.redis
def test_a_later_trending_list_replaces_an_older_one_though_no_offset_moved(redis_url: str) -> None:
    first, second = ids_of_partition(1, 2)

    async def run() -> list[Reply]:
        client = connect_redis(redis_url)
        sink = RedisSink(client, epoch=0)
        reports = [
            await sink.write_trending(trending((item_id, 1, START_MS)), generated_at_ms=at)
            for at, item_id in enumerate((first, second))
        ]
        await client.aclose()
        return [Reply(int(report.replies[0])) for report in reports]

    with Redis.from_url(redis_url) as client:
        client.delete("rec:trending")
        assert asyncio.run(run()) == [Reply.ACCEPTED, Reply.ACCEPTED]
        assert second.encode() in client.hget("rec:trending", "items")
