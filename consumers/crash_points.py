"""Crash points: named places at which a test has the worker killed, as a power cut would.

``HEADWATER_CRASH_AT=after-fold:3`` ends the process with SIGKILL when it comes to ``after-fold``
for the third time (``after-fold`` alone: the first). Nothing is flushed, closed or released then.
Without the variable every call here returns at once. For tests only: it is no setting, and the one
name beside them that a worker reads from the environment.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import TypeVar

from stream.errors import ConfigurationError

VARIABLE = "HEADWATER_CRASH_AT"

# In the order of an event's way, then of a partition's life.
POINTS = (
    "before-fold",
    "after-fold",
    "after-mark",
    "after-dead-letters",
    "after-copies",
    "after-emit",
    "after-acknowledged",
    "after-item-fold",
    "after-signals",
    "mid-pipeline",
    "after-pipeline",
    "mid-erasure",
    "after-copy",
    "after-settle",
    "mid-snapshot",
    "before-rename",
    "after-rename",
    "after-prune",
    "before-commit",
    "after-commit",
    "mid-restore",
    "after-restore",
    "mid-release",
)

_Item = TypeVar("_Item")


def _read(text: str) -> tuple[str, int]:
    """Return (point, which time), ("", 0) for nothing.

    >>> _read("after-fold:3"), _read("mid-snapshot"), _read("")
    (('after-fold', 3), ('mid-snapshot', 1), ('', 0))
    """
    if not text:
        return "", 0
    name, _, count = text.partition(":")
    if name not in POINTS or not (count or "1").isdecimal() or int(count or "1") < 1:
        message = f"{VARIABLE}: expected NAME or NAME:N of {', '.join(POINTS)}; got {text!r}"
        raise ConfigurationError(message)
    return name, int(count or "1")


_wanted, _left = "", 0


def arm(text: str) -> None:
    """Take the variable's value; called once, when a worker starts.

    Raises:
        ConfigurationError: There is no such point.
    """
    global _wanted, _left
    _wanted, _left = _read(text)


def crash_point(name: str) -> None:
    """End the process here if it was asked for; called from any thread."""
    if name == _wanted:
        _count_down()


def first_half(name: str, items: Sequence[_Item]) -> Sequence[_Item]:
    """Return what is done before a crash amid ``items``: half where it comes next, else all.

    The caller goes on to ``crash_point(name)`` when that is done.
    """
    return items[: len(items) // 2] if name == _wanted and _left == 1 else items


def _count_down() -> None:
    global _left
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
