"""GroupSession: until when the consumer group certainly leaves our partitions with us: a lease.

The group gives a silent worker's partitions away a session timeout after it last heard from it. The
lease therefore runs from the moment at which a heartbeat that the coordinator accepted was *sent*:
it ends here before it ends there. Whoever writes what others read (lists, signals, snapshots) asks
first; a worker that was paused past its session then writes nothing until it has joined again.
Absent: any decision about what to do without a lease.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def now_s() -> float:
    """Return monotonic seconds that also run while the machine sleeps, where it can tell.

    A worker is not told that its laptop slept; its lease ran out all the same.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class GroupSession:
    """One worker's lease. Written on the consumer's thread, read on the event loop.

    Attributes:
        num_answers: Answers of coordinators so far, refusals too.

    Args:
        timeout_s: The group's session timeout.
        now_s: Clock; the same one must be given to :meth:`renew`.
    """

    def __init__(self, *, timeout_s: float, now_s: Callable[[], float] = now_s) -> None:
        self.now_s = now_s
        self._timeout_s = timeout_s
        # One assignment each, so that no reader on another thread sees half of a change.
        self._renewed_s: float | None = None
        self.num_answers = 0

    def renew(self, sent_s: float) -> None:
        """Count a request sent at ``sent_s`` by which the coordinator knew us as a member."""
        self._renewed_s = sent_s
        self.hear()

    def hear(self) -> None:
        """Count any answer of a coordinator, also one that refuses."""
        self.num_answers += 1

    def end(self) -> None:
        """The coordinator does not know us any more: the lease is over at once."""
        self._renewed_s = None

    def why_over(self) -> str | None:
        """Return why nothing may be written now; None while the partitions are surely ours."""
        renewed_s = self._renewed_s
        if renewed_s is None:
            return "this worker is no member of its group now"
        age_s = self.now_s() - renewed_s
        if age_s < self._timeout_s:
            return None
        return (
            f"the group has not answered a heartbeat for {age_s:.1f} s, longer than its session "
            f"timeout of {self._timeout_s:g} s: the partitions may be another worker's"
        )


class Silence:
    """How long there has been no news, not counting what this process itself slept.

    A worker that was paused, or whose machine slept, has heard nothing for that long and must not
    take it for the other's silence: it gets its chance to ask first.

    Args:
        max_step_s: Most that one observation may add.
    """

    def __init__(self, *, max_step_s: float) -> None:
        self._max_step_s = max_step_s
        self._news: object = None
        self._at_s: float | None = None
        self._silent_s = 0.0

    def observe(self, news: object, at_s: float) -> float:
        """Take a look at ``at_s``; return the seconds for which ``news`` has not changed."""
        step_s = 0.0 if self._at_s is None else min(at_s - self._at_s, self._max_step_s)
        self._silent_s = self._silent_s + step_s if news == self._news else 0.0
        self._news, self._at_s = news, at_s
        return self._silent_s
