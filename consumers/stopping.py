"""SIGINT and SIGTERM as an event, for as long as a command runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumers.interrupts import is_command


@asynccontextmanager
async def stop_on_signals() -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGINT or SIGTERM sets; the handlers are taken back at the end.

    The command ``headwater`` ends then: a SIGTERM that comes while it does is ignored, or it would
    cut off the line that says why.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        if is_command():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
