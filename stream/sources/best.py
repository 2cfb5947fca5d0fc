"""The best M of many: a bounded heap in two arrays, with ties broken by the item's hash.

Notable: catalogue rows differ between workers, so a tie between equal scores is broken by the
64-bit hash of the item id (smaller first), which is the same everywhere. Rows only decide between
two ids of equal hash.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, inline="always")
def precedes(
    score: float, row: int, other_score: float, other_row: int, hashes: NDArray[np.uint64]
) -> bool:
    """Say whether (score, row) stands before (other_score, other_row); a strict total order."""
    if score != other_score:
        return score > other_score
    if hashes[row] != hashes[other_row]:
        return bool(hashes[row] < hashes[other_row])
    return row < other_row


@njit(cache=True, nogil=True)
def push_best(
    scores: NDArray[np.float32],
    rows: NDArray[np.int32],
    size: int,
    score: float,
    row: int,
    hashes: NDArray[np.uint64],
) -> int:
    """Offer one item to the heap whose root (index 0) is its last-placed item.

    Args:
        scores: float32 or float64 (M,), heap; the first ``size`` are used.
        rows: int32 (M,), beside the scores.
        size: How many are in.
        score: The item's score, already rounded to the heap's dtype.
        row: The item's row, not in the heap yet.
        hashes: uint64 (N,), hash of each row's id.

    Returns:
        The new size, at most M.
    """
    capacity = len(scores)
    if size < capacity:
        place = size
        while place > 0:
            parent = (place - 1) >> 1
            if not precedes(scores[parent], rows[parent], score, row, hashes):
                break
            scores[place] = scores[parent]
            rows[place] = rows[parent]
            place = parent
        scores[place] = score
        rows[place] = row
        return size + 1
    if precedes(score, row, scores[0], rows[0], hashes):
        _sift_down(scores, rows, size, score, row, hashes)
    return size


@njit(cache=True, nogil=True)
def _sift_down(
    scores: NDArray[np.float32],
    rows: NDArray[np.int32],
    size: int,
    score: float,
    row: int,
    hashes: NDArray[np.uint64],
) -> None:
    """Put an item in place of the root and let it sink."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        other = child + 1
        if other < size and precedes(
            scores[child], rows[child], scores[other], rows[other], hashes
        ):
            child = other
        if not precedes(score, row, scores[child], rows[child], hashes):
            break
        scores[place] = scores[child]
        rows[place] = rows[child]
        place = child
    scores[place] = score
    rows[place] = row


@njit(cache=True, nogil=True)
def sort_best(
    scores: NDArray[np.float32], rows: NDArray[np.int32], size: int, hashes: NDArray[np.uint64]
) -> None:
    """Turn the heap into a list, best first, in place."""
    for last in range(size - 1, 0, -1):
        score, row = scores[last], rows[last]
        scores[last] = scores[0]
        rows[last] = rows[0]
        _sift_down(scores, rows, last, score, row, hashes)
