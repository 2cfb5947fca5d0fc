import asyncio
import json

import numpy as np
import pytest
from redis import Redis

from consumers.redis_client import connect_redis
from consumers.sink import RedisSink
from consumers.sink_keys import list_keys
from consumers.sink_replies import Reply
from stream.candidates import SOURCES, RecommendationBatch
from stream.errors import ConfigurationError
from stream.versions import erase_version
from tests.chaos.fault_proxy import Fault, FaultProxy
from tests.list_versions import parse_version

pytestmark = pytest.mark.redis


def batch_of(users, *, next_offset=10, num_items=3, score=0.5, model_sequence=0):
    """Build a batch that gives every user the items item-0 ... item-(n-1)."""
    total = len(users) * num_items
    ranks = np.zeros((total, len(SOURCES)), np.uint16)
    ranks[:, 5] = 1
    return RecommendationBatch(
        partition=0,
        next_offset=next_offset,
        user_ids=tuple(users),
        user_rows=np.arange(len(users), dtype=np.int32),
        events_to_ms=np.full(len(users), 1_600_000_000_000, np.int64),
        now_ms=np.zeros(len(users), np.int64),
        splits=np.arange(len(users) + 1, dtype=np.int64) * num_items,
        item_ids=tuple(b"item-%d" % (item % num_items) for item in range(total)),
        item_rows=np.zeros(total, np.int32),
        scores=np.full(total, score, np.float32),
        ranks=ranks,
        heads=np.zeros((total, 0), np.float32),
        model="fusion",
        model_sequence=model_sequence,
    )


def with_sink(url, use, **options):
    """Run ``use(sink)`` on an event loop of its own against one server."""

    async def run():
        client = connect_redis(url, timeout_ms=options.pop("socket_ms", 2_000))
        try:
            return await use(RedisSink(client, epoch=1, backoff_ms=1, **options))
        finally:
            await client.aclose()

    return asyncio.run(run())


@pytest.fixture
def redis(redis_url):
    client = Redis.from_url(redis_url)
    client.flushdb()
    yield client
    client.close()


def kinds(report):
    return [Reply(int(code)) for code in report.replies]


def test_a_list_is_a_hash_that_plain_commands_read(redis, redis_url):
    report = with_sink(redis_url, lambda sink: sink.write(batch_of([b"u1"]), generated_at_ms=77))
    fields = redis.hgetall("rec:{u1}")
    assert report.counts == {"accepted": 1}
    assert json.loads(fields[b"items"])[0] == {
        "id": "item-0",
        "score": 0.5,
        "sources": ["trending"],
    }
    assert parse_version(fields[b"version"].decode()).next_offset == 10
    assert (fields[b"generated_at"], fields[b"events_to"]) == (b"77", b"1600000000000")
    assert fields[b"model"] == b"fusion"
    assert 0 < redis.pttl("rec:{u1}") <= 7 * 86_400_000


def test_a_list_says_in_words_why_where_that_is_asked_for(redis, redis_url):
    def write(sink):
        return sink.write(batch_of([b"u1"]), generated_at_ms=77)

    with_sink(redis_url, write, explain=True)
    items = json.loads(redis.hget("rec:{u1}", "items"))
    assert [item["why"] for item in items] == ["trending (no. 1)"] * 3


def test_only_a_newer_version_replaces_a_list(redis, redis_url):
    async def use(sink):
        new = await sink.write(batch_of([b"u1"], next_offset=20), generated_at_ms=5)
        old = await sink.write(batch_of([b"u1"], next_offset=19), generated_at_ms=6)
        again = await sink.write(batch_of([b"u1"], next_offset=20), generated_at_ms=5)
        later = await sink.write(batch_of([b"u1"], next_offset=20), generated_at_ms=6)
        return [kinds(report)[0] for report in (new, old, again, later)]

    assert with_sink(redis_url, use) == [Reply.ACCEPTED, Reply.STALE, Reply.SAME, Reply.ACCEPTED]
    assert redis.hget("rec:{u1}", "generated_at") == b"6"


