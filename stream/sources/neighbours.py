"""Sources that read neighbour lists: co-occurrence one way and two ways, and item-CF.

One kernel serves the three, for the formula is one: with ``f`` and ``b`` the pair counts forwards
and backwards, ``F`` and ``T`` the marginals they are normalised by, and r = 1 for two ways,

    score_j = sum over voting history entries h, newest first, lag = 0, 1, ...
              decay^lag (f[h, j] + r b[h, j]) / sqrt(n_h m_j),
    n_h = max(F_h + r T_h + s, 1),  m_j = max(T_j + r F_j + s, 1)

Lift with a square root: QUALITY.md's co-occurrence; cosine with decayed pairs: its item-CF
(Deshpande and Karypis, Item-Based Top-N Recommendation Algorithms, 2004,
https://doi.org/10.1145/963770.963776), where F = T = an item's interactions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.sources.best import push_best, sort_best
from stream.sources.seen import has_seen, mark_history

if TYPE_CHECKING:
    from state.catalogue import Catalogue
    from stream.candidates import UserBatch
    from stream.sources.limits import RetrievalLimits
    from stream.sources.proposals import SourceList
    from stream.sources.scratch import Scratch

# Bit of ``Action.NOT_INTERESTED`` in history actions: such an entry never votes.
_NOT_INTERESTED_BIT = np.uint16(1 << 4)


@njit(cache=True, nogil=True)
def _neighbour_kernel(
    history_rows: NDArray[np.int32],
    history_lengths: NDArray[np.int32],
    history_strengths: NDArray[np.uint8],
    history_actions: NDArray[np.uint16],
    seen_words: NDArray[np.uint64],
    neighbour_rows: NDArray[np.int32],
    forward: NDArray[np.float32],
    backward: NDArray[np.float32],
    from_sums: NDArray[np.float32],
    to_sums: NDArray[np.float32],
    is_live: NDArray[np.bool_],
    hashes: NDArray[np.uint64],
    sums: NDArray[np.float64],
    marks: NDArray[np.uint8],
    two_ways: float,
    decay: float,
    smoothing: float,
    max_votes: int,
    min_strength: int,
    skip_seen: bool,
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    counts: NDArray[np.int32],
) -> None:
    """Fill (B, M) lists; sums in float64 in the order history (newest first), then slot."""
    touched = np.empty(max(max_votes * neighbour_rows.shape[1], 1), np.int32)
    for b in range(len(history_lengths)):
        num_touched = 0
        votes = 0
        weight = 1.0
        for place in range(history_lengths[b] - 1, -1, -1):
            if votes == max_votes:
                break
            source = history_rows[b, place]
            if (
                source < 0
                or history_strengths[b, place] < min_strength
                or history_actions[b, place] & _NOT_INTERESTED_BIT
            ):
                continue
            from_norm = max(from_sums[source] + two_ways * to_sums[source] + smoothing, 1.0)
            for slot in range(neighbour_rows.shape[1]):
                row = neighbour_rows[source, slot]
                if row < 0:
                    continue
                pair = forward[source, slot] + two_ways * backward[source, slot]
                if pair <= 0.0 or not is_live[row]:
                    continue
                to_norm = max(to_sums[row] + two_ways * from_sums[row] + smoothing, 1.0)
                if sums[row] == 0.0:
                    touched[num_touched] = row
                    num_touched += 1
                sums[row] += weight * pair / np.sqrt(from_norm * to_norm)
            votes += 1
            weight *= decay
        if skip_seen:
            mark_history(history_rows[b], history_lengths[b], marks, 1)
        size = 0
        for t in range(num_touched):
            row = touched[t]
            score = np.float32(sums[row])
            sums[row] = 0.0
            if size == scores.shape[1] and score < scores[b, 0]:
                continue
            if score <= 0.0 or (skip_seen and has_seen(row, marks, seen_words[b], hashes)):
                continue
            size = push_best(scores[b], rows[b], size, score, row, hashes)
        sort_best(scores[b], rows[b], size, hashes)
        counts[b] = size
        if skip_seen:
            mark_history(history_rows[b], history_lengths[b], marks, 0)


def propose_cooccurring(
    users: UserBatch,
    catalogue: Catalogue,
    scratch: Scratch,
    limits: RetrievalLimits,
    into: SourceList,
    *,
    two_ways: bool,
) -> None:
    """Fill (B, M) lists with what follows (two_ways: goes with) the user's newest items."""
    _neighbour_kernel(
        users.history_rows,
        users.history_lengths,
        users.history_strengths,
        users.history_actions,
        users.seen_words,
        catalogue.neighbour_rows,
        catalogue.neighbour_out,
        catalogue.neighbour_in,
        catalogue.out_sums,
        catalogue.in_sums,
        catalogue.is_live,
        scratch.hashes,
        scratch.sums,
        scratch.marks,
        1.0 if two_ways else 0.0,
        limits.cooccurrence_decay,
        limits.cooccurrence_smoothing,
        limits.cooccurrence_history,
        limits.min_history_strength,
        not limits.allow_repeats,
        into.rows,
        into.scores,
        into.counts,
    )


def propose_item_cf(
    users: UserBatch,
    catalogue: Catalogue,
    scratch: Scratch,
    limits: RetrievalLimits,
    into: SourceList,
) -> None:
    """Fill (B, M) lists with items whose audience is that of the user's newest items."""
    _neighbour_kernel(
        users.history_rows,
        users.history_lengths,
        users.history_strengths,
        users.history_actions,
        users.seen_words,
        catalogue.neighbour_rows,
        catalogue.neighbour_cf,
        catalogue.neighbour_cf,
        catalogue.interactions,
        catalogue.interactions,
        catalogue.is_live,
        scratch.hashes,
        scratch.sums,
        scratch.marks,
        0.0,
        limits.item_cf_decay,
        0.0,
        limits.item_cf_history,
        limits.min_history_strength,
        not limits.allow_repeats,
        into.rows,
        into.scores,
        into.counts,
    )
