"""Rows of data sets as wire events, ordered by time in bounded memory.

The mapping (one place for all data sets): a click is a watch of 30,000 of 30,000 ms; a rating one
of rating / best of 60,000 ms; a view of an article 20,000 of 30,000 ms. The order is by ``ts``,
stable. A log that does not fit one chunk is sorted in chunks on disk and merged.
"""

from __future__ import annotations

import heapq
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import IO, NamedTuple

import msgspec

CLICK_MS = 30_000
RATED_MS = 60_000
VIEWED_MS = 20_000
# Events sorted at once: about 150 MB of lines.
_CHUNK_EVENTS = 400_000
_HEAD = struct.Struct("<qI")
_encode = msgspec.json.Encoder().encode


class WireEvent(NamedTuple):
    """One event of a data set, before it is a line.

    Attributes:
        ts: Event time, ms.
        event_id: From the row's number, so that a row sent twice is a duplicate.
        type: Action of the wire.
        user_id: Who.
        item_id: What.
        watch_ms: Watched time; -1 for other types.
        duration_ms: Length; -1 for other types.
        request_id: Which list it was shown in; empty for none.
    """

    ts: int
    event_id: str
    type: str
    user_id: str
    item_id: str
    watch_ms: int = -1
    duration_ms: int = -1
    request_id: str = ""

    def line(self) -> bytes:
        """Return the wire log's line, without its end."""
        fields: dict[str, object] = {
            "event_id": self.event_id,
            "type": self.type,
            "user_id": self.user_id,
            "item_id": self.item_id,
            "ts": self.ts,
        }
        if self.watch_ms >= 0:
            fields["watch_ms"] = self.watch_ms
            fields["duration_ms"] = self.duration_ms
        if self.request_id:
            fields["request_id"] = self.request_id
        return _encode(fields)


def click(ts: int, event_id: str, user: str, item: str) -> WireEvent:
    """Return a click: a watch to the end."""
    return WireEvent(ts, event_id, "watch", user, item, CLICK_MS, CLICK_MS)


def rated(ts: int, event_id: str, user: str, item: str, share: float) -> WireEvent:
    """Return a rating, ``share`` of the best one in [0, 1]: that much of a minute watched."""
    return WireEvent(ts, event_id, "watch", user, item, round(share * RATED_MS), RATED_MS)


def ordered_lines(
    events: Iterable[WireEvent], *, limit: int | None = None, chunk_events: int = _CHUNK_EVENTS
) -> Iterator[bytes]:
    """Yield lines ordered by time, stable, the first ``limit`` of them.

    Args:
        events: In the order of the files.
        limit: None takes all.
        chunk_events: Events kept in memory; more go through temporary files.
    """
    with ExitStack() as stack:
        source = iter(events)
        spilled: list[IO[bytes]] = []
        while chunk := [(each.ts, each.line()) for each in islice(source, chunk_events)]:
            chunk.sort(key=lambda pair: pair[0])
            if len(chunk) < chunk_events and not spilled:
                yield from (line for _, line in chunk[:limit])
                return
            file = stack.enter_context(tempfile.TemporaryFile())
            for time_ms, line in chunk:
                file.write(_HEAD.pack(time_ms, len(line)) + line)
            file.seek(0)
            spilled.append(file)
        # Chunks are in the order of the file: at equal times the earlier chunk goes first.
        merged = heapq.merge(*(_read(file, place) for place, file in enumerate(spilled)))
        yield from (line for _, _, line in islice(merged, limit))


def _read(file: IO[bytes], place: int) -> Iterator[tuple[int, int, bytes]]:
    while head := file.read(_HEAD.size):
        time_ms, length = _HEAD.unpack(head)
        yield time_ms, place, file.read(length)