def test_an_erased_user_gets_no_list_made_before_the_erase(redis, redis_url):
    async def use(sink):
        await sink.write(batch_of([b"a}b", b"v"], next_offset=5), generated_at_ms=1)
        erased = await sink.erase(b"a}b", erase_version(epoch=1, offset=7))
        zombie = await sink.write(batch_of([b"a}b", b"v"], next_offset=7), generated_at_ms=9)
        assert not redis.exists("rec:{a}b}")
        after = await sink.write(batch_of([b"a}b"], next_offset=8), generated_at_ms=9)
        repeated = await sink.erase(b"a}b", erase_version(epoch=1, offset=7))
        return erased, kinds(zombie), kinds(after), repeated

    erased, zombie, after, repeated = with_sink(redis_url, use)
    assert erased is Reply.ACCEPTED
    assert zombie == [Reply.BLOCKED, Reply.ACCEPTED]
    assert after == [Reply.ACCEPTED]
    assert repeated is Reply.SAME  # A replay meets the erase again: the later list stays.
    assert redis.exists("rec:{a}b}")
    assert redis.pttl(list_keys(b"a}b")[1]) > 0


def test_similar_and_trending_lists_have_keys_of_their_own(redis, redis_url):
    async def use(sink):
        await sink.write_similar(batch_of([b"i1", b"i2"]), generated_at_ms=1)
        await sink.write_trending(batch_of([b""]), generated_at_ms=1)

    with_sink(redis_url, use)
    assert sorted(redis.keys()) == [b"rec:trending", b"sim:{i1}", b"sim:{i2}"]


def test_batches_are_cut_into_bounded_pipelines_and_reported_in_order(redis, redis_url):
    users = [b"u%d" % number for number in range(23)]

    async def use(sink):
        await sink.write(batch_of(users[::2], next_offset=50), generated_at_ms=1)
        report = await sink.write(batch_of(users, next_offset=40), generated_at_ms=1)
        return kinds(report), sink.counts

    replies, counts = with_sink(redis_url, use, max_pipeline=4)
    assert replies == [Reply.STALE, Reply.ACCEPTED] * 11 + [Reply.STALE]
    assert counts == {"accepted": 12 + 11, "stale": 12}


def test_a_list_whose_scores_are_no_numbers_is_never_sent(redis, redis_url):
    batch = batch_of([b"u1", b"u2"])
    batch.scores[4] = np.nan
    report = with_sink(redis_url, lambda sink: sink.write(batch, generated_at_ms=1))
    assert kinds(report) == [Reply.ACCEPTED, Reply.INVALID]
    assert report.is_answered.tolist() == [True, False]
    assert not report.is_outage
    assert redis.keys() == [b"rec:{u1}"]


def test_scripts_are_loaded_again_after_the_server_forgot_them(redis, redis_url):
    async def use(sink):
        first = await sink.write(batch_of([b"u1"]), generated_at_ms=1)
        before = sink.num_script_loads
        redis.script_flush()
        second = await sink.write(batch_of([b"u2"]), generated_at_ms=1)
        await sink.write(batch_of([b"u3"]), generated_at_ms=1)
        assert sink.num_script_loads == before + 1
        return kinds(first) + kinds(second)

    assert with_sink(redis_url, use, max_attempts=1) == [Reply.ACCEPTED] * 2


def test_every_worker_notices_a_server_that_forgot_its_scripts(redis, redis_url):
    async def run():
        clients = [connect_redis(redis_url) for _ in range(2)]
        sinks = [RedisSink(client, epoch=1) for client in clients]
        for offset in (1, 2):
            for sink in sinks:
                await sink.write(batch_of([b"u1"], next_offset=offset), generated_at_ms=1)
            redis.script_flush()
        for client in clients:
            await client.aclose()
        return [sink.num_script_loads for sink in sinks]

    assert asyncio.run(run()) == [2, 2]


def test_a_user_who_may_not_load_scripts_is_told_so(redis, redis_url):
    redis.acl_setuser("poor", enabled=True, nopass=True, keys="*", commands=["+@all", "-script"])
    url = redis_url.replace("//", "//poor:any@")
    report = with_sink(url, lambda sink: sink.write(batch_of([b"u1"]), generated_at_ms=1))
    redis.acl_deluser("poor")
    assert report.is_outage and "NoPermissionError" in report.error and "script" in report.error


def test_a_server_that_fails_over_and_back_is_noticed_each_time(redis_server):
    """A server knows scripts still that were loaded before its time as a replica."""
    first, second = redis_server(), redis_server()

    async def use(sink):
        await sink.write(batch_of([b"u1"]), generated_at_ms=1)
        first_life = sink._client
        sink._client = connect_redis(second.url)
        await sink.write(batch_of([b"u1"]), generated_at_ms=1)
        await sink._client.aclose()
        sink._client = first_life
        await sink.write(batch_of([b"u1"], next_offset=11), generated_at_ms=1)
        return sink.num_script_loads

    assert with_sink(first.url, use, max_attempts=1) == 3


