"""What a Redis refuses, or does not answer, is reported and never raised."""

import asyncio

import pytest
from redis import Redis

from consumers.redis_client import connect_redis
from consumers.sink import RedisSink
from consumers.sink_keys import list_keys
from consumers.sink_replies import Reply
from stream.versions import erase_version
from tests.consumers.test_sink import batch_of, kinds, with_sink

pytestmark = pytest.mark.redis


def test_an_outage_is_reported_and_never_raised(redis_server):
    server = redis_server()

    async def use(sink):
        before = await sink.write(batch_of([b"u1"]), generated_at_ms=1)
        server.kill()
        during = await sink.write(batch_of([b"u1", b"u2"], next_offset=11), generated_at_ms=1)
        erased = await sink.erase(b"u3", erase_version(epoch=1, offset=7))
        server.start()
        after = await sink.write(batch_of([b"u1", b"u2"], next_offset=11), generated_at_ms=1)
        return before, during, erased, after

    before, during, erased, after = with_sink(server.url, use)
    assert kinds(before) == [Reply.ACCEPTED]
    assert kinds(during) == [Reply.UNREACHABLE] * 2
    assert during.is_outage
    assert not during.is_answered.any()
    assert erased is Reply.UNREACHABLE
    assert kinds(after) == [Reply.ACCEPTED] * 2  # Restarted empty: scripts loaded anew.


def test_a_full_server_takes_nothing_and_says_so(redis_server):
    server = redis_server(properties={"maxmemory": "1", "maxmemory-policy": "noeviction"})
    report = with_sink(server.url, lambda sink: sink.write(batch_of([b"u1"]), generated_at_ms=1))
    assert kinds(report) == [Reply.OOM]


def test_erase_deletes_the_list_of_a_full_server(redis_server):
    server = redis_server()
    client = Redis.from_url(server.url)

    async def use(sink):
        await sink.write(batch_of([b"u1"]), generated_at_ms=1)
        client.config_set("maxmemory", 1)
        return await sink.erase(b"u1", erase_version(epoch=1, offset=99))

    with_sink(server.url, use)
    assert not client.exists("rec:{u1}")
    client.close()


def test_a_replica_refuses_writes_and_a_promoted_one_takes_them(redis_server):
    server = redis_server()
    client = Redis.from_url(server.url)

    async def use(sink):
        client.replicaof("127.0.0.1", 1)
        refused = await sink.write(batch_of([b"u1"]), generated_at_ms=1)
        client.replicaof("NO", "ONE")
        return kinds(refused), kinds(await sink.write(batch_of([b"u1"]), generated_at_ms=1))

    refused, taken = with_sink(server.url, use)
    assert refused == [Reply.READONLY]
    assert taken == [Reply.ACCEPTED]
    client.close()


def test_a_wrong_password_is_reported_as_refused(redis_server):
    server = redis_server()
    client = Redis.from_url(server.url)
    client.config_set("requirepass", "secret")
    report = with_sink(
        server.url.replace("redis://", "redis://:wrong@"),
        lambda sink: sink.write(batch_of([b"u1"]), generated_at_ms=1),
    )
    assert kinds(report) == [Reply.REFUSED]
    assert "wrong@" not in str(report.error)
    client.close()


def test_who_may_not_ask_what_is_gone_is_told_once_without_ids(redis_server, caplog):
    server = redis_server()
    client = Redis.from_url(server.url)
    client.execute_command("ACL", "SETUSER", "ann", "on", "nopass", "~*", "+@all", "-exists")

    async def ask(sink):
        return [await sink.find_missing([list_keys(b"u-marked")[0]]) for _ in range(2)]

    assert with_sink(server.url.replace("redis://", "redis://ann:any@"), ask) == [None, None]
    (said,) = [each.getMessage() for each in caplog.records if "EXISTS" in each.getMessage()]
    assert "+exists" in said and "u-marked" not in caplog.text
    client.close()


def test_a_server_that_does_not_answer_costs_a_bounded_time():
    async def run():
        release = asyncio.Event()

        async def swallow(reader, writer):
            await release.wait()
            writer.close()

        silent = await asyncio.start_server(swallow, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        client = connect_redis(f"redis://127.0.0.1:{port}/0", timeout_ms=30)
        sink = RedisSink(client, epoch=1, backoff_ms=1, timeout_ms=100, max_attempts=2)
        report = await sink.write(batch_of([b"u1"]), generated_at_ms=1)
        await client.aclose()
        release.set()
        silent.close()
        await silent.wait_closed()
        return kinds(report)

    assert asyncio.run(run()) == [Reply.UNREACHABLE]
