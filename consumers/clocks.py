"""The two clocks of a worker; they are handed on as arguments and read nowhere else."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Return the wall clock, ms."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Return the monotonic clock, ms."""
    return time.monotonic_ns() // 1_000_000
