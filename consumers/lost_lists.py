"""LostLists: notices that Redis lost lists (it came back empty, a node is gone), writes them again.

Redis is a view (law 4): whoever acts gets a new list anyhow; here the others get theirs. The users
of each partition are looked up in Redis slice by slice, round and round; whose list is missing is
marked dirty, as the least urgent, so that those who act come first. While lists are missing the
next slice follows at once, bound in rate; else there is a long rest. A server that forgot our
scripts was restarted or is another one, and may hold lists older than those it acknowledged
(replication and append-only files lag): everybody's list is written again then, too, and in
partitions that come to us after that.

Lost, so counted and logged, is only what had been written: a list that is not there while the
freshness ledger still owes it to its user is merely under way, at a start for instance, or where
the refresh queue had no room. Where lists are gone round after round, Redis has no room for all
(:mod:`consumers.loss_pace`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from consumers.loss_pace import LossPace
from consumers.server_changes import ServerChanges
from consumers.state_thread import WorkThread
from state.tombstones import list_key
from stream.dirty_users import DirtyUsers
from stream.engine import Engine
from stream.events import Action
from stream.refresh_queue import RefreshQueue

logger = logging.getLogger(__name__)

# Asks Redis: bool per key, there is none; None when it does not answer.
FindMissing = Callable[[Sequence[bytes]], Awaitable[NDArray[np.bool_] | None]]

# Users per look and partition; between two looks while lists are missing: some 600 users a second.
_SLICE = 64
_PAUSE_S = 0.1
# Looks without a loss after which the next one is news.
_QUIET_LOOKS = 30


class Look(Protocol):
    """One kind of keys in Redis.

    Attributes:
        kind: What the keys begin with.
        num_lost: How many keys were found gone, so far; never one that nobody had written.
    """

    kind: ClassVar[str]
    num_lost: int

    async def look(self) -> int:
        """Look at the next few keys; return how many of them are written again, lost or not."""
        ...


class LossWatch:
    """The loop beside the refreshes.

    Args:
        looks: Kinds of keys, the most urgent first.
        on_lost: Told (kind, how many) of what was missing.
        interval_s: Between two looks while nothing is missing.
        why_over: Says why our partitions may be another worker's: nobody looks then.
        probe: Notices a server that is another one (``RedisSink.probe``), before each look: older
            lists are there, so that nobody misses them, and who writes nothing would not notice.
        restored: Set once our first partitions are in memory; nobody looks before. A start doubts
            what it holds at its first look, which is all of them then.
    """

    def __init__(
        self,
        looks: Sequence[Look],
        *,
        on_lost: Callable[[str, int], None],
        interval_s: float,
        why_over: Callable[[], str | None] = lambda: None,
        probe: Callable[[], Awaitable[None]] | None = None,
        restored: asyncio.Event | None = None,
    ) -> None:
        self._probe = probe
        self._restored = restored
        self._looks = looks
        self._on_lost = on_lost
        self._interval_s = interval_s
        self._why_over = why_over

    async def run(self) -> None:
        """Look round and round until cancelled."""
        num_quiet = _QUIET_LOOKS
        if self._restored is not None:
            await self._restored.wait()
        while True:
            num_lost = self._num_lost()
            num_again = await self.look()
            is_lossy = self._num_lost() > num_lost
            if is_lossy and num_quiet >= _QUIET_LOOKS:
                logger.warning("keys are gone from Redis: writing them again")
            num_quiet = 0 if is_lossy else num_quiet + 1
            await asyncio.sleep(_PAUSE_S if num_again else self._interval_s)

    async def look(self) -> int:
        """Look once at each kind; return how many keys are written again."""
        num_again = 0
        if self._probe is not None:
            await self._probe()
        for each in self._looks if self._why_over() is None else ():
            before = each.num_lost
            num_again += await each.look()
            if each.num_lost > before:
                self._on_lost(each.kind, each.num_lost - before)
        return num_again

    def _num_lost(self) -> int:
        return sum(each.num_lost for each in self._looks)


class LostLists:
    """Users whose list is gone.

    Args:
        engine: Touched on the state thread only.
        state: The state thread.
        queue: Who waits for a list already, and how many.
        owed_rows: Rows of a partition's users whose list is still to be written
            (``FreshnessLedger.user_rows``).
        mark: Takes users whose list is to be written.
        find_missing: bool per key, not in Redis; None when it does not answer.
        is_caught_up: Whether a user partition's lists may be made.
        ttl_ms: Life of a list: who was last seen longer ago may have none.
        num_script_loads: How often the server did not know our scripts (``RedisSink``).
    """

    kind: ClassVar[str] = "rec"

    def __init__(
        self,
        *,
        engine: Engine,
        state: WorkThread,
        queue: RefreshQueue,
        owed_rows: Callable[[int], NDArray[np.int32]],
        mark: Callable[[DirtyUsers], None],
        find_missing: FindMissing,
        is_caught_up: Callable[[int], bool],
        ttl_ms: int,
        num_script_loads: Callable[[], int] = lambda: 0,
    ) -> None:
        self._engine = engine
        self._state = state
        self._queue = queue
        self._owed_rows = owed_rows
        self.num_lost = 0
        self._changes = ServerChanges(num_script_loads, is_start_doubted=True)
        # Partitions whose lists may be older than those that were written, until one round is over,
        # and the row behind those who were there then: who came later is written once, after it.
        self._doubted: dict[int, int] = {}
        self._pace = LossPace()
        self._mark = mark
        self._find_missing = find_missing
        self._is_caught_up = is_caught_up
        self._ttl_ms = ttl_ms
        self._next_rows: dict[int, int] = {}

    async def look(self) -> int:
        """Look at the next slice of each partition; mark who is to get a list, return how many."""
        await self._doubt()
        if len(self._queue) >= _SLICE:
            return 0  # Who acts comes first.
        num_marked = 0
        for partition in sorted(self._engine.users):
            if self._is_caught_up(partition) and not self._pace.rests(partition):
                num_marked += await self._look_at(partition)
        return num_marked

    async def _doubt(self) -> None:
        """Note the partitions whose lists may be older than those that were written."""
        held = set(self._engine.users)
        come = self._changes.look(held)
        if self._changes.is_another:
            self._pace.start_anew()
        ends = await self._state.run(self._rows_behind, come) if come else {}
        kept = {each: end for each, end in self._doubted.items() if each in held - come}
        self._doubted = {**kept, **ends}
        for partition in come:
            self._next_rows.pop(partition, None)

    def _rows_behind(self, partitions: Set[int]) -> dict[int, int]:
        """Return the row behind the last user of each partition that has any (state thread)."""
        shards = {each: self._engine.users.get(each) for each in partitions}
        live = {each: shard.tables.users.live_rows() for each, shard in shards.items() if shard}
        return {each: int(rows[-1]) + 1 for each, rows in live.items() if len(rows)}

    async def _look_at(self, partition: int) -> int:
        begin = self._next_rows.get(partition, 0)
        found = await self._state.run(self._users_from, partition, begin)
        if found is None:
            self._doubted.pop(partition, None)
            return 0
        users, after = found
        users = _only(users, ~self._queue.knows(partition, users.user_rows))
        # Before Redis is asked: what is owed then has no list there, or an old one.
        is_owed = np.isin(users.user_rows, self._owed_rows(partition))
        is_missing = await self._find_missing([list_key(each) for each in users.user_ids])
        # It may have moved away meanwhile: marks would outlive it.
        if is_missing is None or partition not in self._engine.users:
            return 0
        self._next_rows[partition] = after
        num_lost = int((is_missing & ~is_owed).sum())
        self.num_lost += num_lost
        self._pace.note(partition, num_lost, is_end=not after)
        end = self._doubted.get(partition, 0)
        is_missing |= users.user_rows < end
        if not after or after >= end:
            self._doubted.pop(partition, None)
        self._mark(_only(users, is_missing))
        return int(is_missing.sum())

    def _users_from(self, partition: int, begin: int) -> tuple[DirtyUsers, int] | None:
        """Return users from a row on, and the row to go on at, 0 behind the last (state thread).

        None where there is nobody.
        """
        shard = self._engine.users.get(partition)
        live = None if shard is None else shard.tables.users.live_rows()
        if shard is None or live is None or not len(live):
            return None
        place = int(np.searchsorted(live, begin))
        rows = live[place : place + _SLICE]
        after = int(rows[-1]) + 1 if place + _SLICE < len(live) else 0
        now_ms = shard.tables.stream_time_ms
        columns = shard.tables.read_users(rows, now_ms=np.full(len(rows), now_ms, np.int64))
        rows = rows[columns.events_to_ms > now_ms - self._ttl_ms]
        return shard.dirty_users(rows, np.full(len(rows), Action.WATCH, np.uint8)), after


def _only(users: DirtyUsers, mask: NDArray[np.bool_]) -> DirtyUsers:
    return DirtyUsers(
        partition=users.partition,
        user_rows=users.user_rows[mask],
        user_ids=tuple(user for user, kept in zip(users.user_ids, mask, strict=True) if kept),
        levels=users.levels[mask],
    )
