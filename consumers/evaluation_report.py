"""An evaluation as tables for a person, on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from consumers.console import figures
from consumers.evaluations import Evaluation

_METRICS = ("hr@10", "ndcg@10", "mrr@20", "hr@20")
_GROUPS = (
    *("known_targets", "new_to_user", "users_with_history", "cold_users", "new_items"),
    "live_neighbours",
)
_BEYOND = ("lists", "coverage", "gini", "novelty_bits", "diversity", "median_age_h")


def print_evaluation(found: Evaluation) -> None:
    """Print accuracy, groups, deciles, what lists are like, and what differs."""
    console = figures()
    tested = found.runs[0]["tested"]
    console.print(f"{found.log}: {found.num_events:,} events, {tested:,} tests, {found.seconds} s")
    console.print(_accuracy(found.runs))
    console.print(_groups(found.runs))
    console.print(_deciles(found.runs))
    console.print(_beyond(found.runs))
    if found.comparisons:
        console.print(_comparisons(found.comparisons))
    if found.settings:
        words = ", ".join(f"{name}={value}" for name, value in found.settings.items())
        console.print(f"settings: {words}")


def _table(title: str, columns: Sequence[str], *, gap: int = 1) -> Table:
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, gap, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=place == 0)
    return table


def _accuracy(runs: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("all targets", ["", *(metric.upper() for metric in _METRICS)])
    best = {metric: max(run[metric] for run in runs) for metric in _METRICS}
    for run in runs:
        cells = []
        for metric in _METRICS:
            text = _share(run[metric])
            is_best = len(runs) > 1 and run[metric] == best[metric]
            cells.append(Text(text, style="bold" if is_best else ""))
        table.add_row(run["what"], *cells)
    return table


def _groups(runs: Sequence[Mapping[str, Any]]) -> Table:
    names = [name for name in _GROUPS if name in runs[0]]
    heads = [f"{name.replace('_', ' ')}\n{runs[0][name]['tested']:,}" for name in names]
    table = _table("parts of the tests: HR@10 / NDCG@10", ["", *heads])
    for run in runs:
        table.add_row(
            run["what"],
            *(_part(run[name]) for name in names),
        )
    return table


def _part(found: Mapping[str, Any]) -> str:
    if not found["tested"]:
        return "–"
    return f"{_share(found['hr@10'])} / {_share(found['ndcg@10'])}"


def _deciles(runs: Sequence[Mapping[str, Any]]) -> Table:
    places = [str(place) for place in range(1, 11)]
    table = _table("NDCG@10 by tenth of the tested stream", ["", *places], gap=0)
    for run in runs:
        cells = [_share(each["ndcg@10"]) if each["tested"] else "–" for each in run["by_decile"]]
        table.add_row(run["what"], *cells)
    return table


def _beyond(runs: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("what the lists are like", ["", *(name.replace("_", " ") for name in _BEYOND)])
    for run in runs:
        found = run["beyond_accuracy"]
        cells = [
            "–" if found[name] is None
            else f"{found[name]:,}" if isinstance(found[name], int)
            else f"{found[name]:.3f}"
            for name in _BEYOND
        ]  # fmt: skip
        table.add_row(run["what"], *cells)
    return table


def _comparisons(comparisons: Sequence[Mapping[str, Any]]) -> Table:
    metrics = ("hr@10", "ndcg@10", "mrr@20")
    table = _table(
        "second minus first, 95 % of resampled users between", ["", *(m.upper() for m in metrics)]
    )
    for each in comparisons:
        cells = []
        for metric in metrics:
            found = each[metric]
            cells.append(
                f"{found['difference']:+.4f}\n{found['low']:+.4f} … {found['high']:+.4f}\n"
                f"p {found['p']:.3f}"
            )
        table.add_row(f"{each['second']} - {each['first']}", *cells)
    return table


def _share(value: float) -> str:
    """Return a share with four places and no leading zero: eleven columns fit a terminal."""
    return f"{value:.4f}".removeprefix("0")
