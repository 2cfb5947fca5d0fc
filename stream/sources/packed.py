"""Sort keys: a score and a place in one 64-bit word, so that NumPy's vector sort orders lists.

The upper half is the score's float32 bits (a score is positive, so that its bits order as it
does), the lower half the inverted place: among equal scores the earlier place stands first. Sorting
300 such words costs a twentieth of a heap (2 us against 40 us on the machine of the benchmarks).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.sources.proposals import SourceList
from stream.sources.scratch import Histories, Scratch
from stream.sources.seen import has_seen, mark_history

LOW_BITS = np.uint64(0xFFFFFFFF)
# The sign bit of a positive float32: free for one distinction above the score.
HIGH_BIT = np.uint64(1 << 63)
_HALF = np.uint64(32)


@njit(cache=True, nogil=True, inline="always")
def pack(bits: np.uint32, place: int) -> np.uint64:
    """Return the sort key of a score's bits and a place below 2**32."""
    return np.uint64(bits) << _HALF | (LOW_BITS - np.uint64(place))


@njit(cache=True, nogil=True, inline="always")
def place_of(key: np.uint64, mask: np.uint64 = LOW_BITS) -> int:
    """Return the place in a sort key; mask has the low bits that hold it."""
    return np.int64(mask - (key & mask))  # type: ignore[return-value]


@njit(cache=True, nogil=True)
def take_best(
    indices: NDArray[np.int64],
    keys: NDArray[np.uint64],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    histories: Histories,
    scratch: Scratch,
    skip_seen: bool,
    into: SourceList,
    mask: np.uint64 = LOW_BITS,
) -> None:
    """Fill the lists (B, M) of some users from sorted keys.

    Args:
        indices: int64 (n,), the users.
        keys: uint64 (B, W), each row ascending; 0 is no item.
        rows: int32 (B, W), catalogue row of each place.
        scores: float32 (B, W), score of each place.
        histories: Of the B users.
        scratch: Marks come and leave zeroed.
        skip_seen: Whether items that a user consumed are left out.
        into: Filled.
        mask: Bits of a key that hold the place.
    """
    hashes, marks = scratch.hashes, scratch.marks
    for b in indices:
        history, length, words = histories.rows[b], histories.lengths[b], histories.seen_words[b]
        if skip_seen:
            mark_history(history, length, marks, 1)
        own_keys, own_rows, own_scores = keys[b], rows[b], scores[b]
        list_rows, list_scores, size = into.rows[b], into.scores[b], 0
        for index in range(len(own_keys) - 1, -1, -1):
            if own_keys[index] == 0 or size == len(list_rows):
                break
            place = place_of(own_keys[index], mask)
            if skip_seen and has_seen(own_rows[place], marks, words, hashes):
                continue
            list_rows[size] = own_rows[place]
            list_scores[size] = own_scores[place]
            size += 1
        into.counts[b] = size
        if skip_seen:
            mark_history(history, length, marks, 0)
