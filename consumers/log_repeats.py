"""Holds back what libraries say over and over: Kafka away is one line now and then, not a flood.

aiokafka logs an error per connection and try, some hundred a second while its broker is away.
Nothing of ours is held back, and nothing at DEBUG.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

# Kinds of lines that are remembered; beyond it all are forgotten, and said once more.
_MAX_KINDS = 256


class HoldRepeats(logging.Filter):
    """Lets a kind of line through once per interval; the next one says how many were held back.

    A kind is a logger and a message before its arguments are put in.

    Args:
        libraries: Names of loggers, with all below them.
        interval_s: Between two lines of one kind.
        now_s: Clock.
    """

    def __init__(
        self,
        libraries: tuple[str, ...],
        *,
        interval_s: float = 10.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._libraries = libraries
        self._interval_s = interval_s
        self._now_s = now_s
        # Kind to when it was last let through, and how many were held back since.
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log it."""
        if record.name.split(".")[0] not in self._libraries:
            return True
        kind, now_s = (record.name, str(record.msg)), self._now_s()
        last_s, num_held = self._kinds.get(kind, (now_s - self._interval_s, 0))
        if now_s - last_s < self._interval_s:
            self._kinds[kind] = (last_s, num_held + 1)
            return False
        if len(self._kinds) >= _MAX_KINDS:
            self._kinds.clear()
        self._kinds[kind] = (now_s, 0)
        if num_held:
            record.msg = f"{record.msg} (and {num_held} more like it since the last)"
        return True
