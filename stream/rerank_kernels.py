"""The kernels of reranking, one per step of ``stream.rerank``; each works on one user's arrays."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.sources.best import push_best, sort_best

_NOT_INTERESTED_BIT = np.uint16(1 << 4)
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
_KEPT, _NOT_LIVE, _UNSCORED, _BLOCKED, _SEEN, _AUTHOR_CAP, _OVERFLOW = (
    reason.value for reason in Reason
)


@njit(cache=True, nogil=True)
def _judge(
    begin: int,
    end: int,
    item_rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    is_seen: NDArray[np.bool_],
    is_live: NDArray[np.bool_],
    blocked: NDArray[np.uint8],
    allow_repeats: bool,
    reasons: NDArray[np.uint8],
) -> None:
    """Give one user's candidates their reason; OVERFLOW = still in the running."""
    for c in range(begin, end):
        row = item_rows[c]
        if not is_live[row]:
            reasons[c] = _NOT_LIVE
        elif not np.isfinite(scores[c]):
            reasons[c] = _UNSCORED
        elif blocked[row]:
            reasons[c] = _BLOCKED
        elif is_seen[c] and not allow_repeats:
            reasons[c] = _SEEN
        else:
            reasons[c] = _OVERFLOW


@njit(cache=True, nogil=True)
def _relevance(
    begin: int,
    end: int,
    item_rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    author_keys: NDArray[np.uint64],
    blocked_authors: NDArray[np.uint64],
    blocked_author_factor: float,
    reasons: NDArray[np.uint8],
    relevance: NDArray[np.float32],
) -> None:
    """Scale one user's scores to [0, 1]; a blocked author's by the factor."""
    low, high = 0.0, -np.inf
    for c in range(begin, end):
        if reasons[c] == _OVERFLOW or reasons[c] == _SEEN:
            low = min(low, float(scores[c]))
            high = max(high, float(scores[c]))
    for c in range(begin, end):
        if reasons[c] != _OVERFLOW and reasons[c] != _SEEN:
            continue
        value = (scores[c] - low) / (high - low) if high > low else 1.0
        for author in blocked_authors:
            if author == author_keys[item_rows[c]]:
                value *= blocked_author_factor
                break
        relevance[c] = value


@njit(cache=True, nogil=True)
def _ordered(
    begin: int,
    end: int,
    wanted: int,
    reasons: NDArray[np.uint8],
    relevance: NDArray[np.float32],
    hashes: NDArray[np.uint64],
    keys: NDArray[np.float32],
    order: NDArray[np.int32],
) -> int:
    """Order one user's candidates of one reason by relevance, best first; hashes is (C,)."""
    size = 0
    for c in range(begin, end):
        if reasons[c] == wanted:
            size = push_best(keys[: end - begin], order, size, relevance[c], c, hashes)
    sort_best(keys, order, size, hashes)
    return size


@njit(cache=True, nogil=True)
def _choose_explorers(
    order: NDArray[np.int32],
    fresh_ranks: NDArray[np.uint16],
    rows: NDArray[np.int32],
    author_keys: NDArray[np.uint64],
    interactions: NDArray[np.float32],
    max_interactions: float,
    explorers: NDArray[np.int32],
) -> int:
    """Fill little-known fresh candidates, best fresh rank first, no author twice."""
    size = 0
    while size < len(explorers):
        best = -1
        for c in order:
            rank = fresh_ranks[c]
            if rank == 0 or interactions[rows[c]] > max_interactions:
                continue
            is_taken = False
            for other in explorers[:size]:
                key = author_keys[rows[c]]
                is_same_author = key != _NO_KEY and key == author_keys[rows[other]]
                is_taken = is_taken or other == c or is_same_author
            if not is_taken and (best < 0 or rank < fresh_ranks[best]):
                best = c
        if best < 0:
            break
        explorers[size] = best
        size += 1
    return size


@njit(cache=True, nogil=True)
def _enter(key: np.uint64, keys: NDArray[np.uint64], counts: NDArray[np.int32], size: int) -> int:
    """Return an author's index, entered with count 0 if new; -1 for an unknown author."""
    if key == _NO_KEY:
        return -1
    for author in range(size):
        if keys[author] == key:
            return author
    keys[size] = key
    counts[size] = 0
    return size


