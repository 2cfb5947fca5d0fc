"""Ctrl-C while modules are imported: nothing is printed, and the exit code is 130.

Python would raise KeyboardInterrupt out of whatever module is being imported, and print a
traceback of importlib. Nothing was begun then that had to be ended. SIGTERM needs no such care:
until a command listens to it the kernel ends the process, quietly. Absent: Python's own start and
the few imports above and below this page, some hundredths of a second, more on a busy machine.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# What a shell expects of a process that SIGINT ended.
INTERRUPTED = 128 + signal.SIGINT


def is_command() -> bool:
    """Say whether this process is the command ``headwater``, and not one that imports us."""
    # Of `python -m` the first word is "-m" while packages are imported, then the module's file.
    program = os.path.basename(sys.argv[0]) if sys.argv else ""  # Where Python is embedded: none.
    if program in ("-m", "cli.py"):
        return "consumers.cli" in sys.orig_argv
    return program == "headwater"


def end_quietly() -> None:
    """End the process at a SIGINT from now on, at once and without a word.

    Does nothing where somebody else sees to SIGINT, or outside the main thread.
    """
    if _is_free():
        # Not a KeyboardInterrupt: a library might catch or wrap it.
        signal.signal(signal.SIGINT, _end)


@contextmanager
def interrupts_end_quietly() -> Iterator[None]:
    """Do as :func:`end_quietly` for a while; afterwards SIGINT raises KeyboardInterrupt again."""
    is_free = _is_free()
    end_quietly()
    try:
        yield
    finally:
        if is_free:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_free() -> bool:
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)
