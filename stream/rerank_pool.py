"""Steps 1 to 3 of reranking, as kernels on one user's arrays: judge, relevance, pool."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.sources.packed import HIGH_BIT, pack, place_of

_NO_KEY = np.uint64(0)


class Reason(IntEnum):
    """Why a candidate is not in the slate; the first that holds."""

    KEPT = 0
    NOT_LIVE = 1
    UNSCORED = 2
    BLOCKED = 3
    SEEN = 4
    AUTHOR_CAP = 5
    OVERFLOW = 6


# numba freezes globals: plain integers, for enum members cost a boxed look-up.
KEPT, _NOT_LIVE, _UNSCORED, _BLOCKED, SEEN, _AUTHOR_CAP, OVERFLOW = (
    reason.value for reason in Reason
)


class Contenders(NamedTuple):
    """The C candidates of B users, for kernels.

    Attributes:
        splits: int64 (B + 1,).
        rows: int32 (C,), catalogue rows.
        scores: float32 (C,), the ranker's.
        authors: uint64 (C,), author keys; 0 unknown.
        interactions: float32 (C,).
        fresh_ranks: uint16 (C,), rank in the fresh source; 0 without.
        is_seen: bool (C,).
        is_live: bool (C,).
        relevance: float32 (C,), comes zeroed.
        reasons: uint8 (C,), :class:`Reason`.
    """

    splits: NDArray[np.int64]
    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    authors: NDArray[np.uint64]
    interactions: NDArray[np.float32]
    fresh_ranks: NDArray[np.uint16]
    is_seen: NDArray[np.bool_]
    is_live: NDArray[np.bool_]
    relevance: NDArray[np.float32]
    reasons: NDArray[np.uint8]


class RerankRules(NamedTuple):
    """The numbers of reranking; see ``RerankLimits``.

    Attributes:
        exploration_places: int64 (n,).
    """

    exploration_places: NDArray[np.int64]
    slate_size: int
    pool_size: int
    allow_repeats: bool
    refill_seen: bool
    max_per_author: int
    author_decay: float
    author_floor: float
    blocked_author_factor: float
    diversity: float
    max_interactions: float


class Pool(NamedTuple):
    """Room for the candidates of one user that compete, reused from user to user.

    W is the largest number of candidates of one user.

    Attributes:
        order: int32 (W,), candidates by relevance, the seen behind the others.
        members: int32 (W,), candidates in the pool, by relevance.
        authors: int32 (W,), index of each member's author; -1 unknown.
        author_keys: uint64 (W + e,), keys of the authors met.
        author_counts: int32 (W + e,), members of each.
        explorers: int32 (e,), little-known fresh candidates, in order of their turn.
    """

    order: NDArray[np.int32]
    members: NDArray[np.int32]
    authors: NDArray[np.int32]
    author_keys: NDArray[np.uint64]
    author_counts: NDArray[np.int32]
    explorers: NDArray[np.int32]


@njit(cache=True, nogil=True)
def judge(
    begin: int,
    end: int,
    contenders: Contenders,
    rules: RerankRules,
    blocked_items: NDArray[np.uint8],
) -> None:
    """Give one user's candidates their reason; OVERFLOW = still in the running.

    Args:
        begin: The user's first candidate.
        end: After the last.
        contenders: Whose reasons are set.
        rules: Whether repeats are allowed.
        blocked_items: uint8 (N,), 1 for rows that the user is not interested in.
    """
    reasons, scores, rows = contenders.reasons, contenders.scores, contenders.rows
    is_live, is_seen = contenders.is_live, contenders.is_seen
    for c in range(begin, end):
        if not is_live[c]:
            reasons[c] = _NOT_LIVE
        elif not np.isfinite(scores[c]):
            reasons[c] = _UNSCORED
        elif blocked_items[rows[c]]:
            reasons[c] = _BLOCKED
        elif is_seen[c] and not rules.allow_repeats:
            reasons[c] = SEEN
        else:
            reasons[c] = OVERFLOW


@njit(cache=True, nogil=True)
def scale(
    begin: int,
    end: int,
    contenders: Contenders,
    rules: RerankRules,
    blocked_authors: NDArray[np.uint64],
    keys: NDArray[np.uint64],
) -> None:
    """Scale one user's scores to a relevance in [0, 1], a blocked author's by the factor.

    Fills the sort keys (uint64 (end - begin,)) of what may enter the slate; others stay 0.
    """
    reasons, scores, relevance = contenders.reasons, contenders.scores, contenders.relevance
    authors, factor = contenders.authors, rules.blocked_author_factor
    low, high = 0.0, -np.inf
    for c in range(begin, end):
        if reasons[c] == OVERFLOW or reasons[c] == SEEN:
            low = min(low, float(scores[c]))
            high = max(high, float(scores[c]))
    for c in range(begin, end):
        if reasons[c] != OVERFLOW and reasons[c] != SEEN:
            continue
        value = (scores[c] - low) / (high - low) if high > low else 1.0
        for author in blocked_authors:
            if author == authors[c]:
                value *= factor
                break
        relevance[c] = value
    bits = relevance.view(np.uint32)
    for c in range(begin, end):
        if reasons[c] == OVERFLOW or reasons[c] == SEEN:
            key = pack(bits[c], c - begin)
            # The high bit puts what is in the running in front of the seen.
            keys[c - begin] = key | HIGH_BIT if reasons[c] == OVERFLOW else key


@njit(cache=True, nogil=True)
def put_in_order(begin: int, keys: NDArray[np.uint64], order: NDArray[np.int32]) -> tuple[int, int]:
    """Fill one user's candidates, those in the running first, then the seen; most relevant first.

    Args:
        begin: The user's first candidate.
        keys: uint64 (W,), ascending.
        order: int32 (at least W,), filled.

    Returns:
        How many are in the running, and how many there are with the seen.
    """
    running, size = 0, 0
    for place in range(len(keys) - 1, -1, -1):
        if keys[place] == 0:
            break
        order[size] = begin + place_of(keys[place])
        size += 1
        if keys[place] & HIGH_BIT:
            running = size
    return running, size


@njit(cache=True, nogil=True)
def choose_explorers(size: int, contenders: Contenders, rules: RerankRules, pool: Pool) -> int:
    """Fill ``pool.explorers`` out of ``pool.order[:size]``: little known, best fresh rank first.

    No author twice, so that explorers alone never break an author cap.
    """
    fresh_ranks, interactions = contenders.fresh_ranks, contenders.interactions
    authors, explorers = contenders.authors, pool.explorers
    num_explorers = 0
    while num_explorers < len(explorers):
        best = -1
        for c in pool.order[:size]:
            rank = fresh_ranks[c]
            if rank == 0 or interactions[c] > rules.max_interactions:
                continue
            if best >= 0 and rank >= fresh_ranks[best]:
                continue
            is_taken = False
            for other in explorers[:num_explorers]:
                is_same_author = authors[c] != _NO_KEY and authors[c] == authors[other]
                is_taken = is_taken or other == c or is_same_author
            if not is_taken:
                best = c
        if best < 0:
            break
        explorers[num_explorers] = best
        num_explorers += 1
    return num_explorers


@njit(cache=True, nogil=True)
def _enter(
    key: np.uint64, keys: NDArray[np.uint64], counts: NDArray[np.int32], num_authors: int
) -> int:
    """Return an author's index, entered with count 0 if new; -1 for an unknown author."""
    if key == _NO_KEY:
        return -1
    for author in range(num_authors):
        if keys[author] == key:
            return author
    keys[num_authors] = key
    counts[num_authors] = 0
    return num_authors


