"""Whether a user consumed an item before: in the history, or by the seen filter.

Notable: the history is exact but short, the Bloom filter remembers longer and may take an unseen
item for a seen one (never the other way round).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.seen import contains

# Bit of ``Action.NOT_INTERESTED`` in history actions.
NOT_INTERESTED_BIT = np.uint16(1 << 4)


@njit(cache=True, nogil=True)
def mark_history(
    history_rows: NDArray[np.int32], length: int, marks: NDArray[np.uint8], value: int
) -> None:
    """Set ``marks[row] = value`` for one user's history; value 0 takes the marks back.

    Args:
        history_rows: int32 (L,), -1 where the item left the catalogue.
        length: How many entries are used.
        marks: uint8 (N,), zero between users.
        value: 1 or 0.
    """
    for row in history_rows[:length]:
        if row >= 0:
            marks[row] = value


@njit(cache=True, nogil=True, inline="always")
def has_seen(
    row: int, marks: NDArray[np.uint8], words: NDArray[np.uint64], hashes: NDArray[np.uint64]
) -> bool:
    """Say whether the user whose history is marked consumed the item of a row.

    Bare arrays, taken out of their tuples before the loop: this runs hundreds of times per user.

    Args:
        row: Catalogue row.
        marks: uint8 (N,), see :func:`mark_history`.
        words: uint64 (W,), the user's Bloom filter.
        hashes: uint64 (N,), ``state.seen.seen_key`` of each row's id.
    """
    return bool(marks[row]) or bool(contains(words, hashes[row]))
