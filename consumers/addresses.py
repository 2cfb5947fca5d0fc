"""Addresses of servers: whether they are any, and why nobody of use answers there.

What a client library says of a server that does not answer is about the library; who reads
``doctor`` wants to know whether the name, the port or the protocol is wrong.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from stream.errors import ConfigurationError

_KAFKA_PORT = 9092
_MAX_PORT = 65_535
# A server that speaks first or answers at all does so at once.
_GREETING_S = 1.0
# Redis answers this line. Kafka takes it for a size far above its bound and hangs up; a TLS server
# answers with an alert.
_QUESTION = b"PING\r\n"
_TLS_ALERT = b"\x15\x03"
# ApiVersions, version 0, correlation id 7, no client id: every Kafka answers it to anybody. Source:
# "Kafka protocol guide", https://kafka.apache.org/protocol.
_API_VERSIONS = bytes.fromhex("0000000a 0012 0000 00000007 ffff")
_CORRELATION = slice(4, 8)


def bootstrap_servers(text: str) -> list[tuple[str, int]]:
    """Return host and port of each server in ``host:port[,host:port]``.

    >>> bootstrap_servers("kafka-1:9092, [::1]:9093,kafka-2")
    [('kafka-1', 9092), ('::1', 9093), ('kafka-2', 9092)]

    Raises:
        ConfigurationError: One is no address.
    """
    return [_host_and_port(each.strip(), text) for each in text.split(",")]


def _host_and_port(server: str, text: str) -> tuple[str, int]:
    host, sign, port = server.rpartition(":")
    if not sign or server.endswith("]"):
        host, port = server, str(_KAFKA_PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""  # A scheme before it, or an IPv6 address without brackets.
    is_port = port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT
    if not host or any(each in host for each in "/@ []") or not is_port:
        message = (
            f"HEADWATER_KAFKA or --kafka: expected host:port[,host:port], got {text!r}: leave out "
            "a scheme (as http://) and put an IPv6 address into brackets"
        )
        raise ConfigurationError(message)
    return host, int(port)


async def why_silent(host: str, port: int, *, timeout_s: float) -> str:
    """Say why a client got nowhere: no such host, nobody listens, no answer, another protocol.

    Connects once, and asks one line to which Redis and TLS servers react each in their way.
    """
    place = f"{host}:{port}"
    try:
        answer = await _first_answer(host, port, _QUESTION, timeout_s=timeout_s)
    except socket.gaierror:
        return f"no host is known by the name {host}"
    except TimeoutError:
        return f"{place}: no answer within {timeout_s:g} s"
    except ConnectionRefusedError:
        return f"nothing listens at {place}"
    except OSError as error:
        return f"{place}: {error.strerror or error}"
    return f"{place}: {_meaning(answer)}"


async def speaks_kafka(host: str, port: int, *, timeout_s: float) -> bool:
    """Say whether a Kafka broker answers there, on a listener without TLS."""
    try:
        answer = await _first_answer(host, port, _API_VERSIONS, timeout_s=timeout_s)
    except OSError:  # TimeoutError is one.
        return False
    return answer[_CORRELATION] == _API_VERSIONS[8:12]


async def _first_answer(host: str, port: int, question: bytes, *, timeout_s: float) -> bytes:
    """Return the first bytes of an answer; empty where there is none soon.

    Raises:
        OSError: Nobody listens there, or not to us.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(host, port)
    answer = b""
    try:
        writer.write(question)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(min(timeout_s, _GREETING_S)):
                answer = await reader.read(64)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return answer


def _meaning(answer: bytes) -> str:
    if answer.startswith((b"+PONG", b"-NOAUTH", b"-DENIED", b"-ERR")):
        return "a Redis server answers there"
    if answer.startswith(b"HTTP/"):
        return "a web server answers there"
    if answer.startswith(_TLS_ALERT):
        return "this port speaks TLS"
    return "something listens there, but does not answer as expected"
