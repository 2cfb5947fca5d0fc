"""One user's state in words and numbers, for a person. Slow and readable; never on the hot path."""

from __future__ import annotations

from typing import Any

import numpy as np

from state.actions import ACTION_NAMES, WHOLE
from state.history import place_of
from state.user_tables import UserTables


def describe_user(tables: UserTables, user_id: bytes) -> dict[str, Any] | None:
    """Return what is known of a user as plain values (history newest first), or None."""
    row = tables.users.row_of(user_id)
    if row < 0:
        return None
    history, interests, affinities = tables.history, tables.interests, tables.affinities
    places = [place_of(history, row, entry) for entry in range(int(history.lengths[row]))]
    keys, weights = affinities.keys[row], affinities.weights[row]
    order = [place for place in np.argsort(-weights) if keys[place]]
    return {
        "user_id": user_id.decode(errors="replace"),
        "num_events": int(tables.user_facts.num_events[row]),
        "events_to_ms": int(tables.user_facts.events_to_ms[row]),
        "history": [_describe_entry(tables, row, place) for place in reversed(places)],
        "num_seen_lately": int(tables.seen.num_items[row]),
        "session_norm": float(np.linalg.norm(interests.session_vectors[row])),
        "long_norm": float(np.linalg.norm(interests.long_vectors[row])),
        "affinities": {f"{int(keys[place]):016x}": float(weights[place]) for place in order},
    }


def _describe_entry(tables: UserTables, row: int, place: int) -> dict[str, Any]:
    history = tables.history
    bits = int(history.actions[row, place])
    item_id = tables.items.id(int(history.item_rows[row, place]))
    return {
        "item_id": item_id.decode(errors="replace"),
        "ts": int(history.times_ms[row, place]),
        "strength": int(history.strengths[row, place]),
        "actions": [name for code, name in enumerate(ACTION_NAMES) if bits >> code & 1],
        "completion": round(int(history.completions[row, place]) / WHOLE, 3),
    }
