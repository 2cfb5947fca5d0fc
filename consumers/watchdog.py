"""Watchdog: a worker that makes no progress while there is work ends, with a reason (DESIGN law 9).

The decision is pure (:class:`ProgressJudge`). The shell asks on the event loop; a thread beside it
notices when the event loop itself no longer answers, which nothing on the loop can.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Something that must go on while there is work for it.

    Attributes:
        name: Says what it is in the reason, ``interactions/3`` or ``refresh``.
        position: Grows or changes with progress (a next offset, a count of batches).
        pending: Work left (lag in records, dirty users); 0 means that rest is fine.
        excuse: Why it may stand still (Redis is away), or None.
    """

    name: str
    position: int
    pending: int
    excuse: str | None = None


class ProgressJudge:
    """Remembers when each activity last moved, and says which has stood still for too long.

    Args:
        limit_ms: How long an activity may stand still while work is pending.
    """

    def __init__(self, *, limit_ms: int) -> None:
        self._limit_ms = limit_ms
        self._moved: dict[str, tuple[int, int]] = {}  # Name to (position, since when).

    def observe(self, activities: Iterable[Activity], now_ms: int) -> list[str]:
        """Take a sample; return the reasons to end, empty when all is well.

        Activities that are not named any more (a partition that moved away) are forgotten. The
        clock starts when work appears, not when the last work was done.
        """
        moved: dict[str, tuple[int, int]] = {}
        reasons = []
        for activity in activities:
            position, since_ms = self._moved.get(activity.name, (activity.position, now_ms))
            rests = activity.pending <= 0 or activity.excuse is not None
            if rests or position != activity.position:
                since_ms = now_ms
            moved[activity.name] = (activity.position, since_ms)
            if now_ms - since_ms >= self._limit_ms:
                reasons.append(
                    f"{activity.name}: no progress beyond {activity.position} for "
                    f"{(now_ms - since_ms) / 1_000:.0f} s while {activity.pending} wait"
                )
        self._moved = moved
        return reasons


class Watchdog:
    """Samples activities and ends the worker through a callback.

    Args:
        probe: Returns the activities; called on the event loop, must not block.
        end: Ends the worker; called once, with a reason. May be called from a thread, when the
            event loop is what hangs: it must not need the loop (``os._exit`` after a log line).
        limit_ms: How long work may stand still, and how long the loop may not answer.
        sample_ms: Time between two samples.
        monotonic_ms: Clock.
    """

    def __init__(
        self,
        *,
        probe: Callable[[], Iterable[Activity]],
        end: Callable[[str], None],
        limit_ms: int,
        sample_ms: int = 1_000,
        monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
    ) -> None:
        self._probe = probe
        self._end = end
        self._limit_ms = limit_ms
        self._sample_ms = sample_ms
        self._monotonic_ms = monotonic_ms
        self._judge = ProgressJudge(limit_ms=limit_ms)
        self._reasons: list[str] = []
        self._beat_ms = 0
        self._stopped = threading.Event()
        self._has_ended = threading.Lock()

    def why_stuck(self) -> list[str]:
        """Return the reasons of the last sample, for ``/healthz``; empty when all is well."""
        return list(self._reasons)

    async def run(self) -> None:
        """Sample until cancelled or until the worker was told to end."""
        self._stopped.clear()
        self._beat_ms = self._monotonic_ms()
        thread = threading.Thread(target=self._watch_loop, name="watchdog", daemon=True)
        thread.start()
        try:
            while True:
                now_ms = self._beat_ms = self._monotonic_ms()
                self._reasons = self._judge.observe(self._probe(), now_ms)
                if self._reasons:
                    self._finish("; ".join(self._reasons))
                    return
                await asyncio.sleep(self._sample_ms / 1_000)
        finally:
            self._stopped.set()

    def _watch_loop(self) -> None:
        """Run on a thread: end the worker when the event loop has not beaten for too long."""
        while not self._stopped.wait(self._sample_ms / 1_000):
            silent_ms = self._monotonic_ms() - self._beat_ms
            if silent_ms >= self._limit_ms + self._sample_ms:
                self._finish(f"the event loop has not answered for {silent_ms / 1_000:.0f} s")
                return

    def _finish(self, reason: str) -> None:
        if self._has_ended.acquire(blocking=False):
            logger.error("ending the worker: %s", reason)
            self._end(reason)
