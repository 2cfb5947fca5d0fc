"""The users of Redis that docker/ ships: enough for what each does, and nothing more."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from consumers.redis_client import check_redis, connect_redis
from consumers.sink import RedisSink
from consumers.sink_replies import Reply
from local.redis import RedisServer, redis_binaries
from stream.candidates import SOURCES, RecommendationBatch
from stream.versions import erase_version
from tests.containers import COMPOSE, FOLDER, read_yaml

pytestmark = pytest.mark.redis

EXAMPLE = FOLDER / "redis" / "users.acl.example"


@pytest.fixture(params=sorted(redis_binaries()))
def server(
    request: pytest.FixtureRequest,
    redis_server: Callable[..., RedisServer],
    tmp_path: Path,
) -> Iterator[RedisServer]:
    """Give a server that has read the example as its file of users."""
    users = tmp_path / "users.acl"
    users.write_text("user default on nopass ~* &* +@all\n")  # For the fixture's own PING.
    started = redis_server(
        binary=redis_binaries()[request.param], properties={"aclfile": str(users)}
    )
    with Redis.from_url(started.url) as admin:
        text = EXAMPLE.read_text()
        version = admin.info("server")["redis_version"].split(".")
        if [int(number) for number in version[:2]] < [7, 2]:
            text = text.replace(" +client|setinfo", "")  # Not known before.
        users.write_text(text)
        admin.execute_command("ACL", "LOAD")
        yield started


def url_of(server: RedisServer, user: str) -> str:
    return f"redis://{user}:{user.upper()}-PASSWORD@127.0.0.1:{server.port}/0"


def one_list() -> RecommendationBatch:
    return RecommendationBatch(
        partition=0,
        next_offset=10,
        user_ids=(b"u1",),
        user_rows=np.zeros(1, np.int32),
        events_to_ms=np.zeros(1, np.int64),
        now_ms=np.zeros(1, np.int64),
        splits=np.array([0, 1]),
        item_ids=(b"i1",),
        item_rows=np.zeros(1, np.int32),
        scores=np.ones(1, np.float32),
        ranks=np.ones((1, len(SOURCES)), np.uint16),
        heads=np.zeros((1, 0), np.float32),
        model="fusion",
        model_sequence=0,
    )


def denials(server: RedisServer) -> list[str]:
    """Return what Redis denied to whom, as the operator sees it."""
    with Redis.from_url(url_of(server, "operator")) as operator:
        return [str(entry) for entry in operator.acl_log() if "setinfo" not in str(entry)]


def test_a_worker_may_do_all_that_it_does(server: RedisServer) -> None:
    async def work() -> list[Reply]:
        client = connect_redis(url_of(server, "worker").replace("//worker", "//headwater"))
        try:
            await check_redis(client)
            sink = RedisSink(client, epoch=1)
            reports = [
                await sink.write(one_list(), generated_at_ms=1),
                await sink.write(one_list(), generated_at_ms=2),
                await sink.write_similar(one_list(), generated_at_ms=1),
                await sink.write_trending(one_list(), generated_at_ms=1),
            ]
            missing = await sink.find_missing([b"rec:{u1}", b"sim:{i9}"])
            assert missing is not None and missing.tolist() == [False, True]
            erased = await sink.erase(b"u1", erase_version(epoch=1, offset=11))
            again = await sink.erase(b"u1", erase_version(epoch=1, offset=12))
            stone = (b"erased:{1}:0000000000000001", erase_version(epoch=1, offset=5))
            reports.append(await sink.write_tombstones([stone]))
            assert await sink.delete_returned({0: {b"erased:{1}:00": "0"}}) == 0
            return [*(Reply(int(each.replies[0])) for each in reports), erased, again]
        finally:
            await client.aclose()

    assert asyncio.run(work()) == [Reply.ACCEPTED] * 7
    assert denials(server) == []


WORKER_MAY_NOT = [
    ("FLUSHALL",),
    ("KEYS", "*"),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("SET", "other", "1"),
    ("EVAL", "return 1", "0"),
    ("HGETALL", "rec:{u1}"),
]
READER_MAY_NOT = [
    ("HSET", "rec:{u1}", "items", "[]"),
    ("DEL", "rec:{u1}"),
    ("EXISTS", "erased:{1}:00"),
    ("SCAN", "0"),
    ("FLUSHALL",),
]
OPERATOR_MAY_NOT = [
    ("SET", "rec:{u1}", "x"),
    ("DEL", "rec:{u1}"),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("ACL", "SETUSER", "x"),
    ("FLUSHDB",),
]


def test_nobody_may_do_more(server: RedisServer) -> None:
    denied = {"worker": WORKER_MAY_NOT, "reader": READER_MAY_NOT, "operator": OPERATOR_MAY_NOT}
    for user, commands in denied.items():
        url = url_of(server, user).replace("//worker", "//headwater")
        with Redis.from_url(url) as client:
            for command in commands:
                with pytest.raises(NoPermissionError):
                    client.execute_command(*command)


def test_a_reader_reads_lists_and_an_operator_looks(server: RedisServer) -> None:
    with Redis.from_url(url_of(server, "reader")) as reader:
        assert reader.hgetall("rec:{u1}") == {}
        assert reader.hget("sim:{i1}", "items") is None
    with Redis.from_url(url_of(server, "operator")) as operator:
        assert operator.info("memory") and operator.config_get("maxmemory")
        assert operator.scan(0) == (0, [])


def test_without_a_name_there_is_nothing(server: RedisServer) -> None:
    with Redis.from_url(server.url) as client, pytest.raises(RedisError, match="required|must be"):
        client.ping()


def test_the_health_command_is_content_with_a_server_that_answers(server: RedisServer) -> None:
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is not on the PATH")
    pytest.importorskip("ruamel.yaml")
    kind, command = read_yaml(COMPOSE, {})["services"]["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"

    def is_content() -> bool:
        here = command.replace("redis-cli", f"redis-cli -p {server.port}")
        return subprocess.run(["sh", "-c", here], check=False).returncode == 0

    assert is_content()
    server.kill()
    assert not is_content()


def test_each_user_has_a_password_of_its_own_to_replace() -> None:
    passwords = re.findall(r">(\S+)", EXAMPLE.read_text())
    assert len(set(passwords)) == 3 and all(word.endswith("-PASSWORD") for word in passwords)
