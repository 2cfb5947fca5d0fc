"""Inbox: fetched slabs that wait for the state thread, per topic; bounded in bytes.

Faust hands over one slab of one partition at a time. A hop to the state thread costs more than the
fold of a handful of events, so whoever takes from the inbox gets all that waits, of all partitions,
the slabs of one partition joined: the busier the worker, the larger its batches. Absent on purpose:
any wait for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream.slab import Slab


class Inbox:
    """One topic's slabs, oldest first. Everything is called on the event loop.

    Args:
        max_bytes: ``put`` waits while more than this would wait; one slab always fits.
    """

    def __init__(self, *, max_bytes: int) -> None:
        assert max_bytes > 0
        self._max_bytes = max_bytes
        self._waiting: list[Slab] = []
        self._changed = asyncio.Event()
        self.num_bytes = 0

    async def put(self, slab: Slab, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Add a slab; waits for room, and drops a slab that is not wanted any more by then."""
        while self._waiting and self.num_bytes + slab.buffer.nbytes > self._max_bytes:
            await self._wait()
        if not is_wanted():
            return
        self._waiting.append(slab)
        self.num_bytes += slab.buffer.nbytes
        self._changed.set()

    async def take(self) -> list[Slab]:
        """Wait for slabs and return all; per partition in order, contiguous ones joined."""
        while not self._waiting:
            await self._wait()
        taken = self._waiting
        self._keep([])
        runs: dict[int, list[list[Slab]]] = {}
        for slab in taken:
            of_partition = runs.setdefault(slab.partition, [])
            if of_partition and of_partition[-1][-1].end == slab.begin:
                of_partition[-1].append(slab)
            else:
                of_partition.append([slab])
        return [Slab.concat(run) for of_partition in runs.values() for run in of_partition]

    def forget(self, partition: int) -> None:
        """Drop what waits of a partition: it is read anew from where its state is."""
        self._keep([slab for slab in self._waiting if slab.partition != partition])

    def _keep(self, slabs: list[Slab]) -> None:
        self._waiting = slabs
        self.num_bytes = sum(slab.buffer.nbytes for slab in slabs)
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
