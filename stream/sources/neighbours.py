"""Sources that read neighbour lists: co-occurrence one way and two ways, and item-CF.

One kernel serves the three, for the formula is one: with ``f`` and ``b`` the pair counts forwards
and backwards, ``F`` and ``T`` the marginals they are normalised by, and r what a pair the other way
round weighs (0 but for two ways),

    score_j = sum over voting history entries h, newest first, lag = 0, 1, ...
              decay^lag (f[h, j] + r b[h, j]) / sqrt(n_h m_j),
    n_h = max(F_h + r T_h + s, 1),  m_j = max(T_j + r F_j + s, 1)

where every count is faded from its item's last signal to the user's now (``state.fading``): what
an item was paired with long ago does not vote as loud as on its last day.

Lift with a square root: QUALITY.md's co-occurrence; cosine with decayed pairs: its item-CF
(Deshpande and Karypis, Item-Based Top-N Recommendation Algorithms, 2004,
https://doi.org/10.1145/963770.963776), where F = T = an item's interactions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.fading import Fading, faded
from stream.sources.packed import pack, take_best
from stream.sources.proposals import SourceList
from stream.sources.scratch import Histories, Scratch
from stream.sources.seen import NOT_INTERESTED_BIT

if TYPE_CHECKING:
    from state.catalogue import Catalogue
    from stream.sources.limits import RetrievalLimits


class PairColumns(NamedTuple):
    """The catalogue's columns that one of the sources reads.

    Attributes:
        rows: int32 (N, K), neighbours; -1 empty.
        forward: float32 (N, K), pair counts item -> neighbour.
        backward: float32 (N, K), pair counts neighbour -> item.
        from_sums: float32 (N,), marginal of the first of a pair.
        to_sums: float32 (N,), marginal of the second.
        times_ms: int64 (N,), when the item's counts were read.
        window_shares: float32 (N, W), each window's part of them.
    """

    rows: NDArray[np.int32]
    forward: NDArray[np.float32]
    backward: NDArray[np.float32]
    from_sums: NDArray[np.float32]
    to_sums: NDArray[np.float32]
    times_ms: NDArray[np.int64]
    window_shares: NDArray[np.float32]


class VoteRules(NamedTuple):
    """The numbers of one source; see the module's formula and ``RetrievalLimits``."""

    backward_weight: float
    decay: float
    smoothing: float
    max_votes: int
    min_strength: int
    skip_seen: bool
    fading: Fading


@njit(cache=True, nogil=True)
def _vote(
    source: int,
    now_ms: int,
    weight: float,
    pairs: PairColumns,
    rules: VoteRules,
    is_live: NDArray[np.bool_],
    sums: NDArray[np.float64],
    touched: NDArray[np.int32],
    num_touched: int,
) -> int:
    """Add one history item's votes to the sums; return how many rows are touched by now."""
    both, smoothing = rules.backward_weight, rules.smoothing
    from_sums, to_sums = pairs.from_sums, pairs.to_sums
    rows, forward, backward = pairs.rows[source], pairs.forward[source], pairs.backward[source]
    times_ms, shares, fading = pairs.times_ms, pairs.window_shares, rules.fading
    share = faded(fading, shares, source, now_ms - times_ms[source])
    from_norm = max(share * (from_sums[source] + both * to_sums[source]) + smoothing, 1.0)
    for slot in range(len(rows)):
        row = rows[slot]
        if row < 0 or not is_live[row]:
            continue
        count = share * (forward[slot] + both * backward[slot])
        if count <= 0.0:
            continue
        kept = faded(fading, shares, row, now_ms - times_ms[row])
        to_norm = max(kept * (to_sums[row] + both * from_sums[row]) + smoothing, 1.0)
        if sums[row] == 0.0:
            touched[num_touched] = row
            num_touched += 1
        sums[row] += weight * count / np.sqrt(from_norm * to_norm)
    return num_touched


