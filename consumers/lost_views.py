"""What else Redis lost and state can give again: similar items, and erased users' tombstones.

Beside :mod:`consumers.lost_lists`, in the same way: what state says should stand in Redis is
looked up slice by slice, round and round, and what is missing is written. Where a server is
another one than before, everything is written once: a promoted replica may hold older ones. So is
what comes to us after that.
Nothing is published to Kafka again for it. Absent: ``rec:trending``, which is written every second
anyhow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from consumers.loss_pace import LossPace
from consumers.lost_lists import FindMissing
from consumers.server_changes import ServerChanges
from consumers.signal_publisher import SignalPacer
from consumers.sink_keys import similar_key, tombstone_key
from consumers.state_thread import WorkThread
from stream.engine import Engine
from stream.versions import erase_version

# Keys per look and partition.
_SLICE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Keys that should stand in Redis.

    Attributes:
        keys: Their names.
        sources: What each is written from: item id, or the erase's version.
        after: Where the next slice begins; 0 behind the last.
    """

    keys: list[bytes]
    sources: list[bytes]
    after: int


class View(Protocol):
    """One kind of keys, as state knows them."""

    def held(self) -> Set[int]:
        """Return the partitions that are ours."""
        ...

    def partitions(self) -> Sequence[int]:
        """Return those to look at now."""
        ...

    def slice_from(self, partition: int, begin: int) -> Slice | None:
        """Return the next keys from a place on; None without any (state thread)."""
        ...

    async def write(self, partition: int, keys: list[bytes], sources: list[bytes]) -> None:
        """Write some of a slice's keys again."""
        ...


class LostKeys:
    """Goes round the keys of one view.

    Args:
        view: Which keys there should be.
        state: The state thread.
        find_missing: bool per key, not in Redis; None when it does not answer.
        num_script_loads: How often the server did not know our scripts (``RedisSink``): then it was
            restarted or is another one, and every key is written again.

    Attributes:
        is_start_doubted: Whether a worker's start writes every key again, too.
    """

    is_start_doubted: ClassVar[bool] = True

    def __init__(
        self,
        view: View,
        *,
        state: WorkThread,
        find_missing: FindMissing,
        num_script_loads: Callable[[], int] = lambda: 0,
    ) -> None:
        self._view = view
        self._state = state
        self._find_missing = find_missing
        self._next: dict[int, int] = {}
        self.num_lost = 0
        self._changes = ServerChanges(num_script_loads, is_start_doubted=self.is_start_doubted)
        # Partitions whose keys may be older than those that were written, until one round is over.
        self._doubted: set[int] = set()
        self._pace = LossPace()

    async def look(self) -> int:
        """Look at the next slice of each partition; write what is missing, return how many."""
        num_written = 0
        held = self._view.held()
        come = self._changes.look(held)
        if self._changes.is_another:
            self._pace.start_anew()
        self._doubted = (self._doubted & held) | come
        for partition in come:
            self._next.pop(partition, None)
        for partition in self._view.partitions():
            if self._pace.rests(partition):
                continue
            begin = self._next.get(partition, 0)
            found = await self._state.run(self._view.slice_from, partition, begin)
            if found is None:
                continue
            is_missing = await self._find_missing(found.keys)
            # Where it moved away meanwhile its next owner looks.
            if is_missing is None or partition not in self._view.partitions():
                continue
            self._next[partition] = found.after
            num_lost = int(is_missing.sum())
            self.num_lost += num_lost
            self._pace.note(partition, num_lost, is_end=not found.after)
            if partition in self._doubted:
                is_missing = np.ones(len(is_missing), np.bool_)
                if not found.after:
                    self._doubted.discard(partition)
            again = np.flatnonzero(is_missing).tolist()
            if again:
                keys = [found.keys[index] for index in again]
                await self._view.write(partition, keys, [found.sources[index] for index in again])
            num_written += len(again)
        return num_written


class LostSimilar(LostKeys):
    """Similar items. Lists older than a start are written again once somebody acts on the item."""

    kind: ClassVar[str] = "sim"
    is_start_doubted: ClassVar[bool] = False


