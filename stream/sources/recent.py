"""The recent source: the user's own newest items, for feeds and shops where repeats are welcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

if TYPE_CHECKING:
    from state.catalogue import Catalogue
    from stream.candidates import UserBatch
    from stream.sources.proposals import SourceList

_NOT_INTERESTED_BIT = np.uint16(1 << 4)


@njit(cache=True, nogil=True)
def _recent_kernel(
    history_rows: NDArray[np.int32],
    history_lengths: NDArray[np.int32],
    history_actions: NDArray[np.uint16],
    is_live: NDArray[np.bool_],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    counts: NDArray[np.int32],
) -> None:
    for b in range(len(history_lengths)):
        size = 0
        for place in range(history_lengths[b] - 1, -1, -1):
            row = history_rows[b, place]
            if row < 0 or not is_live[row] or history_actions[b, place] & _NOT_INTERESTED_BIT:
                continue
            if size == rows.shape[1]:
                break
            rows[b, size] = row
            scores[b, size] = np.float32(1.0) / np.float32(history_lengths[b] - place)
            size += 1
        counts[b] = size


def propose_recent(
    users: UserBatch,
    catalogue: Catalogue,
    into: SourceList,
) -> None:
    """Fill (B, M) lists with own live items, newest first; score 1 / (1 + places back)."""
    _recent_kernel(
        users.history_rows,
        users.history_lengths,
        users.history_actions,
        catalogue.is_live,
        into.rows,
        into.scores,
        into.counts,
    )
