"""ReturnedLists: lists of erased users that a server brought back are deleted again.

Redis replicates late: a replica that is promoted, or a node that restarts from an old file, may
hold a list whose erase it never saw. State remembers of an erase a hash only, not the list's key,
so the keys are scanned, once each time that a server does not know our scripts (it was restarted
or is another one) or that partitions come to us (who had them may have died before it scanned), and
only where a partition of ours remembers an erase at all.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import ClassVar

from consumers.sink import RedisSink
from consumers.sink_keys import tombstone_key
from consumers.state_thread import WorkThread
from stream.engine import Engine
from stream.versions import erase_version

logger = logging.getLogger(__name__)

# Version by tombstone key by cluster slot.
Stones = dict[int, dict[bytes, str]]
# The tables' own bound is below it.
_ALL = 2**31


class ReturnedLists:
    """A look of :class:`consumers.lost_lists.LossWatch`; nothing that it finds is lost.

    Args:
        engine: Touched on the state thread only.
        state: The state thread.
        sink: Scans and deletes.
        epoch: Leading part of every version.
        retention_ms: An erase longer ago is not looked for.
        num_script_loads: How often the server did not know our scripts.
    """

    kind: ClassVar[str] = "rec"

    def __init__(
        self,
        *,
        engine: Engine,
        state: WorkThread,
        sink: RedisSink,
        epoch: int,
        retention_ms: int,
        num_script_loads: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._state = state
        self._sink = sink
        self._epoch = epoch
        self._retention_ms = retention_ms
        self._num_script_loads = num_script_loads
        self.num_lost = 0
        self._num_loads_seen = 0
        self._num_loads_told = 0
        self._held_seen: set[int] = set()

    async def look(self) -> int:
        """Scan where a server is another one than before, or a partition is new; return 0."""
        num_loads, held = self._num_script_loads(), set(self._engine.users)
        self._held_seen &= held
        if num_loads == self._num_loads_seen and held == self._held_seen:
            return 0
        stones = await self._state.run(self._stones)
        num_found = await self._sink.delete_returned(stones) if stones else 0
        if num_found is None:
            if num_loads != self._num_loads_told:
                self._num_loads_told = num_loads
                logger.warning(
                    "expected Redis to let us SCAN for lists of erased users, which a server that "
                    "was restarted or failed over may hold again; it did not: asked again until it "
                    "does. Has its user +scan (docker/redis/users.acl.example)?"
                )
            return 0
        self._num_loads_seen, self._held_seen = num_loads, held
        if num_found:
            logger.warning("%d lists of erased users had come back, and are deleted", num_found)
        return 0

    def _stones(self) -> Stones:
        """Return every tombstone of our partitions (state thread)."""
        found: Stones = defaultdict(dict)
        for shard in self._engine.users.values():
            tables = shard.tables
            since_ms = tables.stream_time_ms - self._retention_ms
            for each in tables.read_erases(0, _ALL):
                if each.name and each.time_ms > since_ms:
                    version = erase_version(epoch=self._epoch, offset=each.offset)
                    found[each.slot][tombstone_key(each.slot, each.name)] = version
        return found