@njit(cache=True, nogil=True)
def fill_pool(
    size: int, num_explorers: int, contenders: Contenders, rules: RerankRules, pool: Pool
) -> int:
    """Fill ``pool.members`` out of ``pool.order[:size]`` in that order; return how many.

    The best ``pool_size`` with at most ``max_per_author`` of one author, and the explorers, whose
    places under the cap are kept from the start.
    """
    authors, explorers = contenders.authors, pool.explorers[:num_explorers]
    keys, counts = pool.author_keys, pool.author_counts
    num_authors, num_members, num_ordinary = 0, 0, 0
    for c in explorers:
        author = _enter(authors[c], keys, counts, num_authors)
        if author >= 0:
            num_authors = max(num_authors, author + 1)
            counts[author] += 1
    for c in pool.order[:size]:
        is_explorer = False
        for explorer in explorers:
            is_explorer = is_explorer or explorer == c
        if not is_explorer and num_ordinary == rules.pool_size:
            continue
        author = _enter(authors[c], keys, counts, num_authors)
        num_authors = max(num_authors, author + 1)
        if not is_explorer:
            if author >= 0:
                if 0 < rules.max_per_author <= counts[author]:
                    contenders.reasons[c] = _AUTHOR_CAP
                    continue
                counts[author] += 1
            num_ordinary += 1
        pool.members[num_members] = c
        pool.authors[num_members] = author
        num_members += 1
    return num_members
