"""How commands speak: figures to stdout, the rest to stderr, progress where it is watched."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
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
    """One progress bar on stderr; shown only where stderr is a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: int, total: int | None = None) -> None:
        """Move to ``done`` of ``total``."""
        self._progress.update(self._task, completed=done, total=total)


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Bar]:
    """Show a bar while long work runs."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        yield Bar(progress, progress.add_task(title, total=total))
