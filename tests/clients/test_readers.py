"""Both readers over lists that the engine's own sink wrote, and what is said without any."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from shutil import which
from typing import Any

import numpy as np
import pytest
from redis import Redis

from consumers.redis_client import connect_redis
from consumers.sink import RedisSink
from headwater_client import (
    AsyncRecommendationReader,
    InvalidAddress,
    RecommendationReader,
    Recommendations,
    RedisUnreachable,
    UnreadableList,
    WrongEventLoop,
)
from local.redis import RedisServer
from stream.candidates import SOURCES, RecommendationBatch

pytestmark = pytest.mark.redis

Read = Callable[..., Any]


def read_sync(url: str, method: str, *words: Any, **options: Any) -> Any:
    named = {"fallback": options.pop("fallback")} if "fallback" in options else {}
    with RecommendationReader(url, **options) as reader:
        return getattr(reader, method)(*words, **named)


def read_async(url: str, method: str, *words: Any, **options: Any) -> Any:
    named = {"fallback": options.pop("fallback")} if "fallback" in options else {}

    async def run() -> Any:
        async with AsyncRecommendationReader(url, **options) as reader:
            return await getattr(reader, method)(*words, **named)

    return asyncio.run(run())


READERS: dict[str, Read] = {"sync": read_sync, "async": read_async}
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


def batch_of(users: Sequence[str], item: str, *, next_offset: int = 5) -> RecommendationBatch:
    """Build lists of two items each; both sources of an item are in their order."""
    count = len(users)
    return RecommendationBatch(
        partition=0,
        next_offset=next_offset,
        user_ids=tuple(user.encode() for user in users),
        user_rows=np.arange(count, dtype=np.int32),
        events_to_ms=np.full(count, 4_000, np.int64),
        now_ms=np.full(count, 4_000, np.int64),
        splits=np.arange(0, 2 * count + 1, 2, dtype=np.int64),
        item_ids=(item.encode(), b"second") * count,
        item_rows=np.zeros(2 * count, np.int32),
        scores=np.array([0.75, -1e-7] * count, np.float32),
        ranks=np.ones((2 * count, len(SOURCES)), np.uint16),
        heads=np.zeros((2 * count, 0), np.float32),
        model="fusion",
        model_sequence=0,
    )


def write_lists(
    url: str, users: Sequence[str], *, is_cluster: bool = False, explain: bool = False
) -> None:
    """Write each user's list, the trending list, and what is similar to ``i1``."""

    async def run() -> None:
        client = connect_redis(url, is_cluster=is_cluster)
        sink = RedisSink(client, epoch=1, backoff_ms=1, explain=explain)
        made_at = {"generated_at_ms": 10_000}
        reports = [
            await sink.write(batch_of(users, "first"), **made_at),
            await sink.write_trending(batch_of(["-"], "hot"), **made_at),
            await sink.write_similar(batch_of(["i1"], "like-i1"), **made_at),
        ]
        await client.aclose()
        assert all(report.is_answered.all() for report in reports)

    asyncio.run(run())


@pytest.fixture
def written(redis_url: str) -> str:
    """Give the URL of a Redis that holds the lists of ann and bob."""
    with Redis.from_url(redis_url) as client:
        client.flushdb()
    write_lists(redis_url, ["ann", "b}{éa"])
    return redis_url


@every_reader
def test_a_list_is_read_as_the_engine_wrote_it(read: Read, written: str) -> None:
    found = read(written, "recommendations", "ann", now_ms=lambda: 12_500)
    assert isinstance(found, Recommendations)
    assert found.ids == ["first", "second"]
    assert [item.score for item in found.items] == [0.75, -1e-7]
    assert found.items[0].sources == tuple(SOURCES)
    assert (found.generated_at, found.events_to, found.age_s) == (10_000, 4_000, 2.5)
    assert (found.model, found.is_fallback) == ("fusion", False)
    newer = read(written, "recommendations", "b}{éa", now_ms=lambda: 9_000)
    assert newer.version == found.version and newer.age_s == 0


@every_reader
def test_reasons_in_words_are_read_where_the_engine_writes_them(read: Read, written: str) -> None:
    assert [item.why for item in read(written, "recommendations", "ann").items] == ["", ""]
    write_lists(written, ["cid"], explain=True)
    first = read(written, "recommendations", "cid").items[0]
    assert first.sources == tuple(SOURCES)
    assert "trending (no. 1)" in first.why.split(", ")


