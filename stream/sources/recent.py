"""The recent source: the user's own newest items, for feeds and shops where repeats are welcome."""

from __future__ import annotations

import numpy as np
from numba import njit

from stream.sources.proposals import SourceList
from stream.sources.scratch import Histories, Scratch
from stream.sources.seen import NOT_INTERESTED_BIT


@njit(cache=True, nogil=True)
def propose_recent(histories: Histories, scratch: Scratch, into: SourceList) -> None:
    """Fill (B, M) lists with own live items, newest first; score 1 / (1 + places back).

    Items that the user is not interested in are left out.
    """
    for b in range(len(histories.lengths)):
        size = 0
        for place in range(histories.lengths[b] - 1, -1, -1):
            row = histories.rows[b, place]
            if size == into.rows.shape[1]:
                break
            is_unwanted = histories.actions[b, place] & NOT_INTERESTED_BIT
            if row < 0 or is_unwanted or not scratch.is_live[row]:
                continue
            into.rows[b, size] = row
            into.scores[b, size] = np.float32(1.0) / np.float32(histories.lengths[b] - place)
            size += 1
        into.counts[b] = size
