"""Redis servers from pip: life cycle, persistence only when asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from local.process import LocalServerError
from local.redis import RedisServer

pytestmark = pytest.mark.redis


def test_server_answers_on_its_url(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("a-key-of-test-redis", "1", ex=10)
        assert client.get("a-key-of-test-redis") == b"1"


def test_restart_keeps_the_port_and_forgets_data(
    redis_server: Callable[..., RedisServer],
) -> None:
    server = redis_server()
    with redis.Redis.from_url(server.url) as client:
        client.set("a", "1")
    port = server.port
    server.kill()
    server.start()
    assert server.port == port
    with redis.Redis.from_url(server.url) as client:
        assert client.get("a") is None


def test_data_folder_survives_a_stop(
    redis_server: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = redis_server(data_dir=tmp_path / "redis")
    with redis.Redis.from_url(server.url) as client:
        client.set("a", "1")
    server.stop()
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("a") == b"1"


def test_stop_ends_the_process(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server()
    pid = server.pid
    server.stop()
    assert not psutil.pid_exists(pid)
    assert not server.is_running


def test_a_bad_setting_fails_with_the_servers_own_words(
    redis_server: Callable[..., RedisServer],
) -> None:
    server = RedisServer(properties={"no-such-setting": "1"})
    with pytest.raises(LocalServerError, match="ended while starting"):
        server.start()
    assert not server.is_running


OWNER = """
import sys
from local.redis import RedisServer
server = RedisServer()
server.start()
print(server.pid, server._folder(), flush=True)
sys.stdin.read()
"""


def test_of_a_killed_owner_the_server_ends_and_the_next_start_removes_its_folder(
    redis_server: Callable[..., RedisServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", OWNER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().decode().split()
        child = psutil.Process(int(pid))
        owner.kill()
        owner.wait()
        child.wait(30)
    assert Path(folder).is_dir()
    redis_server()
    assert not Path(folder).exists()
