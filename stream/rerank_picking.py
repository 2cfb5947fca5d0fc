"""Steps 4 and 5 of reranking, as kernels on one user's arrays: pick and refill."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.rerank_pool import (
    KEPT,
    Contenders,
    Pool,
    RerankRules,
    choose_explorers,
    fill_pool,
    judge,
    put_in_order,
    scale,
)
from stream.sources.scratch import Histories
from stream.sources.seen import NOT_INTERESTED_BIT

_NO_KEY = np.uint64(0)


class SlateColumns(NamedTuple):
    """The columns of Slates while they are filled; see there."""

    splits: NDArray[np.int64]
    candidates: NDArray[np.int64]
    values: NDArray[np.float32]
    is_explored: NDArray[np.bool_]
    is_refilled: NDArray[np.bool_]


class Competition(NamedTuple):
    """One user's pool of P members while places are given.

    Attributes:
        relevance: float32 (P,).
        multipliers: float32 (P,), author multipliers at this moment.
        similarity: float32 (P,), largest cosine with what was picked, at least 0.
        products: float32 (P,), scratch.
        is_taken: bool (P,).
        vectors: float32 (D, P), embeddings; D = 0 where diversity is off.
    """

    relevance: NDArray[np.float32]
    multipliers: NDArray[np.float32]
    similarity: NDArray[np.float32]
    products: NDArray[np.float32]
    is_taken: NDArray[np.bool_]
    vectors: NDArray[np.float32]


@njit(cache=True, nogil=True)
def _compete(
    size: int, contenders: Contenders, pool: Pool, embeddings: NDArray[np.float32], dim: int
) -> Competition:
    """Return the pool's columns before the first place is given."""
    vectors = np.empty((dim, size), np.float32)
    relevance = np.empty(size, np.float32)
    for place in range(size):
        c = pool.members[place]
        relevance[place] = contenders.relevance[c]
        vector = embeddings[contenders.rows[c]]
        for d in range(dim):
            vectors[d, place] = vector[d]
    return Competition(
        relevance,
        np.ones(size, np.float32),
        np.zeros(size, np.float32),
        np.empty(size, np.float32),
        np.zeros(size, np.bool_),
        vectors,
    )


@njit(cache=True, nogil=True)
def _largest(field: Competition, diversity: np.float32) -> tuple[int, np.float32]:
    """Return place and value of the best that is not taken; the first of equals."""
    relevance, multipliers, similarity = field.relevance, field.multipliers, field.similarity
    is_taken = field.is_taken
    best, best_value = -1, np.float32(-np.inf)
    for place in range(len(relevance)):
        value = relevance[place] * multipliers[place] - diversity * similarity[place]
        if value > best_value and not is_taken[place]:
            best, best_value = place, value
    return best, best_value


@njit(cache=True, nogil=True)
def _next_explorer(num_explorers: int, pool: Pool, field: Competition) -> int:
    """Return the place of the first explorer not taken yet; -1 without one."""
    for explorer in pool.explorers[:num_explorers]:
        for place in range(len(field.relevance)):
            if pool.members[place] == explorer and not field.is_taken[place]:
                return place
    return -1


@njit(cache=True, nogil=True)
def _take(
    chosen: int,
    authors: NDArray[np.int32],
    author_decay: np.float32,
    author_floor: np.float32,
    field: Competition,
) -> None:
    """Take one member: its author and what resembles it count less from now on."""
    multipliers, products, similarity = field.multipliers, field.products, field.similarity
    vectors, size = field.vectors, len(field.relevance)
    field.is_taken[chosen] = True
    if authors[chosen] >= 0:
        for place in range(size):
            if authors[place] == authors[chosen]:
                # (1 - f) d^(k + 1) + f out of (1 - f) d^k + f.
                above = multipliers[place] - author_floor
                multipliers[place] = above * author_decay + author_floor
    if len(vectors) == 0:
        return
    # By dimension, then by member: the inner loop vectorises without reordering any sum. Four
    # dimensions a pass, for the products' way to memory and back costs more than they do.
    products[:] = np.float32(0.0)
    for d in range(0, len(vectors) - 3, 4):
        row_0, row_1, row_2, row_3 = vectors[d], vectors[d + 1], vectors[d + 2], vectors[d + 3]
        w_0, w_1, w_2, w_3 = row_0[chosen], row_1[chosen], row_2[chosen], row_3[chosen]
        for place in range(size):
            first = products[place] + w_0 * row_0[place] + w_1 * row_1[place]
            products[place] = first + w_2 * row_2[place] + w_3 * row_3[place]
    for d in range(len(vectors) - len(vectors) % 4, len(vectors)):
        for place in range(size):
            products[place] += vectors[d, chosen] * vectors[d, place]
    for place in range(size):
        similarity[place] = max(similarity[place], products[place])


