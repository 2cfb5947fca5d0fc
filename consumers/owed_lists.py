"""OwedLists: users whom the refresh queue had no room for get their lists when it has room again.

The queue is bounded and sheds the least urgent, in an outage of Redis for instance. Who was shed is
still owed a list: the freshness ledger knows everybody with an event that no list covers. Absent:
any look at Redis; lists that it lost are :mod:`consumers.lost_lists`' business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from consumers.state_thread import WorkThread
from stream.dirty_users import DirtyUsers
from stream.engine import Engine
from stream.events import Action
from stream.freshness import FreshnessLedger
from stream.refresh_queue import RefreshQueue

# Users per look and partition, and the wait between two looks: some 2,000 users a second.
_SLICE = 512
_TICK_S = 0.25


class OwedLists:
    """The loop beside the refreshes.

    Args:
        engine: Touched on the state thread only.
        state: The state thread.
        queue: Says who waits already, and whether anybody was ever shed.
        ledger: Knows who is owed a list.
        mark: Takes users whose list is to be written.
        is_caught_up: Whether a user partition's lists may be made.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        state: WorkThread,
        queue: RefreshQueue,
        ledger: FreshnessLedger,
        mark: Callable[[DirtyUsers], None],
        is_caught_up: Callable[[int], bool],
    ) -> None:
        self._engine = engine
        self._state = state
        self._queue = queue
        self._ledger = ledger
        self._mark = mark
        self._is_caught_up = is_caught_up
        # So many had been shed when nobody was left who is owed a list and does not wait.
        self._num_settled = 0

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(_TICK_S)
            await self.look()

    async def look(self) -> int:
        """Queue some of those who were shed, once there is little else to do; return how many."""
        num_shed = self._queue.num_shed
        if num_shed == self._num_settled or self._queue.num_takeable >= _SLICE:
            return 0
        num_marked, is_settled = 0, True
        for partition in sorted(self._engine.users):
            rows = self._ledger.user_rows(partition)
            rows = rows[~self._queue.knows(partition, rows)][:_SLICE]
            is_settled &= not len(rows)
            if not len(rows) or not self._is_caught_up(partition):
                continue
            users = await self._state.run(self._users, partition, rows)
            # It may have moved away meanwhile: marks would outlive it.
            if users is None or partition not in self._engine.users:
                continue
            gone = np.setdiff1d(rows, users.user_rows)
            self._ledger.forget(partition, gone[~self._queue.knows(partition, gone)])
            self._mark(users)
            num_marked += len(users)
        if is_settled:
            self._num_settled = num_shed
        return num_marked

    def _users(self, partition: int, rows: NDArray[np.int32]) -> DirtyUsers | None:
        """Return the users of some rows, the least urgent; None if it moved (state thread)."""
        shard = self._engine.users.get(partition)
        if shard is None:
            return None
        return shard.dirty_users(rows, np.full(len(rows), Action.WATCH, np.uint8))
