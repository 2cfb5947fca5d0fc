"""LeasedWrite: lists are written while the group surely leaves our partitions with us, else not.

A worker that wakes after its session has ended still holds lists that it made long ago. The
compare-and-set by version refuses most of them; this refuses all.
"""

from __future__ import annotations

from collections.abc import Callable

from consumers.refresh import Write
from consumers.sink_replies import Reply, WriteReport
from stream.candidates import RecommendationBatch


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
        self.num_fenced = 0

    async def __call__(self, batch: RecommendationBatch, *, generated_at_ms: int) -> WriteReport:
        """Write the lists of a batch, or report each as ``Reply.FENCED``: its user stays dirty."""
        reason = self._why_over()
        if reason is not None:
            self.num_fenced += len(batch)
            return WriteReport.of([Reply.FENCED] * len(batch), reason)
        return await self._write(batch, generated_at_ms=generated_at_ms)