@njit(cache=True, nogil=True)
def _refill(
    seen: NDArray[np.int32],
    begin: int,
    slate: int,
    contenders: Contenders,
    rules: RerankRules,
    into: SlateColumns,
) -> int:
    """Append seen candidates within the author cap; return the slate's length."""
    for c in seen:
        if slate == rules.slate_size:
            break
        key = contenders.authors[c]
        same = 0
        for other in into.candidates[begin : begin + slate]:
            if key != _NO_KEY and contenders.authors[other] == key:
                same += 1
        if 0 < rules.max_per_author <= same:
            continue
        into.candidates[begin + slate] = c
        into.values[begin + slate] = contenders.relevance[c]
        into.is_refilled[begin + slate] = True
        slate += 1
    return slate


@njit(cache=True, nogil=True)
def _mark_blocked(
    histories: Histories,
    b: int,
    author_keys: NDArray[np.uint64],
    value: int,
    blocked_items: NDArray[np.uint8],
    blocked_authors: NDArray[np.uint64],
) -> int:
    """Mark (1) or unmark (0) the items user b is not interested in; fill their known authors."""
    size = 0
    for place in range(histories.lengths[b]):
        row = histories.rows[b, place]
        if row >= 0 and histories.actions[b, place] & NOT_INTERESTED_BIT:
            blocked_items[row] = value
            if author_keys[row] != _NO_KEY:
                blocked_authors[size] = author_keys[row]
                size += 1
    return size


@njit(cache=True, nogil=True)
def _fill_slate(
    order: tuple[int, int],
    begin: int,
    contenders: Contenders,
    rules: RerankRules,
    embeddings: NDArray[np.float32],
    pool: Pool,
    into: SlateColumns,
) -> int:
    """Run steps 3 to 5 for one user whose slate starts at ``begin``; return its length.

    ``order`` tells how many of ``pool.order`` are in the running, and with the seen.
    """
    num_explorers = choose_explorers(order[0], contenders, rules, pool)
    size = fill_pool(order[0], num_explorers, contenders, rules, pool)
    dim = embeddings.shape[1] if rules.diversity > 0.0 else 0
    field = _compete(size, contenders, pool, embeddings, dim)
    decay, floor = np.float32(rules.author_decay), np.float32(rules.author_floor)
    slate: int = min(size, rules.slate_size)
    for step in range(slate):
        chosen, value = -1, np.float32(0.0)
        for place in rules.exploration_places:
            if place == step:
                chosen = _next_explorer(num_explorers, pool, field)
        into.is_explored[begin + step] = chosen >= 0
        if chosen >= 0:
            value = field.relevance[chosen]
        else:
            chosen, value = _largest(field, np.float32(rules.diversity))
        into.candidates[begin + step] = pool.members[chosen]
        into.values[begin + step] = value
        _take(chosen, pool.authors, decay, floor, field)
    if rules.refill_seen:
        seen = pool.order[order[0] : order[1]]
        slate = _refill(seen, begin, slate, contenders, rules, into)
    for place in range(begin, begin + slate):
        contenders.reasons[into.candidates[place]] = KEPT
    return slate


@njit(cache=True, nogil=True)
def judge_kernel(
    histories: Histories,
    contenders: Contenders,
    rules: RerankRules,
    author_keys: NDArray[np.uint64],
    blocked_items: NDArray[np.uint8],
    keys: NDArray[np.uint64],
) -> None:
    """Run steps 1 and 2 for every user.

    Args:
        histories: Of B users.
        contenders: Their candidates; reasons and relevance are filled.
        rules: The numbers.
        author_keys: uint64 (N,), by catalogue row.
        blocked_items: uint8 (N,), comes and leaves zeroed.
        keys: uint64 (B, W), sort keys; comes zeroed.
    """
    blocked_authors = np.empty(histories.rows.shape[1], np.uint64)
    for b in range(len(histories.lengths)):
        begin, end = contenders.splits[b], contenders.splits[b + 1]
        size = _mark_blocked(histories, b, author_keys, 1, blocked_items, blocked_authors)
        judge(begin, end, contenders, rules, blocked_items)
        _mark_blocked(histories, b, author_keys, 0, blocked_items, blocked_authors)
        scale(begin, end, contenders, rules, blocked_authors[:size], keys[b])


@njit(cache=True, nogil=True)
def pick_kernel(
    contenders: Contenders,
    rules: RerankRules,
    embeddings: NDArray[np.float32],
    keys: NDArray[np.uint64],
    into: SlateColumns,
) -> None:
    """Run steps 3 to 5 for every user.

    Args:
        contenders: Judged and scaled; reasons are filled.
        rules: The numbers.
        embeddings: float32 (N, D), by catalogue row.
        keys: uint64 (B, W), each row ascending.
        into: Filled.
    """
    num_users, width = keys.shape
    num_explorers = len(rules.exploration_places)
    pool = Pool(
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty(width + num_explorers, np.uint64),
        np.empty(width + num_explorers, np.int32),
        np.empty(num_explorers, np.int32),
    )
    total = 0
    for b in range(num_users):
        order = put_in_order(contenders.splits[b], keys[b], pool.order)
        total += _fill_slate(order, total, contenders, rules, embeddings, pool, into)
        into.splits[b + 1] = total
