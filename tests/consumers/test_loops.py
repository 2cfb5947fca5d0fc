"""What the loops write that is of more than one partition."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from redis import Redis

from consumers.configuration import make_engine, make_pipeline
from consumers.loops import trending_of
from consumers.redis_client import connect_redis
from consumers.sink import RedisSink
from consumers.sink_replies import Reply
from state.hashing import partition_of
from stream.candidates import RecommendationBatch
from stream.replay import Replay
from stream.settings import Settings
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
