"""SnapshotFaults: which partitions' snapshots cannot be written now, and for how long already.

A store that is full or away heals without a person: the partition's next snapshot is tried at its
next interval, its offsets stay uncommitted meanwhile. Only a bound ends the worker. Absent: files,
retries of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from stream.errors import HeadwaterError, SnapshotNotWritten

logger = logging.getLogger(__name__)


class SnapshotFaults:
    """Remembers since when each partition's snapshot fails; tells of changes, not of tries.

    Args:
        limit_s: For how long one partition's snapshots may fail.
        monotonic_s: Clock.

    Attributes:
        num_failed: Snapshots not written, by kind.
    """

    def __init__(self, *, limit_s: float, monotonic_s: Callable[[], float]) -> None:
        self.num_failed = {"users": 0, "items": 0}
        self._limit_s = limit_s
        self._monotonic_s = monotonic_s
        self._since_s: dict[tuple[str, int], float] = {}

    def failed(self, key: tuple[str, int], kind: str, error: SnapshotNotWritten) -> None:
        """Take up a failure; the first of any partition is told.

        Raises:
            HeadwaterError: This partition's snapshots have failed for too long.
        """
        self.num_failed[kind] += 1
        now_s = self._monotonic_s()
        if not self._since_s:
            logger.error(
                "%s; it is tried again at every interval, and its offsets are not committed", error
            )
        since_s = self._since_s.setdefault(key, now_s)
        if now_s - since_s >= self._limit_s:
            message = (
                f"{error}; expected one within {self._limit_s:g} s "
                f"(HEADWATER_WORKER__SNAPSHOTS_TIMEOUT_S), none for {now_s - since_s:.0f} s"
            )
            raise HeadwaterError(message) from error

    def written(self, key: tuple[str, int]) -> None:
        """Take up a success; the last one that was missing is told."""
        since_s = self._since_s.pop(key, None)
        if since_s is not None and not self._since_s:
            seconds = self._monotonic_s() - since_s
            logger.info("snapshots are written again, after %.0f s", seconds)

    def forget(self, key: tuple[str, int]) -> None:
        """Take a partition that moved away: its snapshots are another worker's."""
        self._since_s.pop(key, None)
