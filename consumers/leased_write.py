"""LeasedWrite: lists are written while the group surely leaves our partitions with us, else not.

A worker that wakes after its session has ended still holds lists that it made long ago. The
compare-and-set by version refuses most of them; this refuses all. Where that refuses the lists of a
worker that holds the lease, its versions are of a lower epoch: a wrong setting that nothing else
shows, since a list that is refused as older answers its events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from consumers.refresh import Write
from consumers.sink_replies import Reply, WriteReport
from stream.candidates import RecommendationBatch

logger = logging.getLogger(__name__)

# Lists refused as older, and their share of all, from which on it is told: of a worker with the
# right epoch hardly one is.
_MIN_STALE = 20
_MIN_SHARE = 0.1


class LeasedWrite:
    """A write of lists behind a lease.

    Args:
        write: The sink's.
        why_over: :meth:`consumers.group_session.GroupSession.why_over`.

    Attributes:
        num_fenced: Lists that were not sent because the lease was over.
    """

    def __init__(self, write: Write, *, why_over: Callable[[], str | None]) -> None:
        self._write = write
        self._why_over = why_over
        self._num_stale = self._num_written = 0
        self._is_told = False
        self.num_fenced = 0

    async def __call__(self, batch: RecommendationBatch, *, generated_at_ms: int) -> WriteReport:
        """Write the lists of a batch, or report each as ``Reply.FENCED``: its user stays dirty."""
        reason = self._why_over()
        if reason is not None:
            self.num_fenced += len(batch)
            return WriteReport.of([Reply.FENCED] * len(batch), reason)
        report = await self._write(batch, generated_at_ms=generated_at_ms)
        self._count(report)
        return report

    def _count(self, report: WriteReport) -> None:
        """Tell once where Redis takes too many of our lists for older ones."""
        self._num_stale += int((report.replies == Reply.STALE).sum())
        self._num_written += int((report.replies <= Reply.SAME).sum())
        is_share = self._num_stale >= _MIN_SHARE * (self._num_stale + self._num_written)
        if self._is_told or self._num_stale < _MIN_STALE or not is_share:
            return
        self._is_told = True
        logger.error(
            "expected Redis to take our lists, it refused %d as older than those that it holds and "
            "took %d: was HEADWATER_EPOCH lowered, or not raised with a new group or a topic made "
            "anew? Set it above the first six digits of `HGET rec:trending version`. Only where "
            "workers of a higher epoch take over from this one is that as it should be",
            self._num_stale,
            self._num_written,
        )
