"""RecommendationReader: reads lists from Redis, in ordinary, threaded programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import BoundedSemaphore
from types import TracebackType
from typing import Any, Self

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.retry import Retry

from headwater_client.event_methods import wall_ms
from headwater_client.kafka_options import NO_OPTIONS, check_count, check_numbers, joined
from headwater_client.lists import (
    TRENDING_KEY,
    Recommendations,
    list_key,
    read_hash,
    read_hashes,
    similar_key,
    users_of,
)
from headwater_client.redis_errors import (
    REDIS_ERRORS,
    explain,
    first_error,
    invalid_options,
    invalid_url,
    no_room,
    place_of,
    try_options,
)


class RecommendationReader:
    """Reads what Headwater recommends; one ``HGETALL`` per list, on plain Redis and on clusters.

    Safe to use from any number of threads; make one and keep it. A context manager.

    Every read raises :class:`~headwater_client.errors.RedisUnreachable` where Redis does not
    answer in time, and :class:`~headwater_client.errors.UnreadableList` where something else
    stands under a list's key.

    Args:
        redis: ``redis://[user:password@]host:port/0``, ``rediss://`` (TLS), ``unix://``.
        is_cluster: The URL names any node of a Redis Cluster.
        timeout_ms: Bound of each reply. A read is tried twice, in case Redis had closed the
            connection.
        connect_timeout_ms: Bound of connecting.
        max_connections: Reads at once; one more waits for room, as long as ``timeout_ms``.
        client_options: Of the Redis client, as :func:`headwater_client.redis_security` gives them.
        now_ms: Clock of ``age_s``.

    Raises:
        InvalidAddress: The URL is none.
        RedisUnreachable: A cluster did not answer (single servers are asked at the first read).
    """

    def __init__(
        self,
        redis: str,
        *,
        is_cluster: bool = False,
        timeout_ms: int = 1_000,
        connect_timeout_ms: int = 2_000,
        max_connections: int = 50,
        client_options: Mapping[str, Any] = NO_OPTIONS,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        check_numbers(timeout_ms=timeout_ms, connect_timeout_ms=connect_timeout_ms)
        check_count(max_connections=max_connections)
        self._now_ms = now_ms
        self._timeout_ms = timeout_ms
        self._max_connections = max_connections
        # The library's pool raises where it should wait, in a cluster always.
        self._free = BoundedSemaphore(max_connections)
        options: dict[str, Any] = {
            "socket_timeout": timeout_ms / 1_000,
            "socket_connect_timeout": connect_timeout_ms / 1_000,
            "max_connections": max_connections,
            "decode_responses": False,  # Lists are read from bytes.
            "retry": Retry(NoBackoff(), 1),
        }
        options = joined(options, client_options)
        self._place = place_of(redis)
        try:
            # Typed as what both have: redis-py's two clients share no class.
            self._redis: Any = (RedisCluster if is_cluster else Redis).from_url(redis, **options)
            if not is_cluster:
                try_options(self._redis)
        except TypeError as error:
            raise invalid_options(error) from error
        except ValueError:
            # The error may hold the URL, and that the password.
            raise invalid_url() from None
        except REDIS_ERRORS as error:
            raise explain(error, self._place) from error

    def recommendations(self, user_id: str, *, fallback: bool = True) -> Recommendations | None:
        """Return a user's list.

        Args:
            user_id: Who.
            fallback: Give the trending list (``is_fallback``) to a user without one.

        Returns:
            The list; None when there is none, nor a trending one. A list of the user's own may be
            empty, where all that could be recommended was seen: it is given as it is.
        """
        found = self._read(list_key(user_id))
        return self.trending() if found is None and fallback else found

    def many(
        self, user_ids: Iterable[str], *, fallback: bool = True
    ) -> dict[str, Recommendations | None]:
        """Return the lists of several users, asked for in one go.

        Args:
            user_ids: Who, in the order of the result; a few hundred at a time are quick.
            fallback: Give the trending list (``is_fallback``) to users without one.
        """
        users = users_of(user_ids)
        if not users:
            return {}
        keys = [*map(list_key, users), TRENDING_KEY]
        try:
            with self._room(), self._redis.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hgetall(key)
                replies = pipeline.execute(raise_on_error=False)
            if error := first_error(replies):
                raise error
        except REDIS_ERRORS as error:
            raise explain(error, self._place) from error
        return read_hashes(users, replies, now_ms=self._now_ms(), fallback=fallback)

    def similar(self, item_id: str) -> Recommendations | None:
        """Return the items that go together with one, or None when that is not known."""
        return self._read(similar_key(item_id))

    def trending(self) -> Recommendations | None:
        """Return what many like now (``is_fallback``), or None before the first list is made."""
        return self._read(TRENDING_KEY, is_fallback=True)

    def close(self) -> None:
        """Disconnect; safe to call twice."""
        self._redis.close()

    @contextmanager
    def _room(self) -> Iterator[None]:
        if not self._free.acquire(timeout=self._timeout_ms / 1_000):
            raise no_room(self._place, self._max_connections, self._timeout_ms)
        try:
            yield
        finally:
            self._free.release()

    def _read(self, key: str, *, is_fallback: bool = False) -> Recommendations | None:
        try:
            with self._room():
                found: Mapping[bytes, bytes] = self._redis.hgetall(key)
        except REDIS_ERRORS as error:
            raise explain(error, self._place) from error
        return read_hash(key, found, now_ms=self._now_ms(), is_fallback=is_fallback)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
