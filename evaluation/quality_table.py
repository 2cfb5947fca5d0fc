"""The quality table in Markdown: every log and contender in one row, written between two marks.

What stands around the marks in a page is kept, so that the page's words and the table's figures
have one place and one command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN = "<!-- table: made by headwater evaluate --table, not by hand -->"
END = "<!-- end of the table -->"
_HEAD = (
    *("log", "tests", "what", "HR@10", "NDCG@10", "MRR@20"),
    *("known targets", "new to the user", "with a history", "new items", "cold users"),
    *("coverage", "Gini", "novelty, bits", "diversity", "median age, h"),
)
_GROUPS = ("known_targets", "new_to_user", "users_with_history", "new_items", "cold_users")
_BEYOND = ("coverage", "gini", "novelty_bits", "diversity", "median_age_h")


def markdown_table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return one row per run; groups are HR@10 / NDCG@10, the best of a log stands in bold.

    Args:
        rows: (log, summary of one contender), a log's rows together.
    """
    lines = [_row(_HEAD), _row(["---"] * len(_HEAD))]
    best: dict[str, float] = {}
    for log, run in rows:
        best[log] = max(run["ndcg@10"], best.get(log, 0.0))
    last = None
    for log, run in rows:
        first = log != last
        last = log
        is_best = run["ndcg@10"] == best[log] and best[log] > 0
        figures = [_figure(run[metric]) for metric in ("hr@10", "ndcg@10", "mrr@20")]
        cells = [
            log if first else "",
            f"{run['tested']:,}" if first else "",
            run["what"],
            *(f"**{each}**" if is_best else each for each in figures),
            *(_pair(run[group]) for group in _GROUPS),
            *(_beyond(run["beyond_accuracy"][name]) for name in _BEYOND),
        ]
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def markdown_page(
    plain: Sequence[tuple[str, Mapping[str, Any]]], tuned: Sequence[tuple[str, Mapping[str, Any]]]
) -> str:
    """Return the table, and below it another one of logs with settings of their own, if any.

    Args:
        plain: Rows as of :func:`markdown_table`, with one set of settings for all logs.
        tuned: Rows with settings tuned for each log.
    """
    if not tuned:
        return markdown_table(plain)
    parts = (("One set of settings for all logs", plain), ("Settings tuned for each log", tuned))
    return "\n".join(f"**{title}**\n\n{markdown_table(rows)}" for title, rows in parts)


def write_table(path: Path, table: str) -> None:
    """Put a table between the marks of a page, or make a page of it.

    Raises:
        ValueError: The page is there and has no marks: it would be lost.
    """
    block = f"{BEGIN}\n\n{table}\n{END}"
    if not path.exists() or not path.read_text().strip():
        path.write_text(block + "\n")
        return
    text = path.read_text()
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        message = (
            f"--table: expected {path} to be new, or to have the lines {BEGIN!r} and {END!r} "
            "around what is to be replaced"
        )
        raise ValueError(message)
    path.write_text(before + block + after)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(value: float) -> str:
    """Return a share with four places and no leading zero.

    >>> _figure(0.25), _figure(1.0)
    ('.2500', '1.0000')
    """
    return f"{value:.4f}".removeprefix("0")


def _pair(group: Mapping[str, Any]) -> str:
    if not group["tested"]:
        return "–"
    return f"{_figure(group['hr@10'])} / {_figure(group['ndcg@10'])}"


def _beyond(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"
