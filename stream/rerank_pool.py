"""Steps 1 to 3 of reranking, as kernels on one user's arrays: judge, relevance, pool."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.sources.best import push_best, sort_best

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
        hashes: uint64 (C,), of the item ids.
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
    hashes: NDArray[np.uint64]
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

    Attributes:
        order: int32 (C,), candidates by relevance.
        order_keys: float32 (C,), their relevance.
        members: int32 (C,), candidates in the pool, by relevance.
        authors: int32 (C,), index of each member's author; -1 unknown.
        author_keys: uint64 (C + e,), keys of the authors met.
        author_counts: int32 (C + e,), members of each.
        explorers: int32 (e,), little-known fresh candidates, in order of their turn.
    """

    order: NDArray[np.int32]
    order_keys: NDArray[np.float32]
    members: NDArray[np.int32]
    authors: NDArray[np.int32]
    author_keys: NDArray[np.uint64]
    author_counts: NDArray[np.int32]
    explorers: NDArray[np.int32]


@njit(cache=True, nogil=True)
def judge(
    b: int, contenders: Contenders, rules: RerankRules, blocked_items: NDArray[np.uint8]
) -> None:
    """Give user b's candidates their reason; OVERFLOW = still in the running.

    Args:
        b: The user.
        contenders: Whose reasons are set.
        rules: Whether repeats are allowed.
        blocked_items: uint8 (N,), 1 for rows that the user is not interested in.
    """
    reasons = contenders.reasons
    for c in range(contenders.splits[b], contenders.splits[b + 1]):
        if not contenders.is_live[c]:
            reasons[c] = _NOT_LIVE
        elif not np.isfinite(contenders.scores[c]):
            reasons[c] = _UNSCORED
        elif blocked_items[contenders.rows[c]]:
            reasons[c] = _BLOCKED
        elif contenders.is_seen[c] and not rules.allow_repeats:
            reasons[c] = SEEN
        else:
            reasons[c] = OVERFLOW


@njit(cache=True, nogil=True)
def scale(
    b: int, contenders: Contenders, rules: RerankRules, blocked_authors: NDArray[np.uint64]
) -> None:
    """Scale user b's scores to a relevance in [0, 1]; a blocked author's by the factor."""
    reasons, scores = contenders.reasons, contenders.scores
    begin, end = contenders.splits[b], contenders.splits[b + 1]
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
            if author == contenders.authors[c]:
                value *= rules.blocked_author_factor
                break
        contenders.relevance[c] = value


@njit(cache=True, nogil=True)
def put_in_order(b: int, contenders: Contenders, wanted: int, pool: Pool) -> int:
    """Fill ``pool.order`` with user b's candidates of one reason, most relevant first."""
    size = 0
    begin, end = contenders.splits[b], contenders.splits[b + 1]
    keys = pool.order_keys[: end - begin]
    for c in range(begin, end):
        if contenders.reasons[c] == wanted:
            relevance = contenders.relevance[c]
            size = push_best(keys, pool.order, size, relevance, c, contenders.hashes)
    sort_best(keys, pool.order, size, contenders.hashes)
    return size


@njit(cache=True, nogil=True)
def choose_explorers(size: int, contenders: Contenders, rules: RerankRules, pool: Pool) -> int:
    """Fill ``pool.explorers`` out of ``pool.order[:size]``: little known, best fresh rank first.

    No author twice, so that explorers alone never break an author cap.
    """
    num_explorers = 0
    while num_explorers < len(pool.explorers):
        best = -1
        for c in pool.order[:size]:
            rank = contenders.fresh_ranks[c]
            if rank == 0 or contenders.interactions[c] > rules.max_interactions:
                continue
            if best >= 0 and rank >= contenders.fresh_ranks[best]:
                continue
            is_taken = False
            for other in pool.explorers[:num_explorers]:
                key = contenders.authors[c]
                is_same_author = key != _NO_KEY and key == contenders.authors[other]
                is_taken = is_taken or other == c or is_same_author
            if not is_taken:
                best = c
        if best < 0:
            break
        pool.explorers[num_explorers] = best
        num_explorers += 1
    return num_explorers


@njit(cache=True, nogil=True)
def _enter(key: np.uint64, pool: Pool, num_authors: int) -> int:
    """Return an author's index, entered with count 0 if new; -1 for an unknown author."""
    if key == _NO_KEY:
        return -1
    for author in range(num_authors):
        if pool.author_keys[author] == key:
            return author
    pool.author_keys[num_authors] = key
    pool.author_counts[num_authors] = 0
    return num_authors


@njit(cache=True, nogil=True)
def fill_pool(
    size: int, num_explorers: int, contenders: Contenders, rules: RerankRules, pool: Pool
) -> int:
    """Fill ``pool.members`` out of ``pool.order[:size]`` in that order; return how many.

    The best ``pool_size`` with at most ``max_per_author`` of one author, and the explorers, whose
    places under the cap are kept from the start.
    """
    num_authors, num_members, num_ordinary = 0, 0, 0
    for c in pool.explorers[:num_explorers]:
        author = _enter(contenders.authors[c], pool, num_authors)
        if author >= 0:
            num_authors = max(num_authors, author + 1)
            pool.author_counts[author] += 1
    for c in pool.order[:size]:
        is_explorer = False
        for explorer in pool.explorers[:num_explorers]:
            is_explorer = is_explorer or explorer == c
        if not is_explorer and num_ordinary == rules.pool_size:
            continue
        author = _enter(contenders.authors[c], pool, num_authors)
        num_authors = max(num_authors, author + 1)
        if not is_explorer:
            if author >= 0:
                if 0 < rules.max_per_author <= pool.author_counts[author]:
                    contenders.reasons[c] = _AUTHOR_CAP
                    continue
                pool.author_counts[author] += 1
            num_ordinary += 1
        pool.members[num_members] = c
        pool.authors[num_members] = author
        num_members += 1
    return num_members