@njit(cache=True, nogil=True)
def _vote_kernel(
    histories: Histories,
    pairs: PairColumns,
    rules: VoteRules,
    scratch: Scratch,
    keys: NDArray[np.uint64],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
) -> None:
    """Fill each user's union in order of first votes: keys come zeroed, all (B, W).

    Sums are float64 in the order history (newest first), then slot.
    """
    is_live, sums = scratch.is_live, scratch.sums
    bits = scores.view(np.uint32)
    for b in range(len(histories.lengths)):
        history, touched, num_touched, votes, weight = histories.rows[b], rows[b], 0, 0, 1.0
        for place in range(histories.lengths[b] - 1, -1, -1):
            if votes == rules.max_votes:
                break
            is_weak = histories.strengths[b, place] < rules.min_strength
            if is_weak or history[place] < 0 or histories.actions[b, place] & NOT_INTERESTED_BIT:
                continue
            num_touched = _vote(
                history[place], histories.now_ms[b], weight, pairs, rules, is_live, sums,
                touched, num_touched,
            )  # fmt: skip
            votes += 1
            weight *= rules.decay
        for place in range(num_touched):
            score = np.float32(sums[touched[place]])
            sums[touched[place]] = 0.0
            scores[b, place] = score
            if score > 0.0:
                keys[b, place] = pack(bits[b, place], place)


def _propose(
    histories: Histories, pairs: PairColumns, rules: VoteRules, scratch: Scratch, into: SourceList
) -> None:
    """Fill (B, M) lists; equal scores stand in the order of their first votes."""
    votes = min(rules.max_votes, histories.rows.shape[1])
    shape = (len(histories.lengths), votes * pairs.rows.shape[1])
    keys = np.zeros(shape, np.uint64)
    rows = np.empty(shape, np.int32)
    scores = np.empty(shape, np.float32)
    _vote_kernel(histories, pairs, rules, scratch, keys, rows, scores)
    keys.sort(axis=1)
    indices = np.arange(len(keys))
    take_best(indices, keys, rows, scores, histories, scratch, rules.skip_seen, into)


def propose_cooccurring(
    histories: Histories,
    catalogue: Catalogue,
    scratch: Scratch,
    limits: RetrievalLimits,
    into: SourceList,
    *,
    two_ways: bool,
) -> None:
    """Fill (B, M) lists with what follows (two_ways: goes with) the user's newest items."""
    pairs = PairColumns(
        rows=catalogue.neighbour_rows,
        forward=catalogue.neighbour_out,
        backward=catalogue.neighbour_in,
        from_sums=catalogue.out_sums,
        to_sums=catalogue.in_sums,
        times_ms=catalogue.popularity_time_ms,
        window_shares=catalogue.window_shares,
    )
    rules = VoteRules(
        backward_weight=float(limits.two_way_weight) if two_ways else 0.0,
        decay=float(limits.cooccurrence_decay),
        smoothing=float(limits.cooccurrence_smoothing),
        max_votes=limits.cooccurrence_history,
        min_strength=limits.min_history_strength,
        skip_seen=not limits.allow_repeats,
        fading=catalogue.fading,
    )
    _propose(histories, pairs, rules, scratch, into)


def propose_item_cf(
    histories: Histories,
    catalogue: Catalogue,
    scratch: Scratch,
    limits: RetrievalLimits,
    into: SourceList,
) -> None:
    """Fill (B, M) lists with items whose audience is that of the user's newest items."""
    pairs = PairColumns(
        rows=catalogue.neighbour_rows,
        forward=catalogue.neighbour_cf,
        backward=catalogue.neighbour_cf,
        from_sums=catalogue.interactions,
        to_sums=catalogue.interactions,
        times_ms=catalogue.popularity_time_ms,
        window_shares=catalogue.window_shares,
    )
    rules = VoteRules(
        backward_weight=0.0,
        decay=float(limits.item_cf_decay),
        smoothing=float(limits.item_cf_smoothing),
        max_votes=limits.item_cf_history,
        min_strength=limits.min_history_strength,
        skip_seen=not limits.allow_repeats,
        fading=catalogue.fading,
    )
    _propose(histories, pairs, rules, scratch, into)
