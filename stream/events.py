"""EventBatch: decoded interactions as a struct of arrays, and the rejects beside them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_WHOLE_FIELDS = ("partition", "begin", "end", "buffer", "num_unknown_fields", "rejected")


class Action(IntEnum):
    """What a user did; the value is the code in every ``types`` and ``actions`` array."""

    WATCH = 0
    LIKE = 1
    COMMENT = 2
    SHARE = 3
    NOT_INTERESTED = 4
    FOLLOW = 5
    UNLIKE = 6
    ERASE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A record that cannot be used: a value, never an exception.

    Attributes:
        offset: Kafka offset of the record.
        reason: Reason code (``stream.wire.Reason`` value), stable, bounded cardinality.
        detail: What was expected and what came, for a person.
        value: The record's value, cut to a bound; None for a null value.
    """

    offset: int
    reason: str
    detail: str
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """Valid interactions of one slab in log order. E = number of events.

    Id spans index into ``buffer``: ``buffer[start : start + length]`` is the id's UTF-8.

    Attributes:
        partition: Partition of ``interactions`` that the records came from.
        begin: First offset covered.
        end: Offset after the last covered.
        buffer: uint8; a view of the slab's buffer, or a copy with decoded ids appended.
        offsets: int64 (E,), ascending.
        kafka_timestamps_ms: int64 (E,); -1 where unknown.
        timestamps_ms: int64 (E,), event time ``ts``.
        types: uint8 (E,), :class:`Action`.
        user_starts, user_lengths: int64, int32 (E,).
        item_starts, item_lengths: int64, int32 (E,); length 0 for ``erase`` without an item.
        event_id_starts, event_id_lengths: int64, int32 (E,).
        watch_ms: int64 (E,); -1 where absent.
        duration_ms: int64 (E,); -1 where absent.
        header_starts: int64 (E,), as in the slab (a routed record carries its origin there).
        num_unknown_fields: How many unknown fields were ignored.
        rejected: Records that cannot be used, ascending by offset.
    """

    partition: int
    begin: int
    end: int
    buffer: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    kafka_timestamps_ms: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    types: NDArray[np.uint8]
    user_starts: NDArray[np.int64]
    user_lengths: NDArray[np.int32]
    item_starts: NDArray[np.int64]
    item_lengths: NDArray[np.int32]
    event_id_starts: NDArray[np.int64]
    event_id_lengths: NDArray[np.int32]
    watch_ms: NDArray[np.int64]
    duration_ms: NDArray[np.int64]
    header_starts: NDArray[np.int64]
    num_unknown_fields: int
    rejected: tuple[Reject, ...]

    def __len__(self) -> int:
        return len(self.offsets)

    def select(
        self,
        indices: NDArray[np.int64] | NDArray[np.bool_],
        *,
        begin: int | None = None,
        end: int | None = None,
        partition: int | None = None,
        offsets: NDArray[np.int64] | None = None,
        rejected: tuple[Reject, ...] = (),
    ) -> EventBatch:
        """Return some of the events, the buffer shared.

        Args:
            indices: int64 (n,) positions or bool (E,) mask, in log order.
            begin: First offset that the part covers; as here when None.
            end: Offset after the last that it covers; as here when None.
            partition: Partition of the part; as here when None.
            offsets: int64 (n,) offsets of the part; the events' own when None.
            rejected: Rejects that belong to the part.
        """
        columns = {
            name: getattr(self, name)[indices]
            for name in self.__slots__
            if name not in _WHOLE_FIELDS
        }
        if offsets is not None:
            columns["offsets"] = offsets
        return EventBatch(
            partition=self.partition if partition is None else partition,
            begin=self.begin if begin is None else begin,
            end=self.end if end is None else end,
            buffer=self.buffer,
            num_unknown_fields=self.num_unknown_fields,
            rejected=rejected,
            **columns,
        )

    def _text(self, start: int, length: int) -> str:
        return self.buffer[start : start + length].tobytes().decode()

    def user_id(self, index: int) -> str:
        """Return one event's user id as text (for messages and tests, not the hot path)."""
        return self._text(int(self.user_starts[index]), int(self.user_lengths[index]))

    def item_id(self, index: int) -> str:
        """Return one event's item id as text (for messages and tests, not the hot path)."""
        return self._text(int(self.item_starts[index]), int(self.item_lengths[index]))

    def event_id(self, index: int) -> str:
        """Return one event's event id as text (for messages and tests, not the hot path)."""
        return self._text(int(self.event_id_starts[index]), int(self.event_id_lengths[index]))
