"""Why nobody answers: names, ports and protocols, against real listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from consumers.addresses import bootstrap_servers, speaks_kafka, why_silent
from consumers.configuration import load_settings
from local.redis import RedisServer
from stream.errors import ConfigurationError

WAIT_S = 10.0


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:9092",
        "localhost:x",
        "localhost:0",
        "localhost:65536",
        "",
        "a:1,",
        "::1",
        "a b:1",
    ],
)
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected host:port"):
        bootstrap_servers(text)


def test_a_setting_that_is_no_address_is_refused_before_anything_connects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADWATER_KAFKA", "http://localhost:9092")
    with pytest.raises(ConfigurationError, match="HEADWATER_KAFKA"):
        load_settings()


def asked(host: str, port: int) -> str:
    return asyncio.run(why_silent(host, port, timeout_s=WAIT_S))


def asked_of(answer: bytes) -> str:
    """Ask a listener that says one thing to whoever comes, and hangs up."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async def run() -> str:
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await why_silent("127.0.0.1", port, timeout_s=WAIT_S)

    return asyncio.run(run())


def test_no_host_and_no_listener_are_told_apart(free_port: Callable[[], int]) -> None:
    port = free_port()
    assert asked("127.0.0.1", port) == f"nothing listens at 127.0.0.1:{port}"
    assert "no host is known" in asked("no-such-host.invalid", 9092)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "speaks TLS"),
        (b"-NOAUTH Authentication required.\r\n", "a Redis server"),
        (b"", "does not answer as expected"),
    ],
)
def test_another_protocol_is_named(answer: bytes, words: str) -> None:
    assert words in asked_of(answer)


@pytest.mark.redis
def test_a_real_redis_is_recognised(redis_server: Callable[..., RedisServer]) -> None:
    assert "a Redis server answers" in asked("127.0.0.1", redis_server().port)


@pytest.mark.kafka
@pytest.mark.redis
def test_a_real_kafka_is_told_from_a_real_redis(
    kafka: str, redis_server: Callable[..., RedisServer]
) -> None:
    async def ask(host: str, port: int) -> bool:
        return await speaks_kafka(host, port, timeout_s=WAIT_S)

    ((host, port),) = bootstrap_servers(kafka)
    assert asyncio.run(ask(host, port))
    assert not asyncio.run(ask("127.0.0.1", redis_server().port))
