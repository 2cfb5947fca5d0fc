"""History: the last L distinct items of each user, newest last, with what was done to them.

One entry per item: strength is the maximum over its actions, bits say which actions came, and a
new action moves the entry to the newest place. Rings over rows of one array per field.

```
physical   0    1    2    3        head = 2, length = L = 4
         [ c ][ d ][ a ][ b ]      logical order a b c d, newest d
```
``head`` is 0 until the ring is full, so that physical ``[0, length)`` is always what is filled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.kernels import kernel

EMPTY = -1


class HistoryColumns(NamedTuple):
    """The arrays of all histories, for kernels. N rows of capacity, L places.

    Attributes:
        item_rows: int32 (N, L), local item rows.
        times_ms: int64 (N, L), event time of the entry's newest action.
        strengths: uint8 (N, L).
        actions: uint16 (N, L), bit ``1 << action`` per action seen; above them repeats of a day.
        completions: uint8 (N, L), largest watched share.
        heads: uint8 (N,), place of the oldest entry.
        lengths: uint8 (N,).
    """

    item_rows: NDArray[np.int32]
    times_ms: NDArray[np.int64]
    strengths: NDArray[np.uint8]
    actions: NDArray[np.uint16]
    completions: NDArray[np.uint8]
    heads: NDArray[np.uint8]
    lengths: NDArray[np.uint8]


@kernel
def place_of(history: HistoryColumns, user_row: int, entry: int) -> int:
    """Return the physical place of a logical entry (0 = oldest)."""
    place = np.int64(history.heads[user_row]) + entry
    num_places = history.item_rows.shape[1]
    if place >= num_places:
        place -= num_places
    return int(place)


@kernel
def find_entry(history: HistoryColumns, user_row: int, item_row: int) -> int:
    """Return the logical entry (0 = oldest) of an item, or EMPTY."""
    found = EMPTY
    # No early exit: a maximum over the row is one vector loop.
    for place in range(history.lengths[user_row]):
        if history.item_rows[user_row, place] == item_row:
            found = max(found, int(place))
    if found == EMPTY:
        return EMPTY
    entry = found - np.int64(history.heads[user_row])
    if entry < 0:
        entry += history.item_rows.shape[1]
    return int(entry)


@kernel
def _copy_entry(history: HistoryColumns, user_row: int, source: int, target: int) -> None:
    history.item_rows[user_row, target] = history.item_rows[user_row, source]
    history.times_ms[user_row, target] = history.times_ms[user_row, source]
    history.strengths[user_row, target] = history.strengths[user_row, source]
    history.actions[user_row, target] = history.actions[user_row, source]
    history.completions[user_row, target] = history.completions[user_row, source]


@kernel
def open_newest(history: HistoryColumns, user_row: int) -> int:
    """Append a place, dropping the oldest entry of a full ring; return it (old values inside)."""
    length = np.int64(history.lengths[user_row])
    num_places = history.item_rows.shape[1]
    if length < num_places:
        history.lengths[user_row] = length + 1
        return int(length)
    place = np.int64(history.heads[user_row])
    history.heads[user_row] = 0 if place + 1 == num_places else place + 1
    return int(place)


@kernel
def move_to_newest(history: HistoryColumns, user_row: int, entry: int) -> int:
    """Close the gap that an entry leaves and return the newest place, for the caller to fill."""
    newest = np.int64(history.lengths[user_row]) - 1
    place = place_of(history, user_row, entry)
    for later in range(entry + 1, newest + 1):
        source = place_of(history, user_row, later)
        _copy_entry(history, user_row, source, place)
        place = source
    return int(place)


@njit(cache=True, nogil=True)
def drop_items(history: HistoryColumns, num_users: int, is_gone: NDArray[np.bool_]) -> None:
    """Drop the entries of items that are gone (bool per item row), keeping order."""
    num_places = history.item_rows.shape[1]
    keep = np.empty(num_places, np.int64)
    for user_row in range(num_users):
        length = np.int64(history.lengths[user_row])
        num_gone = 0
        for place in range(length):
            num_gone += is_gone[history.item_rows[user_row, place]]
        if num_gone == 0:
            continue
        kept = 0
        for entry in range(length):
            place = place_of(history, user_row, entry)
            if not is_gone[history.item_rows[user_row, place]]:
                keep[kept] = place
                kept += 1
        _rewrite(history, user_row, keep[:kept])


@njit(cache=True, nogil=True)
def _rewrite(history: HistoryColumns, user_row: int, keep: NDArray[np.int64]) -> None:
    """Let a history hold the entries at these places, in this order, from place 0."""
    kept = len(keep)
    item_rows = history.item_rows[user_row][keep]
    times_ms = history.times_ms[user_row][keep]
    strengths = history.strengths[user_row][keep]
    actions = history.actions[user_row][keep]
    completions = history.completions[user_row][keep]
    clear_history(history, user_row)
    history.item_rows[user_row, :kept] = item_rows
    history.times_ms[user_row, :kept] = times_ms
    history.strengths[user_row, :kept] = strengths
    history.actions[user_row, :kept] = actions
    history.completions[user_row, :kept] = completions
    history.lengths[user_row] = kept


@kernel
def clear_history(history: HistoryColumns, user_row: int) -> None:
    """Forget a user's entries; zeros everywhere."""
    history.item_rows[user_row] = 0
    history.times_ms[user_row] = 0
    history.strengths[user_row] = 0
    history.actions[user_row] = 0
    history.completions[user_row] = 0
    history.heads[user_row] = 0
    history.lengths[user_row] = 0


def make_history(*, max_history: int, capacity: int) -> HistoryColumns:
    """Return empty histories of ``max_history`` places for ``capacity`` users."""
    shape = (capacity, max_history)
    return HistoryColumns(
        item_rows=np.zeros(shape, np.int32),
        times_ms=np.zeros(shape, np.int64),
        strengths=np.zeros(shape, np.uint8),
        actions=np.zeros(shape, np.uint16),
        completions=np.zeros(shape, np.uint8),
        heads=np.zeros(capacity, np.uint8),
        lengths=np.zeros(capacity, np.uint8),
    )