def test_a_server_that_refuses_our_scripts_is_not_another_one_at_each_look(redis, redis_url):
    """It would be scanned for erased users at each look, and all lists be made anew."""
    redis.acl_setuser("poor", enabled=True, nopass=True, keys="*", commands=["+@all"])

    async def use(sink):
        await sink.probe()
        redis.acl_setuser("poor", commands=["-script"])
        redis.script_flush()
        for _ in range(3):
            await sink.probe()
        refused = sink.num_script_loads
        redis.acl_setuser("poor", commands=["+script"])
        await sink.probe()
        return refused, sink.num_script_loads

    found = with_sink(redis_url.replace("//", "//poor:any@"), use)
    redis.acl_deluser("poor")
    assert found == (1, 2)


def test_a_server_that_took_scripts_without_an_answer_is_noticed_all_the_same(redis, redis_url):
    """Else it knows them the next time, and passes for the server of before."""

    async def use(sink):
        load = sink._client.script_load

        async def cut_off(script):
            await load(script)
            raise ConnectionError

        sink._client.script_load = cut_off
        await sink.write(batch_of([b"u1"]), generated_at_ms=1)
        sink._client.script_load = load
        report = await sink.write(batch_of([b"u1"], next_offset=11), generated_at_ms=1)
        return kinds(report), sink.num_script_loads

    assert with_sink(redis_url, use, max_attempts=1) == ([Reply.ACCEPTED], 1)


def test_who_writes_nothing_notices_another_server_too(redis, redis_url):
    async def use(sink):
        for _ in range(2):
            await sink.write(batch_of([b"u1"]), generated_at_ms=1)
            before = redis.hgetall("rec:{u1}"), redis.dbsize()
            redis.script_flush()
            await sink.probe()
            await sink.probe()
            assert (redis.hgetall("rec:{u1}"), redis.dbsize()) == before
        return sink.num_script_loads

    assert with_sink(redis_url, use) == 3


def test_writes_at_once_load_scripts_once(redis, redis_url):
    async def use(sink):
        batches = [batch_of([b"u%d" % number]) for number in range(8)]
        reports = await asyncio.gather(*(sink.write(batch, generated_at_ms=1) for batch in batches))
        return [kinds(report) for report in reports], sink.num_script_loads

    found = with_sink(redis_url, use, max_attempts=1, max_pipelines=8)
    assert found == ([[Reply.ACCEPTED]] * 8, 1)


def test_bounds_below_one_are_refused(redis_url):
    async def use(_):
        with pytest.raises(ConfigurationError, match="at least 1"):
            RedisSink(connect_redis(redis_url), epoch=1, max_pipeline=0)

    with_sink(redis_url, use)


def test_an_empty_batch_is_nothing_to_do(redis, redis_url):
    report = with_sink(redis_url, lambda sink: sink.write(batch_of([]), generated_at_ms=1))
    assert len(report) == 0
    assert redis.keys() == []


@pytest.mark.parametrize("after_bytes", [1, 120, 137, 200])
def test_a_line_cut_amid_the_replies_loses_and_doubts_nothing(redis_server, after_bytes):
    """The writes landed, the replies were lost: the next try finds its own version there."""
    server = redis_server()
    users = [b"u%d" % number for number in range(40)]

    async def run(url):
        client = connect_redis(url)
        sink = RedisSink(client, epoch=1, backoff_ms=1, max_attempts=4)
        report = await sink.write(batch_of(users), generated_at_ms=1)
        await client.aclose()
        return report

    fault = Fault(cut_after_bytes=after_bytes, num_cuts=2)
    with FaultProxy(server.port, fault=fault) as proxy:
        report = asyncio.run(run(proxy.redis_url))
        assert proxy.num_cut == 2
    assert set(kinds(report)) <= {Reply.ACCEPTED, Reply.SAME}
    with Redis.from_url(server.url) as client:
        assert client.dbsize() == len(users)


def test_a_key_of_another_type_is_replaced_and_holds_up_nobody(redis, redis_url):
    redis.set("rec:{u1}", "hello")
    list_key, stone_key = list_keys(b"u2")
    redis.hset(stone_key, "a", "b")

    async def use(sink):
        return await sink.write(batch_of([b"u1", b"u2"]), generated_at_ms=1)

    report = with_sink(redis_url, use)
    assert kinds(report) == [Reply.ACCEPTED, Reply.ACCEPTED]
    assert redis.hget(list_key, "model") == b"fusion"
