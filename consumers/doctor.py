"""``doctor``: looks at everything that Headwater stands on, changes nothing.

Each part looks at its own server or at this machine and comes back with findings; a server that
does not answer is one finding, and what could not be looked at without it is left out. The verdicts
are pure functions of what was read (``judge_*``).
"""

from __future__ import annotations

import asyncio

from consumers.doctor_kafka import look_at_kafka
from consumers.doctor_machine import look_at_machine
from consumers.doctor_redis import look_at_redis
from consumers.findings import Finding
from stream.settings import Settings

TIMEOUT_S = 5.0


async def examine(
    settings: Settings, *, brokers: str | None, redis_url: str | None, timeout_s: float = TIMEOUT_S
) -> list[Finding]:
    """Return every finding: Kafka's, Redis', this machine's.

    Args:
        settings: What the servers are compared with.
        brokers: Bootstrap servers; None where nothing names them.
        redis_url: URL; None where nothing names one.
        timeout_s: Bound of each server's answer.
    """
    kafka, redis, machine = await asyncio.gather(
        look_at_kafka(settings, brokers, timeout_s=timeout_s),
        look_at_redis(settings, redis_url, timeout_s=timeout_s),
        asyncio.to_thread(look_at_machine, settings),
    )
    return [*kafka, *redis, *machine]
