"""Answers of ``explain`` and ``inspect`` as text for a person; ``--json`` has everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from consumers.console import figures

_MAX_FEATURES = 12
_MAX_HISTORY = 20


def show_explanation(answer: Mapping[str, Any]) -> None:
    """Print why an item stands in a list, or why not."""
    out = figures()
    verdict = "in the list" if answer["verdict"] == "in_list" else f"not there: {answer['verdict']}"
    _line(out, f"{answer['item_id']} for {answer['user_id']}: {verdict}", style="bold")
    _line(out, answer["reason"])
    if not answer["is_known_user"]:
        _line(out, "The user has no events: this is what everybody without events gets.")
    _line(out, f"As of {_time(answer['as_of_ms'])} (event time), {answer['model']}.")
    in_redis = answer["in_redis"]
    if in_redis is not None:
        place = f"has it at place {in_redis['place']}" if in_redis["place"] else "does not have it"
        age_s = in_redis["age_ms"] / 1000
        _line(out, f"The list in Redis, by {in_redis['model']}, {age_s:,.1f} s old, {place}.")
    if answer["sources"]:
        _table(out, "proposed by", answer["sources"])
    if answer["ranking"]:
        ranking = answer["ranking"]
        title = f"score {ranking['score']} ({ranking['rank']} of {ranking['num_candidates']})"
        _table(out, title, ranking["terms"])
    if answer["reranking"]:
        _facts(out, "reranking", answer["reranking"])
    features = sorted(answer["features"].items(), key=lambda each: -abs(each[1]))[:_MAX_FEATURES]
    if features:
        _facts(out, "largest features (all with --json)", dict(features))


def show_user(answer: Mapping[str, Any]) -> None:
    """Print what is known of a user."""
    out = figures()
    _line(out, f"user {answer['user_id']}", style="bold")
    vectors = answer["vectors"]
    facts = {
        "partition": answer["partition"],
        "events": answer["num_events"],
        "newest event": _time(answer["events_to_ms"]),
        "seen lately": answer["num_seen_lately"],
        "session vector": vectors["session_norm"],
        "long vector": vectors["long_norm"],
        "erased at offset": answer["erased_at_offset"],
    }
    _facts(out, "", facts)
    history = [
        {
            "item": each["item_id"],
            "at": _time(each["ts"]),
            "actions": ", ".join(each["actions"]),
            "strength": each["strength"],
            "completion": each["completion"],
        }
        for each in answer["history"]
    ]
    _table(out, f"history, newest first ({len(history)})", history[:_MAX_HISTORY])
    _table(out, "affinities", answer["affinities"])
    listed = answer.get("list")
    if listed:
        items = [
            {
                "item": each["id"],
                "score": each["score"],
                "sources": each.get("why") or ", ".join(each["sources"]),
            }
            for each in listed["items"][:_MAX_HISTORY]
        ]
        _table(out, f"list by {listed['model']} ({len(listed['items'])} items)", items)
    elif "list" in answer:
        _line(out, answer.get("list_error") or "no list in Redis")


def show_item(answer: Mapping[str, Any]) -> None:
    """Print what is known of an item."""
    out = figures()
    _line(out, f"item {answer['item_id']}: {answer['status']}", style="bold")
    facts = {
        "item partition": answer["item_partition"],
        "created": _time(answer["created_at_ms"]),
        "duration ms": answer["duration_ms"],
        "author": answer["author"],
        "category": answer["category"],
        "tags": ", ".join(answer["tags"]),
        "statistics of": _time(answer["as_of_ms"]),
        "interactions, windows added": answer["interactions"],
        **answer["action_counts"],
    }
    _facts(out, "", facts)
    popularity = {f"{int(name) / 3_600_000:g} h": each for name, each in _pairs(answer)}
    _facts(out, "popularity by half-life", popularity)
    owner = answer["owner"]
    if owner is None:
        _line(out, "another worker owns the item and knows its counts per window")
    else:
        _table(out, "counts per window", owner["windows"])
    _table(out, "neighbours", answer["neighbours"])


def _pairs(answer: Mapping[str, Any]) -> list[tuple[str, float]]:
    return list(answer["popularity"].items())


def _line(out: Console, text: str, style: str | None = None) -> None:
    out.print(text, style=style, soft_wrap=True)


def _time(time_ms: int) -> str:
    """Return event time as UTC text; a dash for none."""
    if time_ms <= 0:
        return "–"
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(" ", "milliseconds")


def _facts(out: Console, title: str, facts: Mapping[str, Any]) -> None:
    table = Table(title=title or None, title_justify="left", show_header=False, box=None)
    table.add_column(justify="right", style="bold")
    table.add_column()
    for name, value in facts.items():
        table.add_row(name, "–" if value is None or value == "" else f"{value}")
    out.print(table)


def _table(out: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        _line(out, f"{title}: none")
        return
    table = Table(title=title, title_justify="left", box=None)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*("–" if value is None else f"{value}" for value in row.values()))
    out.print(table)