@every_reader
def test_a_user_without_a_list_gets_what_trends(read: Read, written: str) -> None:
    found = read(written, "recommendations", "nobody")
    assert (found.ids[0], found.is_fallback) == ("hot", True)
    assert found == read(written, "trending").model_copy(update={"age_s": found.age_s})
    assert read(written, "recommendations", "nobody", fallback=False) is None


@every_reader
def test_similar_items(read: Read, written: str) -> None:
    assert read(written, "similar", "i1").ids == ["like-i1", "second"]
    assert read(written, "similar", "i2") is None


@every_reader
def test_many_users_are_one_question_each_user_once(read: Read, written: str) -> None:
    found = read(written, "many", ["nobody", "ann", "nobody", "b}{éa"])
    assert list(found) == ["nobody", "ann", "b}{éa"]
    assert [each.ids[0] for each in found.values()] == ["hot", "first", "first"]
    assert [each.is_fallback for each in found.values()] == [True, False, False]
    found = read(written, "many", ["nobody", "ann"], fallback=False)
    assert found["nobody"] is None and found["ann"].ids[0] == "first"
    assert read(written, "many", []) == {}


@every_reader
def test_before_the_first_list_there_is_none(read: Read, redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.flushdb()
    assert read(redis_url, "recommendations", "ann") is None
    assert read(redis_url, "trending") is None
    assert read(redis_url, "many", ["ann"]) == {"ann": None}


@every_reader
def test_a_cluster_is_read_like_a_single_server(read: Read, cluster: Any) -> None:
    servers, _ = cluster
    users = [f"u{number}" for number in range(40)]
    write_lists(servers[0].url, users, is_cluster=True)
    found = read(servers[1].url, "many", [*users, "nobody"], is_cluster=True)
    assert [each.is_fallback for each in found.values()] == [False] * 40 + [True]
    assert read(servers[2].url, "recommendations", "u7", is_cluster=True).ids[0] == "first"
    with pytest.raises(InvalidAddress, match="is_cluster=True"):
        read(servers[0].url, "many", users)


@every_reader
def test_a_single_server_that_is_called_a_cluster_says_so(read: Read, written: str) -> None:
    with pytest.raises(InvalidAddress, match="is_cluster=False"):
        read(written, "trending", is_cluster=True)


@every_reader
def test_what_is_no_list_is_named(read: Read, redis_url: str) -> None:
    client = Redis.from_url(redis_url)
    client.flushdb()
    client.set("rec:{text}", "x")
    client.hset("rec:{half}", "items", "[]")
    good = {"version": "v", "generated_at": "1", "events_to": "1", "model": "m"}
    client.hset("rec:{broken}", mapping={**good, "items": "[{]"})
    client.hset("rec:{other}", mapping={**good, "items": '[{"score": 1}]'})
    client.close()
    for user in ("text", "half", "broken", "other"):
        with pytest.raises(UnreadableList, match="expected"):
            read(redis_url, "recommendations", user)
        with pytest.raises(UnreadableList, match="expected"):
            read(redis_url, "many", [user])


def test_an_async_reader_in_another_event_loop_is_told_so(written: str) -> None:
    reader = AsyncRecommendationReader(written)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert first.run(reader.recommendations("ann")) is not None
        for call in (reader.recommendations("ann"), reader.many(["ann"]), reader.close()):
            with pytest.raises(WrongEventLoop, match="a reader in each"):
                second.run(call)
        assert first.run(reader.trending()) is not None
        first.run(reader.close())


def read_at_once_sync(url: str, count: int, **options: Any) -> list[Any]:
    with RecommendationReader(url, **options) as reader, ThreadPoolExecutor(count) as threads:
        reads = [threads.submit(reader.recommendations, "ann") for _ in range(count)]
        return [each.result() for each in as_completed(reads)]


def read_at_once_async(url: str, count: int, **options: Any) -> list[Any]:
    async def run() -> list[Any]:
        async with AsyncRecommendationReader(url, **options) as reader:
            return await asyncio.gather(*(reader.recommendations("ann") for _ in range(count)))

    return asyncio.run(run())


read_at_once = pytest.mark.parametrize("read", [read_at_once_sync, read_at_once_async])


@read_at_once
def test_more_reads_at_once_than_connections_wait_for_room(read: Read, written: str) -> None:
    lists = read(written, 40, max_connections=2, timeout_ms=20_000)
    assert [each.ids for each in lists] == [lists[0].ids] * 40


@read_at_once
def test_a_read_without_room_says_what_is_too_small(read: Read, free_port: Any) -> None:
    silent = socket.create_server(("127.0.0.1", port := free_port()))
    expected = pytest.raises(RedisUnreachable, match="one of 1 connections .* max_connections too")
    with silent, expected:
        read(f"redis://127.0.0.1:{port}/0", 2, max_connections=1, timeout_ms=200)


@every_reader
def test_a_cluster_has_no_databases(read: Read) -> None:
    with pytest.raises(InvalidAddress, match="a node of a cluster, redis-py says: .*db"):
        read("redis://127.0.0.1:1/3", "trending", is_cluster=True)


@every_reader
def test_a_database_that_redis_has_not_is_no_list(read: Read, written: str) -> None:
    with pytest.raises(InvalidAddress, match="a database that Redis at .* see the URL's end"):
        read(f"{written.rpartition('/')[0]}/9999", "trending")


@every_reader
def test_a_redis_that_is_away_is_named_without_its_password(
    read: Read, free_port: Callable[[], int]
) -> None:
    place = f"127.0.0.1:{free_port()}"
    for options in ({}, {"is_cluster": True}):
        with pytest.raises(RedisUnreachable, match=f"expected Redis at {place}") as caught:
            read(f"redis://u:s3cr3t@{place}/0", "trending", **options)
        assert "s3cr3t" not in str(caught.value)


@every_reader
def test_a_redis_that_hangs_is_given_up_within_the_bound(
    read: Read, redis_server: Callable[..., RedisServer]
) -> None:
    server = redis_server()
    with Redis.from_url(server.url) as client:
        client.execute_command("CLIENT", "PAUSE", 60_000)
    with pytest.raises(RedisUnreachable, match="in time"):
        read(server.url, "trending", timeout_ms=50)


@every_reader
def test_a_password_that_is_missing_is_named(
    read: Read, redis_server: Callable[..., RedisServer]
) -> None:
    server = redis_server()
    with Redis.from_url(server.url) as client:
        client.config_set("requirepass", "s3cr3t")
    with pytest.raises(RedisUnreachable, match="password"):
        read(server.url, "trending")


@every_reader
def test_an_address_that_is_none_is_refused_without_being_shown(read: Read) -> None:
    for url in ("nonsense", "redis://u:s3cr3t#@host:1/0", "http://host"):
        for is_cluster in (False, True):
            with pytest.raises(InvalidAddress, match="redis://") as caught:
                read(url, "trending", is_cluster=is_cluster)
            assert "s3cr3t" not in str(caught.value)


@every_reader
def test_an_address_or_id_of_another_type_is_named(read: Read) -> None:
    for url in (None, 6379, b"redis://127.0.0.1:1/0"):
        with pytest.raises(InvalidAddress, match=f"redis: expected .* got {type(url).__name__}"):
            read(url, "trending")
    nowhere = "redis://127.0.0.1:1/0"
    for method, name in (("recommendations", "user_id"), ("similar", "item_id")):
        for value in (None, b"ann"):
            with pytest.raises(InvalidAddress, match=f"{name}: expected str, got"):
                read(nowhere, method, value)
    with pytest.raises(InvalidAddress, match="user_ids: expected several ids, got a single str"):
        read(nowhere, "many", "ann")
    with pytest.raises(InvalidAddress, match="user_ids: expected several ids, got a single None"):
        read(nowhere, "many", None)
    for options, expected in (
        ({"timeout_ms": "1"}, "timeout_ms: expected a number, got str"),
        ({"connect_timeout_ms": -1}, "connect_timeout_ms: expected a number from 0 on, got -1"),
        ({"connect_timeout_ms": float("inf")}, "connect_timeout_ms: .* got inf"),
        ({"max_connections": 0}, "max_connections: expected a whole number from 1 on, got 0"),
        ({"max_connections": 2.5}, "max_connections: expected a whole number"),
        ({"client_options": {"no_such_option": 1}}, "client_options: .*no_such_option"),
        ({"client_options": None}, "client_options: expected a mapping .*, got NoneType"),
        ({"client_options": {"decode_responses": True}}, "not set here, got decode_responses"),
    ):
        with pytest.raises(InvalidAddress, match=expected):
            read(nowhere, "trending", **options)
    for value in (7, ["bob"]):
        with pytest.raises(InvalidAddress, match="user_id: expected str, got"):
            read(nowhere, "many", ["ann", value])
    with pytest.raises(InvalidAddress, match="user_id: expected text, got half a character"):
        read(nowhere, "recommendations", "\ud800")


def test_redis_cli_reads_the_same(written: str) -> None:
    if which("redis-cli") is None:
        pytest.skip("there is no redis-cli on the PATH")
    done = subprocess.run(
        ["redis-cli", "-u", written, "HGET", "rec:{ann}", "items"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith('[{"id":"first","score":0.75,"sources":[')
