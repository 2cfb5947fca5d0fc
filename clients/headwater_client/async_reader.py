"""AsyncRecommendationReader: reads lists from Redis, in asyncio programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from headwater_client.errors import WrongEventLoop
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


class AsyncRecommendationReader:
    """Reads what Headwater recommends; one ``HGETALL`` per list, on plain Redis and on clusters.

    Used from one event loop, by any number of tasks; make one and keep it. An async context
    manager.

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
        WrongEventLoop: From reads and ``close``, in another event loop than the first read's.
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
        self._free = asyncio.Semaphore(max_connections)
        self._loop: asyncio.AbstractEventLoop | None = None
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

    async def recommendations(
        self, user_id: str, *, fallback: bool = True
    ) -> Recommendations | None:
        """Return a user's list.

        Args:
            user_id: Who.
            fallback: Give the trending list (``is_fallback``) to a user without one.

        Returns:
            The list; None when there is none, nor a trending one. A list of the user's own may be
            empty, where all that could be recommended was seen: it is given as it is.
        """
        found = await self._read(list_key(user_id))
        return await self.trending() if found is None and fallback else found

    async def many(
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
        self._check_loop()
        try:
            async with self._room(), self._redis.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hgetall(key)
                replies = await pipeline.execute(raise_on_error=False)
            if error := first_error(replies):
                raise error
        except REDIS_ERRORS as error:
            raise explain(error, self._place) from error
        return read_hashes(users, replies, now_ms=self._now_ms(), fallback=fallback)

    async def similar(self, item_id: str) -> Recommendations | None:
        """Return the items that go together with one, or None when that is not known."""
        return await self._read(similar_key(item_id))

    async def trending(self) -> Recommendations | None:
        """Return what many like now (``is_fallback``), or None before the first list is made."""
        return await self._read(TRENDING_KEY, is_fallback=True)

    async def close(self) -> None:
        """Disconnect; safe to call twice."""
        self._check_loop()
        await self._redis.aclose()

    def _check_loop(self) -> None:
        """Refuse another event loop than the first: connections belong to it."""
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            message = (
                "expected the event loop that the reader was first used in, got another one: make "
                "a reader in each, and close it there"
            )
            raise WrongEventLoop(message)

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_ms / 1_000):
                await self._free.acquire()
        except TimeoutError:
            raise no_room(self._place, self._max_connections, self._timeout_ms) from None
        try:
            yield
        finally:
            self._free.release()

    async def _read(self, key: str, *, is_fallback: bool = False) -> Recommendations | None:
        self._check_loop()
        try:
            async with self._room():
                found: Mapping[bytes, bytes] = await self._redis.hgetall(key)
        except REDIS_ERRORS as error:
            raise explain(error, self._place) from error
        return read_hash(key, found, now_ms=self._now_ms(), is_fallback=is_fallback)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
