"""How commands speak: figures to stdout, the rest to stderr, progress as a bar or as lines."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

errors = Console(stderr=True, highlight=False, soft_wrap=True)
# Of what nobody watches: as wide as any table is.
_WIDE = 500
# Progress of what nobody watches: a line per tenth, but not within so long of the one before.
_LINE_AFTER_S = 5.0
# A line at any rate, while work goes on.
_LINE_AT_LATEST_S = 60.0


def figures() -> Console:
    """Return a console on stdout; in a file or a pipe no table is cut to a screen's width."""
    is_watched = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_watched else _WIDE, markup=False, highlight=False, emoji=False)


def say(text: str) -> None:
    """Tell a person what is being done, on stderr."""
    errors.print(text, markup=False)


def print_summary(summary: Mapping[str, Any], *, as_json: bool) -> None:
    """Print figures as one JSON object on the last line of stdout, or as a table."""
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
        sys.stdout.flush()
        return
    table = Table(show_header=False, box=None)
    table.add_column(justify="right", style="bold")
    table.add_column()
    for name, value in summary.items():
        text = json.dumps(value) if isinstance(value, (dict, list)) else f"{value}"
        if isinstance(value, int) and not isinstance(value, bool):
            text = f"{value:,}"
        table.add_row(name, text)
    figures().print(table)


class Bar:
    """One progress bar on stderr, where stderr is a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: int, total: int | None = None) -> None:
        """Move to ``done`` of ``total``."""
        self._progress.update(self._task, completed=done, total=total)


class ProgressLines:
    """Progress where stderr is no terminal (a cron job, CI): a line now and then.

    One for each tenth of what is known in all, none in the first seconds nor soon after another,
    and one a minute whatever is done or known.

    Args:
        title: What is being done.
        total: How much there is; None where that is not known.
        now_s: Clock.
    """

    def __init__(
        self, title: str, total: int | None = None, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._title = title
        self._total = total
        self._now_s = now_s
        self._began_s = self._said_s = now_s()
        self._tenths_said = 0

    def update(self, done: int, total: int | None = None) -> None:
        """Say a line where one is due."""
        self._total = self._total if total is None else total
        tenths = 10 * done // self._total if self._total else 0
        now_s = self._now_s()
        wait_s = _LINE_AFTER_S if tenths > self._tenths_said else _LINE_AT_LATEST_S
        if now_s - self._said_s < wait_s:
            return
        self._said_s, self._tenths_said = now_s, tenths
        amount = f"{done:,} so far" if self._total is None else f"{done:,} of {self._total:,}"
        say(f"{self._title}: {amount}, {now_s - self._began_s:.0f} s")


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Bar | ProgressLines]:
    """Show a bar while long work runs; lines where nobody watches."""
    if not errors.is_terminal:
        yield ProgressLines(title, total)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as progress:
        yield Bar(progress, progress.add_task(title, total=total))
