"""What kernels take of a batch of events: typed, writable, checked columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.actions import NUM_ACTIONS
from state.admission import EventColumns
from state.id_index import MAX_ID_BYTES
from state.table import writable

# Event times outside are a bug of the decoder: differences of two must fit int64.
_MAX_TIME_MS = 1 << 60
# Of the columns of EventColumns between the buffer and is_skipped: three spans in the middle.
_COLUMN_TYPES: tuple[type[np.generic], ...] = (
    *(np.int64, np.int64, np.uint8),
    *(np.int64, np.int32) * 3,
    *(np.int64, np.int64),
)


def event_columns(
    buffer: NDArray[np.uint8],
    columns: Iterable[NDArray[Any]],
    is_skipped: NDArray[np.bool_],
) -> EventColumns:
    """Return the events as kernels take them: ``columns`` in the order of EventColumns."""
    fields = zip(columns, _COLUMN_TYPES, strict=True)
    typed = (writable(column, dtype) for column, dtype in fields)
    return EventColumns._make((writable(buffer, np.uint8), *typed, is_skipped))


def is_among(offsets: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which offsets are among the others: bool (E,)."""
    if len(others) == 0:
        return np.zeros(len(offsets), np.bool_)
    return np.isin(offsets, others)


def check_columns(events: EventColumns) -> None:
    """Refuse what only a broken decoder gives: kernels trust their columns."""
    if len(events.offsets) == 0:
        return
    for name, values, low, high in (
        ("event times in ms", events.timestamps_ms, -_MAX_TIME_MS, _MAX_TIME_MS),
        ("action codes", events.types, 0, NUM_ACTIONS - 1),
        ("bytes of a user id", events.user_lengths, 0, MAX_ID_BYTES),
        ("bytes of an item id", events.item_lengths, 0, MAX_ID_BYTES),
        ("bytes of an event id", events.event_id_lengths, 0, MAX_ID_BYTES),
    ):
        least, most = int(values.min()), int(values.max())
        if least < low or most > high:
            msg = f"expected {name} of {low}..{high}, got {least}..{most}; reject them first"
            raise ValueError(msg)
