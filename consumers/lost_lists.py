"""LostLists: notices that Redis lost lists (it came back empty) and has them written again.

Redis is a view (law 4): whoever acts gets a new list anyhow; here the others get theirs. Now and
then a few users of each partition, another few each time, are looked up in Redis. Where most of
their lists are missing, everybody in the partition is marked dirty, a slice at a time and as the
least urgent, so that those who act come first. Absent: knowledge of why lists are gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from consumers.state_thread import WorkThread
from stream.dirty_users import DirtyUsers
from stream.engine import Engine
from stream.events import Action
from stream.refresh_queue import RefreshQueue

logger = logging.getLogger(__name__)

_SAMPLE = 16
_SLICE = 64
_PAUSE_S = 0.02


class LostLists:
    """A loop beside the refreshes.

    Args:
        engine: Touched on the state thread only.
        state: The state thread.
        queue: Who waits for a list already, and how many.
        mark: Takes users whose list is to be written.
        count_missing: Counts the users without a list in Redis; None when it does not answer.
        is_caught_up: Whether a user partition's lists may be made.
        ttl_ms: Life of a list: who was last seen longer ago may have none.
        interval_s: Between two looks.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        state: WorkThread,
        queue: RefreshQueue,
        mark: Callable[[DirtyUsers], None],
        count_missing: Callable[[Sequence[bytes]], Awaitable[int | None]],
        is_caught_up: Callable[[int], bool],
        ttl_ms: int,
        interval_s: float,
    ) -> None:
        self._engine = engine
        self._state = state
        self._queue = queue
        self._mark = mark
        self._count_missing = count_missing
        self._is_caught_up = is_caught_up
        self._ttl_ms = ttl_ms
        self._interval_s = interval_s
        self._next_rows: dict[int, int] = {}
        self.num_rebuilds = 0

    async def run(self) -> None:
        """Look, and rebuild where lists are lost, until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            for partition in sorted(self._engine.users):
                if self._is_caught_up(partition) and await self._is_lost(partition):
                    await self._rebuild(partition)

    async def _is_lost(self, partition: int) -> bool:
        """Whether more than half of a small sample have no list."""
        begin = self._next_rows.get(partition, 0)
        found = await self._state.run(self._users_from, partition, begin, _SAMPLE)
        if found is None:
            return False
        users, self._next_rows[partition] = found
        waits = self._queue.knows(partition, users.user_rows)
        ids = [user for user, each in zip(users.user_ids, waits, strict=True) if not each]
        if not ids:
            return False
        num_missing = await self._count_missing(ids)
        return num_missing is not None and 2 * num_missing > len(ids)

    async def _rebuild(self, partition: int) -> None:
        logger.warning("lists of partition %d are gone from Redis: writing them again", partition)
        self.num_rebuilds += 1
        begin = 0
        while True:
            found = await self._state.run(self._users_from, partition, begin, _SLICE)
            # It may have moved away meanwhile: its marks would outlive it.
            if found is None or partition not in self._engine.users:
                return
            users, after = found
            self._mark(users)
            if after <= begin:
                return
            begin = after
            while len(self._queue) >= _SLICE:  # noqa: ASYNC110 (the queue tells nobody)
                await asyncio.sleep(_PAUSE_S)

    def _users_from(self, partition: int, begin: int, count: int) -> tuple[DirtyUsers, int] | None:
        """Return up to ``count`` users from a row on, and the row to go on at (state thread).

        None where there is nobody; the row is 0 behind the last user.
        """
        shard = self._engine.users.get(partition)
        if shard is None:
            return None
        live = shard.tables.users.live_rows()
        if not len(live):
            return None
        place = int(np.searchsorted(live, begin))
        rows = live[place : place + count]
        after = int(rows[-1]) + 1 if place + count < len(live) else 0
        now_ms = shard.tables.stream_time_ms
        columns = shard.tables.read_users(rows, now_ms=np.full(len(rows), now_ms, np.int64))
        rows = rows[columns.events_to_ms > now_ms - self._ttl_ms]
        return shard.dirty_users(rows, np.full(len(rows), Action.WATCH, np.uint8)), after
