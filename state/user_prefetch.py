"""Which cache lines the user side will need a few events from now.

Users come in no order: their rows, and the slots of ids, are misses to main memory one after
another. The kernels know the next events, so they ask for those lines early.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.kernels import kernel
from state.prefetch import prefetch

_LINE_BYTES = 64


@kernel
def prefetch_row(array: NDArray[Any], row: int) -> None:
    """Ask for all lines of one row of a C-contiguous two-dimensional array."""
    num_bytes = array.shape[1] * array.itemsize
    begin = array.ctypes.data + row * num_bytes
    for position in range(begin & ~(_LINE_BYTES - 1), begin + num_bytes, _LINE_BYTES):
        prefetch(np.uint64(position))


@kernel
def prefetch_value(array: NDArray[Any], row: int, column: int) -> None:
    """Ask for the line of one value of a C-contiguous two-dimensional array."""
    prefetch(np.uint64(array.ctypes.data + (row * array.shape[1] + column) * array.itemsize))


@kernel
def prefetch_fold(tables: Any, user_row: int, item_row: int) -> None:
    """Ask for what the fold of one event will read: see ``user_fold.FoldTables``."""
    history = tables.history
    # Heads and lengths are a byte per user: they stay in the cache by themselves.
    length = np.int64(history.lengths[user_row])
    newest = np.int64(history.heads[user_row]) + length - 1
    num_places = history.item_rows.shape[1]
    if newest >= num_places:
        newest -= num_places
    newest = max(np.int64(0), newest)
    prefetch_row(history.item_rows, user_row)
    for back in (0, 8):
        prefetch_value(history.times_ms, user_row, max(np.int64(0), newest - back))
    prefetch_value(history.strengths, user_row, newest)
    prefetch_value(history.actions, user_row, newest)
    prefetch_value(history.completions, user_row, newest)
    prefetch_row(tables.seen.young_words, user_row)
    catalogue_row = np.int64(tables.item_facts.catalogue_rows[item_row])
    if catalogue_row >= 0:
        prefetch_row(tables.interests.session_vectors, user_row)
        prefetch_row(tables.interests.long_vectors, user_row)
        prefetch_row(tables.affinities.keys, user_row)
        prefetch_row(tables.affinities.weights, user_row)
        prefetch_row(tables.catalogue.embeddings, catalogue_row)
        prefetch_row(tables.catalogue.tag_keys, catalogue_row)
