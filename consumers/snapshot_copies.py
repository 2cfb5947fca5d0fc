"""SnapshotCopies: a partition's arrays as of one offset, copied beside the state thread.

The state thread only freezes a partition (milliseconds) and keeps what it changes while a thread
of the pool copies; see ``state.frozen``. Absent: files, offsets' durability.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.signal_publisher import SignalPacer
from consumers.state_thread import WorkThread
from state.frozen import Frozen
from state.table import Arrays
from stream.engine import Engine

USERS = "users"
ITEMS = "items"
PENDING = "pending."
# Times as long as a snapshot took, for which none follows: copying, hashing and writing share
# memory with the folds and slow them while they last.
REST = 3


def split_pending(
    arrays: Mapping[str, NDArray[Any]],
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Part a snapshot's arrays into the shell's and the tables'."""
    pending, tables = {}, {}
    for name, array in arrays.items():
        if name.startswith(PENDING):
            pending[name.removeprefix(PENDING)] = array
        else:
            tables[name] = array
    return pending, tables


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenPartition:
    """One partition as of one offset.

    Attributes:
        next_offset: The offset that its state wanted next.
        frozen: Its tables.
        unsent_rows: Item rows taken for a signal that was perhaps not sent; () for users.
    """

    next_offset: int
    frozen: Frozen
    unsent_rows: NDArray[np.int32]


class SnapshotCopies:
    """Freezes, copies and thaws partitions of one engine.

    Args:
        engine: Touched on the state thread, but for the copier's reads.
        state: The state thread.
        pacers: Of each item partition that publishes signals.
        on_pause: Told (kind, seconds) for which freezing or thawing held the state thread.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        state: WorkThread,
        pacers: Mapping[int, SignalPacer],
        on_pause: Callable[[str, float], None],
    ) -> None:
        self._engine = engine
        self._state = state
        self._pacers = pacers
        self._on_pause = on_pause

    async def freeze(self, kind: str, partition: int) -> FrozenPartition:
        """Freeze a partition; every call is followed by :meth:`copy` or :meth:`thaw`."""
        items = self._engine.items.get(partition) if kind == ITEMS else None
        spare = await asyncio.to_thread(items.spare) if items is not None else {}
        found, seconds = await self._state.run(self._freeze, kind, partition, spare)
        self._on_pause(kind, seconds)
        return found

    async def copy(self, kind: str, partition: int, found: FrozenPartition) -> Arrays:
        """Copy what was frozen, thaw the partition, return the snapshot's arrays."""
        await asyncio.to_thread(_copy_all, found.frozen)
        await self._state.run(self._thaw, kind, partition)
        return await asyncio.to_thread(_arrays, found)

    def thaw(self, kind: str, partition: int) -> None:
        """Give up what was frozen, soon; also where the caller is cancelled."""
        self._state.executor.submit(self._thaw, kind, partition)

    def _freeze(self, kind: str, partition: int, spare: Arrays) -> tuple[FrozenPartition, float]:
        started = time.perf_counter()
        unsent = np.empty(0, np.int32)
        if kind == USERS:
            shard = self._engine.users[partition]
            next_offset, frozen = shard.tables.next_offset, shard.freeze()
        else:
            items = self._engine.items[partition]
            next_offset, frozen = items.next_offset, items.freeze(spare)
            if partition in self._pacers:
                unsent = np.array(self._pacers[partition].rows(), np.int32)
        found = FrozenPartition(next_offset=next_offset, frozen=frozen, unsent_rows=unsent)
        return found, time.perf_counter() - started

    def _thaw(self, kind: str, partition: int) -> None:
        if kind == USERS and partition in self._engine.users:
            self._engine.users[partition].tables.thaw()
        elif kind == ITEMS and partition in self._engine.items:
            self._engine.items[partition].thaw()


def _copy_all(frozen: Frozen) -> None:
    for _ in frozen.pieces():
        pass


def _arrays(found: FrozenPartition) -> dict[str, NDArray[Any]]:
    arrays = found.frozen.arrays()
    if len(found.unsent_rows):
        # Taken from the state, and perhaps not sent yet: whoever restores sends them again.
        unsent = found.unsent_rows[arrays["id_rows"][found.unsent_rows] >= 0]
        arrays["dirty_rows"] = np.union1d(arrays["dirty_rows"], unsent).astype(np.int32)
    return arrays
