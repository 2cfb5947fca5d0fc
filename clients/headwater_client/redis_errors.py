"""What went wrong with Redis, in the client's own words; no message holds the URL's password."""

from __future__ import annotations

from collections.abc import Iterable
from ssl import SSLCertVerificationError
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from headwater_client.errors import (
    HeadwaterClientError,
    InvalidAddress,
    RedisUnreachable,
    UnreadableList,
)

# What reading from Redis can raise; redis-py's cluster errors are no RedisError.
REDIS_ERRORS = (RedisError, RedisClusterException, OSError)


def place_of(url: str) -> str:
    """Return the part of a URL that may be shown.

    >>> place_of("redis://ann:secret@example.org:6379/0")
    'example.org:6379'

    Raises:
        InvalidAddress: It is no URL, or no text at all, as where a setting is not set.
    """
    if not isinstance(url, str):
        message = (
            f"redis: expected a URL like redis://host:port/0, got {type(url).__name__}: is the "
            "setting set that it comes from?"
        )
        raise InvalidAddress(message)
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "the given socket"
    except ValueError:
        raise invalid_url() from None


def invalid_url() -> InvalidAddress:
    """Return the error for a URL that is none; neither it nor its parts are shown."""
    return InvalidAddress(
        "expected a URL like redis://host:port/0 (rediss:// for TLS, unix://path), it is none; are "
        "special characters of the password percent-encoded?"
    )


def invalid_options(error: TypeError) -> InvalidAddress:
    """Return the error for options that the Redis library does not know."""
    message = f"client_options: expected options of the Redis client, it takes others: {error}"
    return InvalidAddress(message)


def try_options(client: Any) -> None:
    """Make a connection of a client's options without connecting it: now, not at the first read.

    Raises:
        TypeError: The library does not know an option.
    """
    try:
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
    except REDIS_ERRORS:
        pass  # A file of a certificate, for one: what reads will say where it happens.


def explain(error: BaseException, place: str) -> HeadwaterClientError:
    """Return what to raise for an error of the Redis library."""
    if isinstance(error, MovedError | AskError):
        message = f"expected a single Redis at {place}, a cluster answered: pass is_cluster=True"
        return InvalidAddress(message)
    if isinstance(error, AuthenticationError | NoPermissionError):
        return RedisUnreachable(
            f"expected Redis at {place} to let this user read, it does not ({error}): look at user "
            f"and password in the URL, and at the user's rights (HGETALL on rec:* and sim:*)"
        )
    for cause in (error, error.__cause__, error.__context__):
        if isinstance(cause, SSLCertVerificationError):
            return RedisUnreachable(
                f"expected Redis at {place} to show a certificate that we trust, it does not "
                f"({cause.verify_message}): did ca_file sign it?"
            )
    if isinstance(error, RedisClusterException) and "cluster mode" in str(error).lower():
        if "not enabled" in str(error):
            message = f"expected a Redis Cluster at {place}, it is none: pass is_cluster=False"
        else:  # A database, a Unix socket.
            message = f"expected a URL that names a node of a cluster, redis-py says: {error}"
        return InvalidAddress(message)
    if isinstance(error, ResponseError) and "db index" in str(error).lower():
        message = (
            f"expected a database that Redis at {place} has, it said {error}: see the URL's end"
        )
        return InvalidAddress(message)
    if isinstance(error, ResponseError) and not isinstance(error, ClusterDownError):
        return UnreadableList(
            f"expected lists of Headwater's in Redis at {place}, it said {error}: does another "
            f"program write to these keys?"
        )
    return RedisUnreachable(
        f"expected Redis at {place} to answer in time, it did not ({type(error).__name__}: "
        f"{error}): is the address right, and the server up?"
    )


def no_room(place: str, max_connections: int, timeout_ms: float) -> RedisUnreachable:
    """Return the error for a read that waited for a connection in vain."""
    return RedisUnreachable(
        f"expected one of {max_connections} connections to Redis at {place} to be free within "
        f"{timeout_ms:g} ms, none was: is Redis slow, or max_connections too small for so many "
        f"reads at once?"
    )


def first_error(replies: Iterable[Any]) -> RedisError | None:
    """Return the first reply of a pipeline that is an error."""
    return next((reply for reply in replies if isinstance(reply, RedisError)), None)
