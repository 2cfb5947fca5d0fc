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
    """A sink that takes no similar items while ``is_away``."""

    def __init__(self) -> None:
        self.is_away = False
        self.written: list[bytes] = []

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
        trending_interval_s=3_600,
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


@pytest.fixture
def state() -> Iterator[WorkThread]:
    thread = WorkThread("state")
    yield thread
    thread.close()


def test_similar_items_that_redis_did_not_take_are_written_after_the_outage(
    state: WorkThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.similar_writer._PAUSE_S", 0.0)
    settings = Settings(topics={"partitions": 1, "item_partitions": 1})
    engine = make_engine(settings)
    lines = [event(number, user_id="u1", item_id=f"i{number}") for number in range(30)]
    engine.open_users(0), engine.open_items(0)
    pipeline = make_pipeline(settings, engine)
    for _, frame in pipeline.fold_interactions(Slab.from_values(lines)).frames:
        pipeline.fold_item_deltas(Slab.from_values([frame], topic="item-deltas"))
    session = GroupSession(timeout_s=60.0)
    session.renew(session.now_s())
    sink, publisher = Outage(), Publisher()
    loops = loops_of(engine, session, state, publisher=publisher)
    writer = SimilarWriter(
        engine=engine,
        state=state,
        write=sink.write_similar,
        pacers=loops._pacers,
        why_over=session.why_over,
        wall_ms=lambda: 1,
        tick_s=0.0,
    )

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


def test_without_a_lease_no_signal_is_published(state: WorkThread) -> None:
    engine = make_engine(Settings())
    publisher = Publisher()
    loops = loops_of(engine, GroupSession(timeout_s=60.0), state, publisher=publisher)

    async def scenario() -> None:
        task = asyncio.create_task(loops._signals())
        for _ in range(3):
            await asyncio.sleep(0.02)
        assert not task.done()
        task.cancel()

    asyncio.run(scenario())
    assert publisher.keys == [] and not loops._pacers


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