@njit(cache=True, nogil=True)
def _build_pool(
    order: NDArray[np.int32],
    explorers: NDArray[np.int32],
    rows: NDArray[np.int32],
    author_keys: NDArray[np.uint64],
    pool_size: int,
    max_per_author: int,
    pool: NDArray[np.int32],
    pool_authors: NDArray[np.int32],
    keys: NDArray[np.uint64],
    counts: NDArray[np.int32],
    reasons: NDArray[np.uint8],
) -> int:
    """Fill the pool in order of relevance, at most max_per_author of one; explorers always in."""
    num_authors = 0
    for c in explorers:
        author = _enter(author_keys[rows[c]], keys, counts, num_authors)
        if author >= 0:
            num_authors = max(num_authors, author + 1)
            counts[author] += 1
    size = 0
    ordinary = 0
    for c in order:
        is_explorer = False
        for explorer in explorers:
            is_explorer = is_explorer or explorer == c
        if not is_explorer and ordinary == pool_size:
            continue
        author = _enter(author_keys[rows[c]], keys, counts, num_authors)
        num_authors = max(num_authors, author + 1)
        if not is_explorer:
            if author >= 0 and 0 < max_per_author <= counts[author]:
                reasons[c] = _AUTHOR_CAP
                continue
            if author >= 0:
                counts[author] += 1
            ordinary += 1
        pool[size] = c
        pool_authors[size] = author
        size += 1
    return size


@njit(cache=True, nogil=True)
def _largest(
    relevance: NDArray[np.float32],
    multipliers: NDArray[np.float32],
    similarity: NDArray[np.float32],
    is_taken: NDArray[np.bool_],
    diversity: np.float32,
) -> tuple[int, float]:
    """Return place and value of the best that is not taken; the first of equals."""
    best, best_value = -1, np.float32(-np.inf)
    for place in range(len(relevance)):
        value = relevance[place] * multipliers[place] - diversity * similarity[place]
        if not is_taken[place] and (best < 0 or value > best_value):
            best, best_value = place, value
    return best, best_value


@njit(cache=True, nogil=True)
def _spread(
    vectors: NDArray[np.float32],
    chosen: int,
    products: NDArray[np.float32],
    similarity: NDArray[np.float32],
) -> None:
    """Raise similarity (P,) to the cosine with the chosen; vectors (D, P) so that it vectorises."""
    products[:] = np.float32(0.0)
    for d in range(vectors.shape[0]):
        weight = vectors[d, chosen]
        for place in range(vectors.shape[1]):
            products[place] += weight * vectors[d, place]
    for place in range(vectors.shape[1]):
        similarity[place] = max(similarity[place], products[place])


@njit(cache=True, nogil=True)
def _pick(
    pool: NDArray[np.int32],
    pool_authors: NDArray[np.int32],
    explorers: NDArray[np.int32],
    relevance: NDArray[np.float32],
    vectors: NDArray[np.float32],
    exploration_places: NDArray[np.int64],
    author_decay: float,
    author_floor: float,
    diversity: float,
    picked: NDArray[np.int64],
    values: NDArray[np.float32],
    is_explored: NDArray[np.bool_],
) -> None:
    """Fill the slate from the pool, one after the other; relevance (P,), vectors (D, P)."""
    size = len(pool)
    multipliers = np.ones(size, np.float32)
    similarity = np.zeros(size, np.float32)
    products = np.empty(size, np.float32)
    is_taken = np.zeros(size, np.bool_)
    for step in range(len(picked)):
        chosen, value = -1, np.float32(0.0)
        if np.any(exploration_places == step):
            for explorer in explorers:
                for place in range(size):
                    if chosen < 0 and pool[place] == explorer and not is_taken[place]:
                        chosen, value = place, relevance[place]
            is_explored[step] = chosen >= 0
        if chosen < 0:
            chosen, value = _largest(
                relevance, multipliers, similarity, is_taken, np.float32(diversity)
            )
        is_taken[chosen] = True
        picked[step] = pool[chosen]
        values[step] = value
        if pool_authors[chosen] >= 0:
            for place in range(size):
                if pool_authors[place] == pool_authors[chosen]:
                    # (1 - f) d^(k + 1) + f out of (1 - f) d^k + f.
                    decayed = (multipliers[place] - author_floor) * author_decay
                    multipliers[place] = decayed + author_floor
        if diversity > 0.0:
            _spread(vectors, chosen, products, similarity)


@njit(cache=True, nogil=True)
def _refill(
    order: NDArray[np.int32],
    rows: NDArray[np.int32],
    author_keys: NDArray[np.uint64],
    max_per_author: int,
    size: int,
    picked: NDArray[np.int64],
) -> int:
    """Append seen candidates to the slate until it is full, within the author cap."""
    for c in order:
        if size == len(picked):
            break
        key = author_keys[rows[c]]
        same = 0
        for other in picked[:size]:
            if key != _NO_KEY and author_keys[rows[other]] == key:
                same += 1
        if 0 < max_per_author <= same:
            continue
        picked[size] = c
        size += 1
    return size


