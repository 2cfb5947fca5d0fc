"""The live view shows every figure, the list that changed, and why each item is in it."""

from __future__ import annotations

import io

from rich.console import Console

from consumers.configuration import load_settings, make_engine
from consumers.demo_view import REASONS, View, render
from stream.candidates import SOURCES

STATS = {
    "freshness_ms": {"p50": 41.0, "p99": 187.0},
    "lists_written": 12_345,
    "lag": 17,
    "dirty": 23,
    "tables": {"users.users": (1_501, 1_000_000), "catalogue.items": (2_002, 900_000)},
}


def shown(view: View) -> str:
    out = io.StringIO()
    Console(file=out, width=100, color_system=None).print(render(view))
    return out.getvalue()


def item(name: str, *sources: str) -> dict[str, object]:
    return {"id": name, "score": 0.5, "sources": list(sources)}


def test_every_figure_is_shown() -> None:
    view = View(stats=STATS, seconds=9.0, events_per_s=198.0, lists_per_s=201.0, produced=1_777)
    words = " ".join(shown(view).split())
    for figure in (
        "events/s in 198", "lists/s out 201", "produced 1,777", "lists written 12,345",
        "freshness p50 41 ms", "p99 187 ms", "lag 17", "dirty users 23",
        "users.users 1,501 1,000,000", "catalogue.items 2,002 900,000",
    ):  # fmt: skip
        assert figure in words, figure


def test_every_table_of_an_engine_is_shown() -> None:
    engine = make_engine(load_settings(), partitions=1)
    engine.open_users(0)
    engine.open_items(0)
    assert {"users.users", "items.items", "catalogue.items"} <= set(engine.sizes())
    words = " ".join(shown(View(stats={"tables": engine.sizes()})).split())
    for name, (used, bound) in engine.sizes().items():
        assert f"{name} {used:,} {bound:,}" in words


def test_what_is_new_in_the_list_is_marked_with_its_reason() -> None:
    view = View(
        user_id="u7",
        actions=["like i9", "watch i8"],
        items=[item("i1", "trending"), item("i2", "cooccurrence", "interest", "fresh")],
        previous_ids=("i1", "i5"),
        model="network-1",
        age_ms=1_234,
    )
    lines = shown(view).splitlines()
    (old,) = [line for line in lines if " i1 " in line]
    (new,) = [line for line in lines if " i2 " in line]
    assert "\u25cf" in new and "\u25cf" not in old
    assert REASONS["trending"] in old
    assert f"{REASONS['cooccurrence']}; {REASONS['interest']}" in new
    assert any("watch i8 \u2192 like i9" in line for line in lines)
    assert any("u7" in line and "network-1" in line and "1,234 ms" in line for line in lines)


def test_every_source_has_a_reason_in_words() -> None:
    assert set(REASONS) == set(SOURCES)


def test_a_view_without_figures_and_ids_that_look_like_markup_are_shown() -> None:
    assert "waiting for an action" in shown(View())
    view = View(user_id="u", actions=["like [/red]"], items=[item("[bold]i1", "recent")])
    assert "[bold]i1" in shown(view) and "[/red]" in shown(view)