class LostTombstones(LostKeys):
    """Erased users' tombstones."""

    kind: ClassVar[str] = "erased"


class SimilarView:
    """``sim:`` of every item that we own and that was published.

    Args:
        engine: Touched on the state thread only.
        pacers: Of each item partition; an item that waits there is written soon anyhow.
        write_similar: Writes the lists of some items of a partition.
        is_caught_up: Whether an item partition has passed its log's end at assignment.
        ttl_ms: Life of a list: who was last touched longer ago may have none.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        pacers: dict[int, SignalPacer],
        write_similar: Callable[[int, Sequence[bytes]], Awaitable[None]],
        is_caught_up: Callable[[int], bool],
        ttl_ms: int,
    ) -> None:
        self._engine = engine
        self._pacers = pacers
        self._write_similar = write_similar
        self._is_caught_up = is_caught_up
        self._ttl_ms = ttl_ms

    def held(self) -> Set[int]:
        """Return the item partitions that are ours."""
        return set(self._engine.items)

    def partitions(self) -> Sequence[int]:
        """Return those that are up to date."""
        return [each for each in sorted(self._engine.items) if self._is_caught_up(each)]

    def slice_from(self, partition: int, begin: int) -> Slice | None:
        """Return the next items' keys, those about to be written left out."""
        items = self._engine.items.get(partition)
        pacer = self._pacers.get(partition)
        if items is None or pacer is None:
            return None
        live = items.live_rows()
        place = int(np.searchsorted(live, begin))
        rows = live[place : place + _SLICE]
        if not len(rows):
            return None
        after = int(rows[-1]) + 1 if place + _SLICE < len(live) else 0
        is_due = items.are_settled(rows, since_ms=items.stream_time_ms - self._ttl_ms)
        is_due &= ~pacer.holds(rows)
        ids = items.ids.ids(items.id_rows[rows[is_due]])
        return Slice(keys=[similar_key(each) for each in ids], sources=ids, after=after)

    async def write(self, partition: int, keys: list[bytes], sources: list[bytes]) -> None:
        """Write these items' lists."""
        await self._write_similar(partition, sources)


class TombstoneView:
    """``erased:`` of every user whose erase the state remembers.

    Args:
        engine: Touched on the state thread only.
        write_tombstones: Writes (key, version) pairs.
        num_waiting: How many erases Redis has not confirmed yet: those are written soon anyhow.
        epoch: Leading part of every version.
        retention_ms: Life of a tombstone: an erase longer ago may have none.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        write_tombstones: Callable[[Sequence[tuple[bytes, str]]], Awaitable[object]],
        num_waiting: Callable[[], int],
        epoch: int,
        retention_ms: int,
    ) -> None:
        self._engine = engine
        self._write_tombstones = write_tombstones
        self._num_waiting = num_waiting
        self._epoch = epoch
        self._retention_ms = retention_ms

    def held(self) -> Set[int]:
        """Return the user partitions that are ours."""
        return set(self._engine.users)

    def partitions(self) -> Sequence[int]:
        """Return them, none while erases wait for Redis."""
        return [] if self._num_waiting() else sorted(self._engine.users)

    def slice_from(self, partition: int, begin: int) -> Slice | None:
        """Return the next tombstones' keys."""
        shard = self._engine.users.get(partition)
        if shard is None:
            return None
        erases = shard.tables.read_erases(begin, _SLICE)
        after = begin + _SLICE if len(erases) == _SLICE else 0
        since_ms = shard.tables.stream_time_ms - self._retention_ms
        erases = [each for each in erases if each.name and each.time_ms > since_ms]
        return Slice(
            keys=[tombstone_key(each.slot, each.name) for each in erases],
            sources=[
                erase_version(epoch=self._epoch, offset=each.offset).encode() for each in erases
            ],
            after=after,
        )

    async def write(self, partition: int, keys: list[bytes], sources: list[bytes]) -> None:
        """Write these tombstones."""
        versions = [each.decode() for each in sources]
        await self._write_tombstones(list(zip(keys, versions, strict=True)))
