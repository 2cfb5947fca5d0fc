"""Erasures against a real Redis: never forgotten, whatever Redis does."""

import asyncio

import pytest
from redis import Redis

from consumers.erasures import Erasures
from consumers.redis_client import connect_redis
from consumers.sink import RedisSink
from consumers.sink_keys import list_keys
from consumers.sink_replies import Reply, WriteReport
from stream.errors import HeadwaterError
from stream.versions import erase_version

pytestmark = pytest.mark.redis


def with_erasures(url, use):
    """Run ``await use(erasures)``; the loop runs beside it."""

    async def run():
        client = connect_redis(url)
        erasures = Erasures(RedisSink(client, epoch=3, max_attempts=1), epoch=3, max_waiting=9)
        task = asyncio.create_task(erasures.run())
        try:
            async with asyncio.timeout(30):
                return await use(erasures)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.aclose()

    return asyncio.run(run())


async def settled(erasures):
    while len(erasures):  # noqa: ASYNC110 (the test may not reach into its event)
        await asyncio.sleep(0.005)


def tombstone(url, user_id):
    with Redis.from_url(url) as client:
        return client.get(list_keys(user_id)[1])


def test_an_erased_user_gets_a_tombstone_of_the_erases_version(redis_url):
    async def use(erasures):
        erasures.add([(b"erased-1", 7), (b"erased-2", 8), (b"erased-1", 9)])
        await settled(erasures)

    with_erasures(redis_url, use)
    assert tombstone(redis_url, b"erased-1").decode() == erase_version(epoch=3, offset=9)
    assert tombstone(redis_url, b"erased-2").decode() == erase_version(epoch=3, offset=8)


def test_an_erasure_waits_until_redis_is_back(redis_server):
    server = redis_server()

    async def use(erasures):
        server.kill()
        erasures.add([(b"u1", 7)])
        await asyncio.sleep(0.05)
        assert len(erasures) == 1
        server.start()
        await settled(erasures)

    with_erasures(server.url, use)
    assert tombstone(server.url, b"u1").decode() == erase_version(epoch=3, offset=7)


class HalfASink:
    """A cluster with one node away: whoever's list lies there gets no answer."""

    def __init__(self):
        self.erased = set()
        self.num_asked = 0

    async def erase_all(self, erasures):
        self.num_asked += len(erasures)
        is_away = [user_id.startswith(b"away") for user_id, _ in erasures]
        self.erased |= {user_id for user_id, _ in erasures if not user_id.startswith(b"away")}
        replies = [Reply.CLUSTERDOWN if away else Reply.ACCEPTED for away in is_away]
        return WriteReport.of(replies, "CLUSTERDOWN" if any(is_away) else None)


@pytest.mark.parametrize("num_away", [1, 256, 700])
def test_those_of_a_node_that_is_away_do_not_hold_up_the_others(num_away, monkeypatch, caplog):
    monkeypatch.setattr("consumers.erasures._RETRY_S", 0.0)
    away = [b"away-%d" % number for number in range(num_away)]
    others = [b"user-%d" % number for number in range(600)]

    async def run():
        sink = HalfASink()
        erasures = Erasures(sink, epoch=3, max_waiting=2_000)
        erasures.add([(user_id, number) for number, user_id in enumerate(away + others)])
        task = asyncio.create_task(erasures.run())
        try:
            async with asyncio.timeout(30):
                while len(sink.erased) < len(others):  # noqa: ASYNC110
                    await asyncio.sleep(0)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return sink, set(erasures._waiting)

    sink, waiting = asyncio.run(run())
    assert sink.erased == set(others) and waiting == set(away)
    assert sink.num_asked <= 2 * (num_away + len(others))
    assert len([each for each in caplog.records if "erasures wait" in each.message]) == 1


def waiting_erasures(max_waiting=9):
    """Return erasures without a Redis: whatever is added waits."""
    return Erasures(None, epoch=3, max_waiting=max_waiting)


def test_one_more_than_the_bound_ends_the_worker_and_says_which_setting():
    async def run():
        erasures = waiting_erasures(max_waiting=2)
        erasures.add([(b"u1", 7), (b"u2", 8), (b"u1", 9)])
        with pytest.raises(HeadwaterError, match=r"at most 2 .* got 3: .*SINK__MAX_ERASURES"):
            erasures.add([(b"u3", 10)])

    asyncio.run(run())


def test_the_bound_holds_at_a_restore_too():
    async def run():
        before, after = waiting_erasures(), waiting_erasures(max_waiting=1)
        before.add([(b"u1", 7), (b"u2", 8)])
        with pytest.raises(HeadwaterError, match="at most 1 erasures"):
            after.restore(before.encode())

    asyncio.run(run())


def test_what_waits_travels_in_a_snapshot_and_the_later_erase_wins():
    async def run():
        before, after = waiting_erasures(), waiting_erasures()
        before.add([(b"u1", 7), (b"\xff}{", 8)])
        after.add([(b"u1", 9)])
        after.restore(before.encode())
        return dict(after._waiting)

    assert asyncio.run(run()) == {
        b"u1": erase_version(epoch=3, offset=9),
        b"\xff}{": erase_version(epoch=3, offset=8),
    }


def test_who_is_erased_anew_while_the_first_erase_is_written_waits_on():
    async def run():
        erasures = waiting_erasures()
        erasures.add([(b"u1", 7), (b"u2", 8)])
        under_way = list(erasures._waiting.items())
        erasures.add([(b"u1", 9)])
        erasures._settle(under_way, WriteReport.of([Reply.ACCEPTED] * 2))
        return dict(erasures._waiting)

    assert asyncio.run(run()) == {b"u1": erase_version(epoch=3, offset=9)}
