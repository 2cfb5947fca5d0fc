"""Whether a user consumed an item before: in the history, or by the seen filter.

Notable: the history is exact but short, the Bloom filter remembers longer and may take an unseen
item for a seen one (never the other way round).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.seen import contains
from stream.sources.scratch import Histories, Scratch

# Bit of ``Action.NOT_INTERESTED`` in history actions.
NOT_INTERESTED_BIT = np.uint16(1 << 4)


@njit(cache=True, nogil=True)
def mark_history(histories: Histories, b: int, marks: NDArray[np.uint8], value: int) -> None:
    """Set ``marks[row] = value`` (uint8 (N,)) for user b's history; 0 takes the marks back."""
    for place in range(histories.lengths[b]):
        if histories.rows[b, place] >= 0:
            marks[histories.rows[b, place]] = value


@njit(cache=True, nogil=True)
def has_seen(histories: Histories, b: int, row: int, scratch: Scratch) -> bool:
    """Say whether user b, whose history is marked, consumed the item of a row."""
    return scratch.marks[row] != 0 or contains(histories.seen_words[b], scratch.hashes[row])
