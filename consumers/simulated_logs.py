"""A simulated world as files: a wire log, and the items log that belongs to it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path

from local.simulator import SimulatedRecord, Simulator
from stream.announcements import REMOVED


def write_logs(
    simulator: Simulator, out: Path, items_out: Path | None, seconds: float
) -> dict[str, object]:
    """Write so many seconds of a world; returns what was written.

    Args:
        simulator: Fresh.
        out: Wire log, in order of arrival; overwritten.
        items_out: Items log (``stream.announcements``); None writes none.
        seconds: Virtual time.
    """
    num_events = num_items = 0
    end_ms = simulator.start_ms + seconds * 1000
    with ExitStack() as files:
        events = files.enter_context(out.open("wb"))
        items = files.enter_context(items_out.open("wb")) if items_out else None
        for record in takewhile(lambda each: each.time_ms < end_ms, simulator):
            if record.topic == "items" and items:
                items.write(_announcement(record) + b"\n")
                num_items += 1
            elif record.topic == "interactions" and record.value is not None:
                events.write(record.value + b"\n")
                num_events += 1
    return {
        "events": num_events,
        "items": num_items,
        "log": str(out),
        "items_log": str(items_out) if items_out else None,
    }


def _announcement(record: SimulatedRecord) -> bytes:
    """Return the line of the items log: the record's value and when it came."""
    if record.value is None:
        line = {"item_id": record.key.decode(), "ts": record.time_ms, "status": REMOVED}
        return json.dumps(line, separators=(",", ":")).encode()
    return b'{"ts":%d,' % record.time_ms + record.value[1:]
