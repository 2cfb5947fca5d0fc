"""Builders of wire logs for tests: seeded, with duplicates, late events and every action."""

from __future__ import annotations

import json

import numpy as np

START_MS = 1_700_000_000_000
_TYPES = ("watch", "like", "comment", "share", "not_interested", "follow", "unlike")
_SHARES = (0.62, 0.16, 0.06, 0.06, 0.03, 0.03, 0.04)


def event(index: int, **fields: object) -> bytes:
    """Return one good interaction as JSON; fields override the defaults."""
    values: dict[str, object] = {
        "event_id": f"e{index}",
        "type": "watch",
        "user_id": "u1",
        "item_id": "i1",
        "ts": START_MS + index * 1000,
    }
    values.update(fields)
    if values["type"] == "watch":
        values.setdefault("watch_ms", 20_000)
        values.setdefault("duration_ms", 30_000)
    return json.dumps(values).encode()


def wire_log(
    num_events: int,
    *,
    seed: int = 0,
    num_users: int = 40,
    num_items: int = 60,
    late_share: float = 0.002,
    erase_every: int = 0,
) -> list[bytes]:
    """Return a log in order of arrival: about 1 % duplicates, some events behind stream time.

    Args:
        num_events: Lines.
        seed: Same seed, same log.
        num_users: Ids ``u0``, ``u1``, ..., few of them very active.
        num_items: Ids ``i0``, ``i1``, ...
        late_share: Share of events three days behind, beyond any default grace.
        erase_every: Every so many events one is an erase of the user; 0 for none.
    """
    random = np.random.default_rng(seed)
    lines: list[bytes] = []
    for index in range(num_events):
        if lines and random.random() < 0.01:
            lines.append(lines[int(random.integers(max(0, len(lines) - 50), len(lines)))])
            continue
        behind_ms = int(random.choice([0, 0, 0, 5_000, 600_000]))
        if random.random() < late_share:
            behind_ms = 3 * 86_400_000
        lines.append(
            event(
                index,
                type=_type(random, is_erase=bool(erase_every) and index % erase_every == 1),
                user_id=f"u{int(random.zipf(1.4)) % num_users}",
                item_id=f"i{int(random.zipf(1.3)) % num_items}",
                ts=START_MS + index * 1_000 - behind_ms,
                watch_ms=int(random.integers(0, 30_000)),
                duration_ms=30_000,
            )
        )
    return lines


def _type(random: np.random.Generator, *, is_erase: bool) -> str:
    drawn = str(random.choice(_TYPES, p=_SHARES))
    return "erase" if is_erase else drawn
