"""The one thread that touches state, and the one that scores (DESIGN: threads).

Work that blocks runs there so that the event loop's heartbeats go on. Calls are queued in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class WorkThread:
    """One named thread with a queue; ``await thread.run(function, ...)``.

    Attributes:
        executor: The thread, for who submits by himself.
    """

    def __init__(self, name: str) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on the thread and return what it returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        self.executor.shutdown(wait=True)
