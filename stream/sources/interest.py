"""The interest source: live items whose embedding is nearest to what the user likes, exactly.

One query per user, ``w session / |session| + (1 - w) long / |long|``, normalised, so that a score
is a cosine. The product with the catalogue runs in blocks (BLAS, float32), each followed by a
top-M kernel: never more than B x block scores exist at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.sources.best import push_best, sort_best
from stream.sources.proposals import SourceList
from stream.sources.scratch import Histories, Scratch
from stream.sources.seen import has_seen, mark_history

if TYPE_CHECKING:
    from state.catalogue import Catalogue
    from stream.candidates import UserBatch
    from stream.sources.limits import RetrievalLimits

# Every score proposed is above 0: the smallest float32 above it.
_SMALLEST = np.float32(1e-45)
# A sample of the catalogue is worth its cost from so many times M live items on.
_SAMPLE_FROM = 16
_SAMPLE_SIZE = 512
# A floor lets about so many times M items pass; 3 leaves room for seen ones and for bad luck.
_SAMPLE_SLACK = 3.0
# Least items of the sample above a floor, lest it hang on one of them.
_SAMPLE_LEAST = 8


def interest_queries(
    session_vectors: NDArray[np.float32],
    long_vectors: NDArray[np.float32],
    session_weight: float,
) -> NDArray[np.float32]:
    """Blend both interest vectors into one unit query per user.

    Args:
        session_vectors: float32 (B, D), not normalised.
        long_vectors: float32 (B, D), not normalised.
        session_weight: Share of the session vector, [0, 1].

    Returns:
        float32 (B, D), unit norm; zero where the user has no vector.

    >>> interest_queries(np.float32([[3, 0]]), np.float32([[0, 5]]), 0.5)
    array([[0.70710677, 0.70710677]], dtype=float32)
    """
    blend = np.float32(session_weight) * _unit(session_vectors)
    blend += np.float32(1.0 - session_weight) * _unit(long_vectors)
    return _unit(blend)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.sqrt(np.einsum("bd,bd->b", vectors, vectors))[:, None]
    units = np.zeros_like(vectors)
    np.divide(vectors, norms, out=units, where=norms > 0.0)
    return units


@njit(cache=True, nogil=True)
def _scan_block(
    products: NDArray[np.float32],
    first_row: int,
    indices: NDArray[np.int64],
    floors: NDArray[np.float32],
    histories: Histories,
    scratch: Scratch,
    skip_seen: bool,
    into: SourceList,
) -> None:
    """Offer one block's products (n users, block) to the heaps of the users ``indices``."""
    hashes, is_live, marks = scratch.hashes, scratch.is_live, scratch.marks
    for i in range(len(indices)):
        b = indices[i]
        history, length, words = histories.rows[b], histories.lengths[b], histories.seen_words[b]
        if skip_seen:
            mark_history(history, length, marks, 1)
        rows, scores, size = into.rows[b], into.scores[b], into.counts[b]
        capacity = len(scores)
        threshold = max(scores[0], floors[i]) if size == capacity else floors[i]
        values = products[i]
        for j in range(len(values)):
            score = values[j]
            # Not ``<=``: with a full heap an equal score may stand before by its hash.
            if score < threshold:
                continue
            row = first_row + j
            if not is_live[row] or (skip_seen and has_seen(row, marks, words, hashes)):
                continue
            size = push_best(scores, rows, size, score, row, hashes)
            if size == capacity:
                threshold = max(scores[0], floors[i])
        into.counts[b] = size
        if skip_seen:
            mark_history(history, length, marks, 0)


@njit(cache=True, nogil=True)
def _sort_lists(scratch: Scratch, into: SourceList) -> None:
    for b in range(len(into.counts)):
        sort_best(into.scores[b], into.rows[b], into.counts[b], scratch.hashes)


def _guess_floors(
    queries: NDArray[np.float32], catalogue: Catalogue, max_per_source: int
) -> NDArray[np.float32]:
    """Guess scores (B,) that a few times M live items reach, from a sample of the catalogue."""
    floors = np.full(len(queries), _SMALLEST, np.float32)
    live_rows = catalogue.live_rows()
    if len(live_rows) < _SAMPLE_FROM * max_per_source:
        return floors
    sample = live_rows[:: max(len(live_rows) // _SAMPLE_SIZE, 1)]
    products = queries @ catalogue.embeddings[sample].T  # (B, sample)
    share = _SAMPLE_SLACK * max_per_source / len(live_rows)
    place = len(sample) - max(math.ceil(share * len(sample)), _SAMPLE_LEAST)
    products.partition(place, axis=1)
    np.maximum(floors, products[:, place], out=floors)
    return floors


def propose_interest(
    users: UserBatch,
    histories: Histories,
    catalogue: Catalogue,
    scratch: Scratch,
    limits: RetrievalLimits,
    into: SourceList,
) -> None:
    """Fill (B, M) lists with the live items nearest to the users' interest queries.

    Exact: the guessed floors only spare the heaps what cannot matter, and whoever ends with a
    list that is not full because of one is scanned again without.
    """
    queries = interest_queries(
        users.session_vectors, users.long_vectors, limits.interest_session_weight
    )
    skip_seen = not limits.allow_repeats
    indices = np.flatnonzero(queries.any(axis=1))
    floors = _guess_floors(queries[indices], catalogue, into.rows.shape[1])
    while len(indices):
        _scan(queries, indices, floors, catalogue, histories, scratch, skip_seen, limits, into)
        is_short = (into.counts[indices] < into.rows.shape[1]) & (floors > _SMALLEST)
        indices = indices[is_short]
        floors = np.full(len(indices), _SMALLEST, np.float32)
        into.counts[indices] = 0
    _sort_lists(scratch, into)


def _scan(
    queries: NDArray[np.float32],
    indices: NDArray[np.int64],
    floors: NDArray[np.float32],
    catalogue: Catalogue,
    histories: Histories,
    scratch: Scratch,
    skip_seen: bool,
    limits: RetrievalLimits,
    into: SourceList,
) -> None:
    """Offer the whole catalogue, block by block, to the heaps of some users."""
    embeddings = catalogue.embeddings  # (N, D)
    chosen = queries[indices]
    step = limits.interest_block_items
    products = np.empty((len(chosen), min(step, len(embeddings))), np.float32)
    for first_row in range(0, len(embeddings), step):
        block = embeddings[first_row : first_row + step]
        out = products if len(block) == products.shape[1] else None
        scores = np.matmul(chosen, block.T, out=out)  # (n, block)
        _scan_block(scores, first_row, indices, floors, histories, scratch, skip_seen, into)
