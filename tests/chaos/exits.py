"""Exits: how a worker's process ended, and whether a worker may end so (I11: it works or exits).

A worker may end

- with 0, where somebody asked it to;
- by a signal that the runner sent, or by SIGKILL where it was started with a crash point; SIGTERM
  and SIGINT ask it to end and end nobody, once it was ready;
- by itself with one of its own codes of failure, where the last line of its log is the one clear
  line that is promised: ``headwater: expected ..., came ...``, or the watchdog's. No log line of
  any level is a reason beside it.

A traceback is wrong in the log of any worker, also of one that lives, stopped well or was killed.
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
    code: int | None,
    log: str,
    *,
    signals: Collection[int],
    may_crash: bool,
    was_ready: bool = False,
    may_trace: bool = False,
) -> str:
    """Return why a worker may not have ended, or live, so; "" where it may.

    Args:
        code: Exit code; below zero the signal that ended it, None while it lives.
        log: Its whole log.
        signals: What the runner sent it.
        may_crash: Whether it was started with a crash point.
        was_ready: Whether it had said that it works: before, a signal ends Python itself.
        may_trace: Whether tracebacks are passed over: of an older commit, whose faults that are
            mended by now are not this one's.
    """
    why = "" if code is None else _why_no_end(code, log, signals, may_crash, was_ready)
    if why or may_trace or _TRACE not in log:
        return why
    trace = log[log.index(_TRACE) :].splitlines()
    ending = next((at for at, each in enumerate(trace[1:], 1) if each[:1].strip()), len(trace) - 1)
    return f"logged a traceback: {trace[1:3]} ... {trace[ending : ending + 3]}"[:1500]


def _why_no_end(
    code: int, log: str, signals: Collection[int], may_crash: bool, was_ready: bool
) -> str:
    if code < 0:
        is_sent = -code in signals and not (was_ready and -code in _ASKING)
        is_ours = is_sent or (may_crash and code == -signal.SIGKILL)
        name = signal.Signals(-code).name
        who = "which asks and does not end" if -code in signals else "which nobody sent"
        return "" if is_ours else f"ended by {name}, {who}"
    if code == 0:
        return "" if _ASKING & {*signals} else "ended with code 0, and nobody asked it to"
    if code not in _CODES or not reason_of(log):
        last = log.rstrip().rpartition("\n")[2]
        return f"ended with code {code}, and its last line is no reason: {last[:200]!r}"
    return ""
