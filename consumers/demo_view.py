"""The demo's live terminal view: one dictionary of figures in, one rich renderable out.

Pure: no clock, no network. ``consumers.demo`` feeds it four times a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

# Reasons in words for the sources that stand beside each item.
REASONS = {
    "cooccurrence": "people went on to it",
    "cooccurrence-two-way": "goes together with yours",
    "item-cf": "liked by the same people",
    "recent": "you came back to it",
    "interest": "close to your taste",
    "trending": "popular right now",
    "fresh": "just published",
}
_SHOWN_ITEMS = 8
_MAX_TABLES = 12


@dataclass(slots=True)
class View:
    """What the demo shows; filled by the loop, read by :func:`render`.

    Attributes:
        stats: The worker's ``/stats``.
        seconds: Seconds since the simulator started.
        events_per_s: Rate over the last second.
        lists_per_s: Rate over the last second.
        produced: Events acknowledged by the broker.
        user_id: The user whose list is shown.
        actions: What that user just did, newest first, as text.
        items: The list's items, best first: ``{"id", "score", "sources"}``.
        previous_ids: Item ids of the list before the last change.
        model: Ranker that made the list.
        age_ms: Age of the list.
    """

    stats: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    events_per_s: float = 0.0
    lists_per_s: float = 0.0
    produced: int = 0
    user_id: str = ""
    actions: list[str] = field(default_factory=list)
    items: Sequence[Mapping[str, Any]] = ()
    previous_ids: tuple[str, ...] = ()
    model: str = ""
    age_ms: int = 0


def _figures(view: View) -> RenderableType:
    freshness = view.stats.get("freshness_ms", {})
    table = Table.grid(padding=(0, 3))
    table.add_row("events/s in", f"{view.events_per_s:,.0f}", "produced", f"{view.produced:,}")
    table.add_row(
        "lists/s out",
        f"{view.lists_per_s:,.0f}",
        "lists written",
        f"{view.stats.get('lists_written', 0):,}",
    )
    table.add_row(
        "freshness p50",
        f"{freshness.get('p50', 0):,.0f} ms",
        "p99",
        f"{freshness.get('p99', 0):,.0f} ms",
    )
    table.add_row(
        "lag",
        f"{view.stats.get('lag', 0):,}",
        "dirty users",
        f"{view.stats.get('dirty', 0):,}",
    )
    return Panel(table, title=f"Headwater · {view.seconds:,.0f} s", title_align="left")


def _bounds(view: View) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    table.add_column("table")
    table.add_column("used", justify="right")
    table.add_column("bound", justify="right")
    sizes = view.stats.get("tables", {})
    for name, (used, bound) in list(sorted(sizes.items()))[:_MAX_TABLES]:
        table.add_row(name, f"{used:,}", f"{bound:,}")
    return Panel(table, title="tables against their bounds", title_align="left")


def _list(view: View) -> RenderableType:
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("", width=2)
    table.add_column("item")
    table.add_column("score", justify="right")
    table.add_column("why")
    for item in view.items[:_SHOWN_ITEMS]:
        is_new = str(item["id"]) not in view.previous_ids
        why = "; ".join(REASONS.get(source, source) for source in item["sources"][:2])
        table.add_row(
            Text("●" if is_new else " ", style="green"),
            Text(str(item["id"]), style="bold" if is_new else ""),
            f"{float(item['score']):.3f}",
            why,
        )
    did = Text(" → ".join(reversed(view.actions[:4])) or "waiting for an action", style="cyan")
    title = f"{view.user_id or 'a user'} · ranked by {view.model or '…'} · {view.age_ms:,} ms old"
    return Panel(Group(did, table), title=title, title_align="left")


def render(view: View) -> RenderableType:
    """Return the whole screen."""
    return Group(_figures(view), _list(view), _bounds(view))
