"""One way to make a Redis client whose waits are bounded by us and whose retries are ours."""

from __future__ import annotations

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def connect_redis(
    url: str, *, is_cluster: bool = False, timeout_ms: int = 2_000, max_connections: int = 8
) -> Redis | RedisCluster:
    """Return a client; the first command opens its connections.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``; may carry user and password.
        is_cluster: The URL names any node of a Redis Cluster.
        timeout_ms: Bound for connecting and for each socket read or write.
        max_connections: Bound of the pool (per node in a cluster).
    """
    timeout_s = timeout_ms / 1_000
    # No hidden retries: the sink's bound would not hold, and its counters would not see them.
    retry = Retry(NoBackoff(), 0)
    if is_cluster:
        return RedisCluster.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            max_connections=max_connections,
            retry=retry,
        )
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=max_connections,
        retry=retry,
    )
