"""StoreCalls: a snapshot store's calls, each on a thread of its own and with a bound.

A store may accept a connection and never answer. Its calls block, so each runs on a daemon thread:
one that hangs holds up neither the loop, nor a stop, nor the threads that others share. While one
hangs further calls are refused at once. What it does once the store answers changes nothing: a
snapshot that was written late is whole and names its offset. Absent: what a failed call means.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from stream.errors import ServerUnreachable

T = TypeVar("T")


class StoreCalls:
    """Calls one store.

    Args:
        place: Of the store, for a person.
        timeout_s: How long a call may take.
    """

    def __init__(self, place: str, *, timeout_s: float) -> None:
        self._place = place
        self._timeout_s = timeout_s
        self._hanging: set[threading.Thread] = set()

    async def run(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Run a call on a thread.

        Raises:
            ServerUnreachable: It took too long, or an earlier one still does.
        """
        self._hanging = {thread for thread in self._hanging if thread.is_alive()}
        if self._hanging:
            came = "an earlier call still waits"
            raise self._silent(came)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def tell(result: T | None, error: Exception | None) -> None:
            if done.done():  # Nobody waits any more.
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type]
            else:
                done.set_exception(error)

        def work() -> None:
            result, error = None, None
            try:
                result = call(*arguments, **named)
            except Exception as failure:
                error = failure
            with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
                loop.call_soon_threadsafe(tell, result, error)

        thread = threading.Thread(target=work, name="snapshot-store", daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await done
        except TimeoutError:
            if done.done() and not done.cancelled():
                raise  # The call's own.
            self._hanging.add(thread)
            came = f"none within {self._timeout_s:g} s"
            raise self._silent(came) from None

    def _silent(self, came: str) -> ServerUnreachable:
        return ServerUnreachable(
            f"expected an answer of the snapshot store {self._place}, came {came}: is it up? "
            "(HEADWATER_WORKER__STORE_TIMEOUT_S)"
        )
