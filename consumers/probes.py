"""What the watchdog and the health server ask a worker, and how a failure is named."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from consumers.watchdog import Activity
from stream.errors import HeadwaterError

if TYPE_CHECKING:
    from consumers.app import Worker

EXIT_STUCK = 3


class WorkerProbes:
    """Reads a worker's progress; never changes it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def activities(self) -> list[Activity]:
        """Name what must go on while there is work: every partition's fold, and refreshing."""
        worker = self._worker
        lags = worker.lags()
        folds = [
            Activity(
                name=f"{topic}/{partition}",
                position=worker.ownership.next_offset(topic, partition) or 0,
                pending=lags.get((topic, partition), 0),
            )
            for topic, partition in worker.ownership.assigned
        ]
        return [
            *folds,
            Activity(
                name="refresh",
                position=worker.refresh.num_batches,
                pending=worker.queue.num_takeable,
                excuse="lists cannot be written" if worker.refresh.is_paused else None,
            ),
        ]

    def why_not_ready(self) -> list[str]:
        """Return why lists are not fresh yet; empty when they are."""
        ownership = self._worker.ownership
        reasons = [
            f"{topic}/{partition} catches up with its log"
            for topic, partition in sorted(ownership.assigned)
            if not ownership.is_caught_up(topic, partition)
        ]
        if not ownership.has_assignment.is_set():
            reasons.append("no partitions assigned yet")
        lease_over = self._worker.why_over()
        if ownership.has_assignment.is_set() and lease_over is not None:
            reasons.append(lease_over)
        elif self._worker.refresh.is_paused:
            reasons.append("lists cannot be written to Redis")
        return reasons


def end_process(reason: str) -> None:
    """End the process at once: what hangs cannot be asked to stop (law 9)."""
    sys.stderr.write(f"headwater: the worker ends: {reason}\n")
    sys.stderr.flush()
    os._exit(EXIT_STUCK)


def first_failure(done: Iterable[asyncio.Task[Any]]) -> BaseException | None:
    """Return why a task failed, the first of ours inside a group; None when none did."""
    for task in done:
        if task.cancelled():
            continue
        error = task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = next(
                (each for each in error.exceptions if isinstance(each, HeadwaterError)),
                error.exceptions[0],
            )
        if error is not None:
            return error
    return None
