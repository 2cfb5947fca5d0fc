"""How a worker's tasks live and end: together, with the first failure as the reason, in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from typing import Any

from consumers.probes import end_process, first_failure
from stream.errors import HeadwaterError


async def finish_or_stop(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Run ``work`` to its end and return True, or cancel it when ``stop`` is set first.

    Raises:
        Exception: Whatever the work raised.
    """
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def first_end(
    tasks: Iterable[asyncio.Task[Any]], may_end: asyncio.Task[Any], stop: asyncio.Event
) -> BaseException | None:
    """Wait until ``stop`` is set (None), or until one of the tasks ends, and return why.

    A task that ends without an error is a failure too: alive without it is not working (law 9).
    Only ``may_end`` has an end of its own.
    """
    stopping = asyncio.create_task(stop.wait())
    running = {*tasks, may_end, stopping}
    try:
        while not stopping.done():
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            failure = first_failure(done)
            if failure is not None:
                return failure
            for task in done - {may_end, stopping}:
                message = f"expected {task.get_name()} to run until the worker stops, it ended"
                return HeadwaterError(message)
    finally:
        stopping.cancel()
    return None


class StopBound:
    """Ends the process where stopping takes too long: the last resort, on a thread of its own.

    Args:
        timeout_s: From :meth:`start` on.
    """

    def __init__(self, timeout_s: float) -> None:
        reason = f"it did not stop within {timeout_s:g} s"
        self._timer = threading.Timer(timeout_s, end_process, [reason])
        self._timer.daemon = True

    def start(self) -> None:
        """Start the clock; a second call changes nothing."""
        if not self._timer.is_alive() and not self._timer.finished.is_set():
            self._timer.start()

    def cancel(self) -> None:
        """The worker has stopped."""
        self._timer.cancel()
