"""Exits: how a worker's process ended, and whether a worker may end so (I11: it works or exits).

A worker may end

- with 0, where somebody asked it to;
- by a signal that the runner sent, or by SIGKILL where it was started with a crash point;
- by itself with one of its own codes of failure, where the last line of its log is the one clear
  line that is promised: ``headwater: expected ..., came ...``, or the watchdog's. No log line of
  any level is a reason beside it, and a traceback is none at all.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Collection

# Something was lost or a server was unreachable; settings cannot work; it was stuck.
_CODES = (1, 2, 3)
# A name of an exception, or a library's own words, says nothing of what was expected.
_CLEAR = re.compile(r"headwater: (?:the worker ends: .{10,}|.*\b(?:expected|wants)\b.{20,})")
_TRACE = "Traceback (most recent call last)"
_ASKING = {signal.SIGTERM, signal.SIGINT}


def reason_of(log: str) -> str:
    """Return the clear line with which a worker's log ends; "" where it ends otherwise."""
    last = log.rstrip().rpartition("\n")[2]
    return last if _CLEAR.fullmatch(last) else ""


def why_wrong(
    code: int, log: str, *, signals: Collection[int], may_crash: bool, may_trace: bool = False
) -> str:
    """Return why a worker may not end so; "" where it may.

    Args:
        code: Exit code; below zero the signal that ended it.
        log: Its whole log.
        signals: What the runner sent it.
        may_crash: Whether it was started with a crash point.
        may_trace: Whether a traceback before its line is passed over: of an older commit, whose
            faults that are mended by now are not this one's.
    """
    if code < 0:
        is_ours = -code in signals or (may_crash and code == -signal.SIGKILL)
        return "" if is_ours else f"ended by {signal.Signals(-code).name}, which nobody sent"
    if code == 0:
        return "" if _ASKING & {*signals} else "ended with code 0, and nobody asked it to"
    last = log.rstrip().rpartition("\n")[2]
    if code not in _CODES or not reason_of(log):
        return f"ended with code {code}, and its last line is no reason: {last[:200]!r}"
    is_traced = _TRACE in log and not may_trace
    return f"ended with a traceback before {last[:200]!r}" if is_traced else ""
