"""A plain reading of a topic of interactions: who was touched last by which offset."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

GRACE_MS = 24 * 3_600_000


def newest_applied(records: Iterable[Any]) -> dict[str, tuple[int, bool]]:
    """Return user to (offset of the newest applied event, whether it was an erase).

    Args:
        records: Records as a consumer gives them, by offset within each partition; good ones of
            users at home, without copies.
    """
    newest: dict[str, tuple[int, bool]] = {}
    seen: set[tuple[str, str]] = set()
    stream_times: dict[int, int] = {}
    for record in records:
        event = json.loads(record.value)
        user, key = event["user_id"], (event["user_id"], event["event_id"])
        stream_time = stream_times.get(record.partition, -1)
        if event["ts"] < stream_time - GRACE_MS or key in seen:
            continue
        stream_times[record.partition] = max(stream_time, event["ts"])
        is_erase = event["type"] == "erase"
        if is_erase:  # It takes the user's event ids with it.
            seen = {each for each in seen if each[0] != user}
        seen.add(key)
        newest[user] = (record.offset, is_erase)
    return newest
