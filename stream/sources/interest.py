"""The interest source: live items whose embedding is nearest to what the user likes, exactly.

One query per user, ``w session / |session| + (1 - w) long / |long|``, normalised, so that a score
is a cosine. The product with the catalogue runs in blocks (BLAS, float32), each followed by a
top-M kernel: never more than B x block scores exist at once.
"""

from __future__ import annotations

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
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0.0)


@njit(cache=True, nogil=True)
def _scan_block(
    products: NDArray[np.float32],
    first_row: int,
    histories: Histories,
    scratch: Scratch,
    skip_seen: bool,
    into: SourceList,
) -> None:
    """Offer one block's products (B, n) to the users' heaps."""
    for b in range(len(histories.lengths)):
        if skip_seen:
            mark_history(histories, b, scratch.marks, 1)
        rows, scores, size = into.rows[b], into.scores[b], into.counts[b]
        threshold = scores[0] if size == len(scores) else np.float32(0.0)
        for j in range(products.shape[1]):
            score = products[b, j]
            # Not ``<=`` with a full heap: an equal score may stand before by its hash.
            if score < threshold or score <= 0.0:
                continue
            row = first_row + j
            if not scratch.is_live[row]:
                continue
            if skip_seen and has_seen(histories, b, row, scratch):
                continue
            size = push_best(scores, rows, size, score, row, scratch.hashes)
            if size == len(scores):
                threshold = scores[0]
        into.counts[b] = size
        if skip_seen:
            mark_history(histories, b, scratch.marks, 0)


@njit(cache=True, nogil=True)
def _sort_lists(scratch: Scratch, into: SourceList) -> None:
    for b in range(len(into.counts)):
        sort_best(into.scores[b], into.rows[b], into.counts[b], scratch.hashes)


def propose_interest(
    users: UserBatch,
    histories: Histories,
    catalogue: Catalogue,
    scratch: Scratch,
    limits: RetrievalLimits,
    into: SourceList,
) -> None:
    """Fill (B, M) lists with the live items nearest to the users' interest queries."""
    queries = interest_queries(
        users.session_vectors, users.long_vectors, limits.interest_session_weight
    )
    embeddings = catalogue.embeddings  # (N, D)
    step = limits.interest_block_items
    products = np.empty((len(users), min(step, len(embeddings))), np.float32)
    for first_row in range(0, len(embeddings), step):
        block = embeddings[first_row : first_row + step]
        out = products if len(block) == products.shape[1] else None
        scores = np.matmul(queries, block.T, out=out)  # (B, n)
        _scan_block(scores, first_row, histories, scratch, not limits.allow_repeats, into)
    _sort_lists(scratch, into)