@njit(cache=True, nogil=True)
def _mark_blocked(
    history_rows: NDArray[np.int32],
    history_actions: NDArray[np.uint16],
    length: int,
    author_keys: NDArray[np.uint64],
    blocked: NDArray[np.uint8],
    value: int,
    authors: NDArray[np.uint64],
) -> int:
    """Mark (1) or unmark (0) the items a user is not interested in; fill their known authors."""
    size = 0
    for place in range(length):
        row = history_rows[place]
        if row >= 0 and history_actions[place] & _NOT_INTERESTED_BIT:
            blocked[row] = value
            if author_keys[row] != _NO_KEY:
                authors[size] = author_keys[row]
                size += 1
    return size


@njit(cache=True, nogil=True)
def rerank_kernel(
    candidate_splits: NDArray[np.int64],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    is_seen: NDArray[np.bool_],
    fresh_ranks: NDArray[np.uint16],
    history_rows: NDArray[np.int32],
    history_lengths: NDArray[np.int32],
    history_actions: NDArray[np.uint16],
    is_live: NDArray[np.bool_],
    author_keys: NDArray[np.uint64],
    embeddings: NDArray[np.float32],
    interactions: NDArray[np.float32],
    hashes: NDArray[np.uint64],
    blocked: NDArray[np.uint8],
    exploration_places: NDArray[np.int64],
    slate_size: int,
    pool_size: int,
    allow_repeats: bool,
    refill_seen: bool,
    max_per_author: int,
    author_decay: float,
    author_floor: float,
    blocked_author_factor: float,
    diversity: float,
    max_interactions: float,
    splits: NDArray[np.int64],
    picked: NDArray[np.int64],
    values: NDArray[np.float32],
    is_explored: NDArray[np.bool_],
    is_refilled: NDArray[np.bool_],
    reasons: NDArray[np.uint8],
) -> None:
    """Run the five steps for every user; hashes is (C,), blocked uint8 (N,) comes zeroed."""
    relevance = np.zeros(len(rows), np.float32)
    keys = np.empty(len(rows), np.float32)
    order = np.empty(len(rows), np.int32)
    pool = np.empty(len(rows), np.int32)
    pool_authors = np.empty(len(rows), np.int32)
    authors = np.empty(len(rows) + len(exploration_places), np.uint64)
    counts = np.empty(len(authors), np.int32)
    blocked_authors = np.empty(history_rows.shape[1], np.uint64)
    explorers = np.empty(len(exploration_places), np.int32)
    total = 0
    for b in range(len(history_lengths)):
        begin, end = candidate_splits[b], candidate_splits[b + 1]
        own = (history_rows[b], history_actions[b], history_lengths[b], author_keys, blocked)
        num_blocked = _mark_blocked(*own, 1, blocked_authors)
        _judge(begin, end, rows, scores, is_seen, is_live, blocked, allow_repeats, reasons)
        _mark_blocked(*own, 0, blocked_authors)
        _relevance(
            begin,
            end,
            rows,
            scores,
            author_keys,
            blocked_authors[:num_blocked],
            blocked_author_factor,
            reasons,
            relevance,
        )
        size = _ordered(begin, end, _OVERFLOW, reasons, relevance, hashes, keys, order)
        num_explorers = _choose_explorers(
            order[:size], fresh_ranks, rows, author_keys, interactions, max_interactions, explorers
        )
        size = _build_pool(
            order[:size],
            explorers[:num_explorers],
            rows,
            author_keys,
            pool_size,
            max_per_author,
            pool,
            pool_authors,
            authors,
            counts,
            reasons,
        )
        slate = min(size, slate_size)
        _pick(
            pool[:size],
            pool_authors[:size],
            explorers[:num_explorers],
            relevance[pool[:size]],
            _columns(embeddings, rows, pool[:size], diversity > 0.0),
            exploration_places,
            author_decay,
            author_floor,
            diversity,
            picked[total : total + slate],
            values[total : total + slate],
            is_explored[total : total + slate],
        )
        if refill_seen and slate < slate_size:
            size = _ordered(begin, end, _SEEN, reasons, relevance, hashes, keys, order)
            room = picked[total : total + slate_size]
            filled = _refill(order[:size], rows, author_keys, max_per_author, slate, room)
            for place in range(total + slate, total + filled):
                is_refilled[place] = True
                values[place] = relevance[picked[place]]
            slate = filled
        for place in range(total, total + slate):
            reasons[picked[place]] = _KEPT
        total += slate
        splits[b + 1] = total


@njit(cache=True, nogil=True)
def _columns(
    embeddings: NDArray[np.float32],
    rows: NDArray[np.int32],
    pool: NDArray[np.int32],
    is_wanted: bool,
) -> NDArray[np.float32]:
    """Return the pool's embeddings as (D, P); (0, P) where nobody reads them."""
    dim = embeddings.shape[1] if is_wanted else 0
    vectors = np.empty((dim, len(pool)), np.float32)
    for place in range(len(pool)):
        row = rows[pool[place]]
        for d in range(dim):
            vectors[d, place] = embeddings[row, d]
    return vectors
