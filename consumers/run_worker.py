"""Run one worker from its start to its end, whatever ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from consumers.app import Worker
from consumers.supervision import finish_or_stop
from stream.settings import Settings


async def run_worker(
    settings: Settings,
    *,
    brokers: str,
    redis_url: str,
    stop: asyncio.Event,
    on_ready: Callable[[str], None] = lambda health: None,
) -> None:
    """Run one worker until ``stop`` is set; then stop it cleanly.

    Args:
        settings: All settings.
        brokers: Bootstrap servers.
        redis_url: URL of Redis.
        stop: Set to end the worker.
        on_ready: Called with the health address once the worker has its partitions.

    Raises:
        HeadwaterError: What ended the worker before it was asked to.
    """
    async with AsyncExitStack() as closing:
        worker = Worker(settings, brokers=brokers, redis_url=redis_url)
        closing.push_async_callback(worker.close)
        if await finish_or_stop(worker.start(), stop):
            await worker.run(stop, on_ready)
