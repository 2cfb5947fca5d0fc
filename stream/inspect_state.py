"""What this process knows of one user or one item, as plain values for a person.

Called on the state thread when somebody asks; slow and readable. Words are shown as they are
where state keeps them: authors, categories and tags are hashed on arrival, so that an affinity is
named by its key, by what it is, and by an item of the user's history that has it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from state.actions import ACTION_NAMES
from state.catalogue import Catalogue
from stream.engine import Engine
from stream.explain_ranking import rounded

# Neighbours shown of one item.
_MAX_NEIGHBOURS = 20
_NUM_COUNTED = 5


def inspect_user(engine: Engine, partition: int, user_id: bytes) -> dict[str, Any]:
    """Describe a user of a partition that this process holds.

    Returns:
        ``is_known`` False and little else for a user without state.
    """
    tables = engine.users[partition].tables
    found = tables.describe(user_id)
    answer: dict[str, Any] = {
        "user_id": user_id.decode(errors="replace"),
        "is_known": found is not None,
        "partition": partition,
        "next_offset": tables.next_offset,
        "stream_time_ms": tables.stream_time_ms,
        "erased_at_offset": tables.erased_offset_of(user_id),
        "partition_counters": tables.counters,
    }
    if found is None:
        return answer
    keys = {int(key, 16): weight for key, weight in found["affinities"].items()}
    ids = [entry["item_id"].encode() for entry in found["history"]]
    return answer | {
        "num_events": found["num_events"],
        "events_to_ms": found["events_to_ms"],
        "history": found["history"],
        "num_seen_lately": found["num_seen_lately"],
        "vectors": {
            "session_norm": rounded(found["session_norm"]),
            "long_norm": rounded(found["long_norm"]),
        },
        "affinities": _name_affinities(engine.catalogue, keys, ids),
    }


def _name_affinities(
    catalogue: Catalogue, weights: dict[int, float], history_ids: list[bytes]
) -> list[dict[str, Any]]:
    """Say of each key whether it is an author, a category or a tag, and of which known item."""
    kinds: dict[int, tuple[str, str]] = {}
    for item_id in history_ids:
        row = catalogue.items.row_of(item_id)
        if row < 0:
            continue
        keys = [("author", catalogue.author_keys[row]), ("category", catalogue.category_keys[row])]
        keys += [("tag", key) for key in catalogue.tag_keys[row]]
        for kind, key in keys:
            kinds.setdefault(int(key), (kind, item_id.decode(errors="replace")))
    named = []
    for key, weight in weights.items():
        found = kinds.get(key)
        named.append(
            {
                "key": f"{key:016x}",
                "weight": rounded(weight),
                "kind": found[0] if found else None,
                "as_of_item": found[1] if found else None,
            }
        )
    return named


def inspect_item(engine: Engine, partition: int, item_id: bytes) -> dict[str, Any]:
    """Describe an item: the catalogue's row, and what its owner counts if that is this process.

    Args:
        engine: State.
        partition: Item partition that owns the item.
        item_id: Known or not.

    Returns:
        ``is_known`` False and little else for an unknown item; ``owner`` None where another
        process owns the item partition.
    """
    catalogue = engine.catalogue
    found = catalogue.describe(item_id)
    answer: dict[str, Any] = {
        "item_id": item_id.decode(errors="replace"),
        "is_known": found is not None,
        "item_partition": partition,
        "owner": None,
    }
    items = engine.items.get(partition)
    if items is not None:
        owned = items.describe(item_id)
        answer["owner"] = {
            "as_of_ms": items.stream_time_ms,
            "next_offset": items.next_offset,
            "windows": [_rounded_values(each) for each in owned["windows"]] if owned else [],
        }
    if found is None:
        return answer
    row = catalogue.items.row_of(item_id)
    return answer | {
        "status": _status(found),
        "created_at_ms": found["created_at_ms"],
        "duration_ms": found["duration_ms"],
        "author": _key(catalogue.author_keys[row]),
        "category": _key(catalogue.category_keys[row]),
        "tags": [_key(key) for key in catalogue.tag_keys[row] if key],
        "as_of_ms": found["as_of_ms"],
        "signal_offset": found["signal_offset"],
        "popularity": {name: rounded(value) for name, value in found["popularity"].items()},
        "action_counts": {
            name: rounded(value)
            for name, value in zip(ACTION_NAMES[:_NUM_COUNTED], found["action_counts"], strict=True)
        },
        "interactions": rounded(found["interactions"]),
        "neighbours": _neighbours(catalogue, row),
    }


def _rounded_values(window: dict[str, Any]) -> dict[str, Any]:
    return {
        name: rounded(value) if isinstance(value, float) else value
        for name, value in window.items()
    }


def _status(found: dict[str, Any]) -> str:
    """Say in one word whether the item may be recommended, and since what."""
    if found["is_removed"]:
        return "removed"
    if not found["is_live"]:
        return "hidden"
    return "announced" if found["is_announced"] else "provisional"


def _key(key: np.uint64) -> str | None:
    return f"{int(key):016x}" if key else None


def _neighbours(catalogue: Catalogue, row: int) -> list[dict[str, Any]]:
    rows = catalogue.neighbour_rows[row]
    rows = rows[rows >= 0][:_MAX_NEIGHBOURS]
    columns = zip(
        catalogue.items.ids(rows),
        catalogue.neighbour_out[row].tolist(),
        catalogue.neighbour_in[row].tolist(),
        catalogue.neighbour_cf[row].tolist(),
        strict=False,
    )
    return [
        {
            "item_id": item_id.decode(errors="replace"),
            "out": rounded(out),
            "in": rounded(back),
            "cf": rounded(cf),
        }
        for item_id, out, back, cf in columns
    ]
