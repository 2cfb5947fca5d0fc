"""When a record is due: at a rate, at a multiple of its own time, or at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from consumers.produce_report import Record

# Records that go out before the event loop gets a turn.
_MAX_RUN = 2_000
# The shortest sleep, in s: records due within it go out together.
_TICK_S = 0.005
# The longest sleep, in s: between records that are hours apart the caller reports progress.
_MAX_WAIT_S = 0.25


class Pace:
    """Say how many records of a block are due; without a rate and a speed, all are.

    Args:
        rate: Records per second of wall time; None for no such pace.
        speed: Times real time by the records' own times; None for no such pace.

    Attributes:
        behind_s: How late the last records were; 0 where nothing is late.

    Raises:
        ValueError: Both are given, or one is not above 0.
    """

    def __init__(self, *, rate: float | None, speed: float | None) -> None:
        for name, value in (("rate", rate), ("speed", speed)):
            if value is not None and not value > 0:
                message = f"expected a {name} above 0, got {value}"
                raise ValueError(message)
        if rate is not None and speed is not None:
            message = f"expected a rate or a speed, got both ({rate} and {speed})"
            raise ValueError(message)
        self._rate = rate
        self._speed = speed
        self._began_s = 0.0
        self._first_ms: int | None = None
        self._num_before = 0
        self.behind_s = 0.0

    async def wait_for_due(self, block: Sequence[Record], begin: int, stop: asyncio.Event) -> int:
        """Return the end of the records that are due; ``begin`` where none is for a while."""
        last = min(len(block), begin + _MAX_RUN)
        if self._rate is None and self._speed is None:
            return last
        if self._first_ms is None:
            self._first_ms, self._began_s = block[begin][0], time.monotonic()
        wait_s = self._due_s(block[begin], 0) - time.monotonic()
        self.behind_s = max(0.0, -wait_s)
        if wait_s > 0:
            try:
                await asyncio.wait_for(stop.wait(), min(max(wait_s, _TICK_S), _MAX_WAIT_S))
                return begin
            except TimeoutError:
                if wait_s > _MAX_WAIT_S:
                    return begin
        now_s = time.monotonic()
        end = begin + 1
        while end < last and self._due_s(block[end], end - begin) <= now_s:
            end += 1
        self._num_before += end - begin
        return end

    def _due_s(self, record: Record, ahead: int) -> float:
        if self._rate is not None:
            return self._began_s + (self._num_before + ahead) / self._rate
        assert self._first_ms is not None and self._speed is not None
        return self._began_s + (record[0] - self._first_ms) / 1000 / self._speed
