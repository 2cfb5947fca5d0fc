"""Announcements: a log of items, taken by a replay when event time reaches them.

An *items log* is JSON lines of the topic ``items`` (docs/schema/item.json), with two fields more
where they are needed: ``ts``, the moment of the announcement in ms (without it ``created_at``),
and ``"status": "removed"`` for the record without a value that takes an item away. A worker
learns of an item when the topic carries it; a replay that knew the whole catalogue from the start
would recommend what does not exist yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from stream.slab import Slab

REMOVED = "removed"


class _Line(msgspec.Struct):
    """What decides when a line is due; the rest is judged by ``stream.decode_items``."""

    item_id: str = ""
    created_at: int = -1
    ts: int | None = None
    status: str = "live"


_decode = msgspec.json.Decoder(_Line).decode


class Announcements:
    """An items log in the order of time.

    Args:
        lines: JSON lines. One that cannot be read is due at once, for the decoder to refuse.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        records = [_record(line) for line in lines]
        records.sort(key=lambda record: record[0])
        self._times_ms = [time_ms for time_ms, _ in records]
        self._records = [record for _, record in records]
        self._next = 0

    @property
    def end_ms(self) -> int:
        """The time of the last one; -1 where there is none."""
        return self._times_ms[-1] if self._times_ms else -1

    def __len__(self) -> int:
        """Return how many have not been taken yet."""
        return len(self._records) - self._next

    @property
    def num_unnamed(self) -> int:
        """How many lines name no item: a replay rejects them, a compacted topic takes none."""
        return sum(key is None for key, _ in self._records)

    def take(self, now_ms: int) -> Slab | None:
        """Return, once, the records of ``items`` that are due; None where none is."""
        records = self.take_records(now_ms)
        return Slab.from_records(records, topic="items") if records else None

    def take_records(self, now_ms: int) -> Sequence[tuple[bytes | None, bytes | None]]:
        """Return, once, what is due as (item id, value), in the order of time.

        The id of a line that is no item is None; the value of a removal is.
        """
        begin = self._next
        while self._next < len(self._records) and self._times_ms[self._next] <= now_ms:
            self._next += 1
        return self._records[begin : self._next]


def _record(line: bytes) -> tuple[int, tuple[bytes | None, bytes | None]]:
    """Return (due at, (key, value)) of one line."""
    try:
        read = _decode(line)
    except msgspec.DecodeError:
        return -1, (None, line)
    time_ms = read.created_at if read.ts is None else read.ts
    key = read.item_id.encode() or None
    return time_ms, (key, None if read.status == REMOVED else line)
