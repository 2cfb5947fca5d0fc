"""ToldWrite: says so when the lists in Redis stay newer than ours, which nothing else would show.

A list that is older than what stands there is not written, and that is an answer. Where all are,
for long, nobody is late and the lists stand still: Redis holds those of another life, and versions
of this one come before them (a log begun anew, an epoch set back). Absent: any look at Redis.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from consumers.refresh import Write
from consumers.sink_replies import Reply, WriteReport
from stream.candidates import RecommendationBatch

logger = logging.getLogger(__name__)

# Longer than a worker that lost its partitions goes without knowing it.
_LONG_S = 15.0


class ToldWrite:
    """A write of lists whose refusals for age are counted.

    Args:
        write: The sink's.
        monotonic_s: Clock.
    """

    def __init__(self, write: Write, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._monotonic_s = monotonic_s
        self._since_s: float | None = None
        self._is_told = False

    async def __call__(self, batch: RecommendationBatch, *, generated_at_ms: int) -> WriteReport:
        """Write the lists of a batch; pass the report through."""
        report = await self._write(batch, generated_at_ms=generated_at_ms)
        num_older = int((report.replies == Reply.STALE).sum())
        num_taken = int((report.replies == Reply.ACCEPTED).sum())
        if num_taken > num_older:
            self._since_s, self._is_told = None, False
        elif num_older:
            self._tell_of_long()
        return report

    def _tell_of_long(self) -> None:
        now_s = self._monotonic_s()
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s < _LONG_S or self._is_told:
            return
        self._is_told = True
        logger.error(
            "expected lists to be newer than those in Redis, for %.0f s most were older and were "
            "not written: Redis has lists of another life. Did the log or the state begin anew, "
            "was HEADWATER_EPOCH higher before, does another Headwater write there? "
            "Raise HEADWATER_EPOCH above theirs (the first six digits of "
            "`HGET rec:trending version`). If a worker's clock was ahead, whoever acts gets a "
            "new one",
            now_s - self._since_s,
        )
