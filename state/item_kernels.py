"""Kernels on the ids of one frame: when they were last met, and which of them have an item row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state.kernels import kernel


@kernel
def touch(touched_ms: NDArray[np.int64], rows: NDArray[np.int32], now_ms: int) -> None:
    """Raise the time of rows to ``now_ms`` where it is older.

    Args:
        touched_ms: int64 (N,), changed.
        rows: int32 (n,), rows of it.
        now_ms: Event time.
    """
    for row in rows:
        if touched_ms[row] < now_ms:
            touched_ms[row] = now_ms


@kernel
def look_up_items(
    item_rows: NDArray[np.int32],
    id_rows: NDArray[np.int32],
    is_owned: NDArray[np.bool_],
    rows_out: NDArray[np.int32],
) -> int:
    """Find the item row of each id of a frame.

    Args:
        item_rows: int32 (N,), item row per id row; -1 = none.
        id_rows: int32 (I,), id row per id of the frame; -1 where none could be had.
        is_owned: bool (I,), our partition owns the item.
        rows_out: int32 (I,), filled: the item row, -1 where there is none.

    Returns:
        How many ids we own have an id row and no item row yet.
    """
    num_new = 0
    for ref in range(len(id_rows)):
        rows_out[ref] = -1
        if is_owned[ref] and id_rows[ref] >= 0:
            rows_out[ref] = item_rows[id_rows[ref]]
            num_new += rows_out[ref] < 0
    return num_new
