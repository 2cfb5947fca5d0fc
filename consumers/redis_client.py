"""One way to make a Redis client whose waits are bounded by us and whose retries are ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from ssl import SSLCertVerificationError
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import hiredis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from consumers.security import NO_OPTIONS, invalid_url
from stream.errors import ConfigurationError, ServerRefused, ServerUnreachable

# What Redis, or the way to it, may do to a call. A cluster's errors are no RedisError.
REDIS_ERRORS = (RedisError, RedisClusterException, OSError)


class _PackingConnection(AbstractConnection):
    """Mixed into a connection: commands are packed by hiredis, as redis-py does when it is sync.

    Measured with lists of 4 KB: 7 of 34 us per list.
    """

    def pack_command(self, *args: Any) -> list[bytes]:
        """Return the bytes of one command."""
        words = args[0].encode() if isinstance(args[0], str) else args[0]
        # "SCRIPT LOAD" comes as one word and goes out as two.
        return [hiredis.pack_command((*words.split(), *args[1:]))]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        """Return the bytes of several commands."""
        return [hiredis.pack_command(tuple(command)) for command in commands]


def connect_redis(
    url: str,
    *,
    is_cluster: bool = False,
    timeout_ms: int = 2_000,
    read_timeout_ms: int | None = None,
    max_connections: int = 8,
    client_options: Mapping[str, Any] = NO_OPTIONS,
) -> Redis | RedisCluster:
    """Return a client; the first command opens its connections.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``; may carry user and password.
        is_cluster: The URL names any node of a Redis Cluster.
        timeout_ms: Bound for connecting.
        read_timeout_ms: Bound for each single reply. None for who bounds whole round trips, as
            :class:`consumers.sink.RedisSink` does: a timer per reply costs 6 us.
        max_connections: Bound of the pool (per node in a cluster).
        client_options: Security, from :func:`consumers.security.redis_options`.

    Raises:
        ConfigurationError: The URL is none, or has options that the library does not know.
    """
    options: dict[str, Any] = {
        "socket_timeout": None if read_timeout_ms is None else read_timeout_ms / 1_000,
        "socket_connect_timeout": timeout_ms / 1_000,
        "max_connections": max_connections,
        # No hidden retries: the sink's bound would not hold, and its counters would not see them.
        "retry": Retry(NoBackoff(), 0),
        **client_options,
    }
    try:
        if is_cluster:
            return RedisCluster.from_url(url, **options)
        pool = ConnectionPool.from_url(url, **options)
        pool.connection_class(**pool.connection_kwargs)  # Not connected: for its options alone.
    except ValueError:
        # Neither the URL nor the error is shown: both may hold the password.
        raise invalid_url() from None
    except (TypeError, RedisClusterException) as error:
        message = (
            f"HEADWATER_REDIS: expected a URL whose database and options redis-py takes, it says: "
            f"{error}"
        )
        raise ConfigurationError(message) from error
    plain = pool.connection_class
    pool.connection_class = type(f"Packing{plain.__name__}", (_PackingConnection, plain), {})
    return Redis.from_pool(pool)


def without_password(url: str) -> str:
    """Return a URL as it may be shown.

    >>> without_password("rediss://ann:secret@example.org:6379/0")
    'rediss://ann:***@example.org:6379/0'
    >>> without_password("redis://example.org:6379/0?password=secret")
    'redis://example.org:6379/0'
    """
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    shown = f"{parts.username or ''}:***@{place}" if parts.password else parts.netloc
    return urlunsplit((parts.scheme, shown, parts.path, "", ""))


async def check_redis(client: Redis | RedisCluster, *, timeout_ms: int = 5_000) -> None:
    """Ask whether Redis answers at all, within a bound.

    Raises:
        ServerUnreachable: It does not; says what to look at.
    """
    try:
        async with asyncio.timeout(timeout_ms / 1_000):
            await client.ping()
    except REDIS_ERRORS as error:  # TimeoutError is an OSError.
        raise redis_failure(error) from error


def redis_failure(error: BaseException) -> ServerUnreachable:
    """Return what to raise for an error of the Redis library, in words that say what to look at."""
    if isinstance(error, AuthenticationError | NoPermissionError):
        return ServerRefused(
            f"expected Redis to let this user in, it does not ({error}): look at user and password "
            "in HEADWATER_REDIS or HEADWATER_REDIS_SECURITY__*, and at the user's rights"
        )
    causes = (error, error.__cause__, error.__context__)
    for cause in causes:
        if isinstance(cause, SSLCertVerificationError):
            return ServerRefused(
                "expected Redis to show a certificate that we trust, it does not "
                f"({cause.verify_message.rstrip('.')}): did HEADWATER_REDIS_SECURITY__CA_FILE "
                "sign it?"
            )
    if isinstance(error, RedisClusterException):
        return ServerUnreachable(
            f"expected a Redis Cluster, came none that we may ask ({error}): is it one "
            "(HEADWATER_SINK__CLUSTER), does a node answer, has our user +cluster|slots +command?"
        )
    if isinstance(error, ResponseError):
        return ServerUnreachable(
            f"expected Redis to do what it is asked, it refuses ({error}): is HEADWATER_REDIS, "
            "with the database's number at its end, right; does another program write these keys?"
        )
    return ServerUnreachable(
        f"expected Redis to answer, it did not ({str(error) or type(error).__name__}): is "
        "HEADWATER_REDIS right, rediss:// where it wants TLS and only there?"
    )
