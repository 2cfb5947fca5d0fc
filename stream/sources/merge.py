"""Merge the sources' lists into one ragged CandidateBatch that keeps who proposed what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.candidates import SOURCES, CandidateBatch
from stream.sources.best import push_best, sort_best
from stream.sources.seen import has_seen, mark_history

if TYPE_CHECKING:
    from stream.candidates import UserBatch
    from stream.sources.limits import RetrievalLimits
    from stream.sources.proposals import Proposals
    from stream.sources.scratch import Scratch

# Taken from a seen candidate's fused sum where repeats are not allowed: it then stands behind
# every unseen one (a fused sum is at most num_sources / (k + 1), below 8).
_BEHIND = 8.0


@njit(cache=True, nogil=True)
def _merge_kernel(
    list_rows: NDArray[np.int32],
    list_scores: NDArray[np.float32],
    list_counts: NDArray[np.int32],
    columns: NDArray[np.int64],
    history_rows: NDArray[np.int32],
    history_lengths: NDArray[np.int32],
    seen_words: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    marks: NDArray[np.uint8],
    places: NDArray[np.int32],
    sums: NDArray[np.float64],
    fused_k: float,
    seen_last: bool,
    max_candidates: int,
    splits: NDArray[np.int64],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    ranks: NDArray[np.uint16],
    is_seen: NDArray[np.bool_],
) -> None:
    """Fill splits and the (C, ...) columns, C bounded by what the outputs hold."""
    num_lists, num_users, max_per_source = list_rows.shape
    union = np.empty(num_lists * max_per_source, np.int32)
    heap_rows = np.empty(min(max_candidates, len(union)), np.int32)
    heap_keys = np.empty(len(heap_rows), np.float64)
    total = 0
    for b in range(num_users):
        num_union = 0
        for s in range(num_lists):
            for place in range(list_counts[s, b]):
                row = list_rows[s, b, place]
                if sums[row] == 0.0:
                    union[num_union] = row
                    num_union += 1
                sums[row] += 1.0 / (fused_k + 1.0 + place)
        mark_history(history_rows[b], history_lengths[b], marks, 1)
        size = 0
        for u in range(num_union):
            row = union[u]
            key = sums[row]
            sums[row] = 0.0
            if seen_last and has_seen(row, marks, seen_words[b], hashes):
                key -= _BEHIND
            size = push_best(heap_keys, heap_rows, size, key, row, hashes)
        sort_best(heap_keys, heap_rows, size, hashes)
        for place in range(size):
            row = heap_rows[place]
            rows[total + place] = row
            is_seen[total + place] = has_seen(row, marks, seen_words[b], hashes)
            places[row] = place + 1
        mark_history(history_rows[b], history_lengths[b], marks, 0)
        for s in range(num_lists):
            for place in range(list_counts[s, b]):
                found = places[list_rows[s, b, place]]
                if found > 0:
                    scores[total + found - 1, columns[s]] = list_scores[s, b, place]
                    ranks[total + found - 1, columns[s]] = place + 1
        for place in range(size):
            places[heap_rows[place]] = 0
        total += size
        splits[b + 1] = total


def merge(
    users: UserBatch, proposals: Proposals, scratch: Scratch, limits: RetrievalLimits
) -> CandidateBatch:
    """Merge lists into candidates, best fused first, at most ``max_candidates`` per user.

    Order and cap are one rule: descending sum over the sources of ``1 / (fused_k + rank)``, where
    repeats are not allowed all unseen before all seen, ties by the item id's hash.

    Args:
        users: B users.
        proposals: Lists of ``limits.sources``, in that order.
        scratch: Zeroed arrays by catalogue row; left zeroed.
        limits: Bounds and fused_k.
    """
    num_lists, num_users, max_per_source = proposals.rows.shape
    bound = num_users * min(limits.max_candidates, num_lists * max_per_source)
    bound = min(bound, int(proposals.counts.sum()))
    splits = np.zeros(num_users + 1, np.int64)
    rows = np.empty(bound, np.int32)
    scores = np.zeros((bound, len(SOURCES)), np.float32)
    ranks = np.zeros((bound, len(SOURCES)), np.uint16)
    is_seen = np.empty(bound, np.bool_)
    _merge_kernel(
        proposals.rows,
        proposals.scores,
        proposals.counts,
        np.asarray([SOURCES.index(name) for name in limits.sources], np.int64),
        users.history_rows,
        users.history_lengths,
        users.seen_words,
        scratch.hashes,
        scratch.marks,
        scratch.places,
        scratch.sums,
        limits.fused_k,
        not limits.allow_repeats,
        limits.max_candidates,
        splits,
        rows,
        scores,
        ranks,
        is_seen,
    )
    total = int(splits[-1])
    return CandidateBatch(
        splits=splits,
        item_rows=rows[:total],
        scores=scores[:total],
        ranks=ranks[:total],
        is_seen=is_seen[:total],
    )
