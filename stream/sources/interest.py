"""The interest source: live items whose embedding is nearest to what the user likes, exactly.

One query per user, ``w session / |session| + (1 - w) long / |long|``, normalised, so that a score
is a cosine. The product with the catalogue runs in blocks (BLAS, float32), each followed by a
kernel that keeps what may matter: never more than B x block scores exist at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.sources.packed import pack, take_best
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
# A floor lets about so many times M items pass; 4 leaves room for seen ones and for bad luck.
_SAMPLE_SLACK = 4.0
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


class _Found(NamedTuple):
    """What reached the users' floors so far, in no order. W = room per user.

    Attributes:
        keys: uint64 (B, W), packed score, first bits of the id's hash, place; 0 beyond the count.
        rows: int32 (B, W).
        scores: float32 (B, W).
        counts: int64 (B,).
        floors: float32 (B,), lowest score that is still taken; grows when the room is full.
        mask: uint64, low bits of a key that hold the place.
    """

    keys: NDArray[np.uint64]
    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    counts: NDArray[np.int64]
    floors: NDArray[np.float32]
    mask: np.uint64

    @classmethod
    def nothing(cls, floors: NDArray[np.float32], room: int) -> _Found:
        """Return empty room for the users of some floors."""
        shape = (len(floors), room)
        return cls(
            keys=np.zeros(shape, np.uint64),
            rows=np.empty(shape, np.int32),
            scores=np.empty(shape, np.float32),
            counts=np.zeros(len(floors), np.int64),
            floors=floors,
            mask=np.uint64(2 ** room.bit_length() - 1),
        )


@njit(cache=True, nogil=True)
def _shrink(
    keys: NDArray[np.uint64],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    mask: np.uint64,
    max_kept: int,
) -> None:
    """Keep the best of a full room, the worst of them in place 0."""
    order = np.argsort(keys)[len(keys) - max_kept :]
    kept_keys, kept_rows, kept_scores = keys[order], rows[order], scores[order]
    keys[:] = np.uint64(0)
    rows[:max_kept] = kept_rows
    scores[:max_kept] = kept_scores
    for place in range(max_kept):
        keys[place] = (kept_keys[place] & ~mask) | (mask - np.uint64(place))


@njit(cache=True, nogil=True)
def _scan_block(
    products: NDArray[np.float32],
    first_row: int,
    indices: NDArray[np.int64],
    histories: Histories,
    scratch: Scratch,
    skip_seen: bool,
    max_kept: int,
    found: _Found,
) -> None:
    """Take what reaches the floors out of one block's products (n users, block)."""
    hashes, is_live, marks, mask = scratch.hashes, scratch.is_live, scratch.marks, found.mask
    bits = products.view(np.uint32)
    for i in range(len(indices)):
        b = indices[i]
        history, length, words = histories.rows[b], histories.lengths[b], histories.seen_words[b]
        if skip_seen:
            mark_history(history, length, marks, 1)
        keys, rows, scores = found.keys[b], found.rows[b], found.scores[b]
        size, floor, values = found.counts[b], found.floors[b], products[i]
        for j in range(len(values)):
            if values[j] < floor:
                continue
            row = first_row + j
            if not is_live[row] or (skip_seen and has_seen(row, marks, words, hashes)):
                continue
            if size == len(keys):
                _shrink(keys, rows, scores, mask, max_kept)
                size, floor = max_kept, scores[0]
                if values[j] < floor:
                    continue
            rows[size], scores[size] = row, values[j]
            hashed = pack(bits[i, j], hashes[row] >> np.uint64(32))
            keys[size] = (hashed & ~mask) | (mask - np.uint64(size))
            size += 1
        found.counts[b], found.floors[b] = size, floor
        if skip_seen:
            mark_history(history, length, marks, 0)


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

    Exact: floors only spare work on what cannot matter, and whoever ends with a list that is not
    full because of one is scanned again without, seen items left out from the start. Equal scores
    stand in the order of the first bits of the ids' hashes.
    """
    max_kept = into.rows.shape[1]
    queries = interest_queries(
        users.session_vectors, users.long_vectors, limits.interest_session_weight
    )
    floors = _guess_floors(queries, catalogue, max_kept)
    room = min(_SAMPLE_FROM * max_kept, len(catalogue.is_live))
    found = _Found.nothing(floors, room)
    indices = np.flatnonzero(queries.any(axis=1))
    skip_seen = not limits.allow_repeats
    for is_last in (False, True):
        is_seen_out = skip_seen and is_last
        _scan(queries, indices, catalogue, histories, scratch, limits, is_seen_out, max_kept, found)
        # No further than the fullest room.
        keys = found.keys[:, : found.counts.max(initial=0)]
        keys.sort(axis=1)
        rows, scores = found.rows, found.scores
        take_best(indices, keys, rows, scores, histories, scratch, skip_seen, into, found.mask)
        is_short = (into.counts[indices] < max_kept) & (found.floors[indices] > _SMALLEST)
        indices = indices[is_short]
        if not len(indices):
            break
        found.keys[indices], found.counts[indices] = 0, 0
        found.floors[indices] = _SMALLEST


def _scan(
    queries: NDArray[np.float32],
    indices: NDArray[np.int64],
    catalogue: Catalogue,
    histories: Histories,
    scratch: Scratch,
    limits: RetrievalLimits,
    skip_seen: bool,
    max_kept: int,
    found: _Found,
) -> None:
    """Offer the whole catalogue, block by block, to some users."""
    embeddings = catalogue.embeddings  # (N, D)
    chosen = queries[indices]
    step = limits.interest_block_items
    products = np.empty((len(chosen), min(step, len(embeddings))), np.float32)
    for first_row in range(0, len(embeddings), step):
        block = embeddings[first_row : first_row + step]
        out = products if len(block) == products.shape[1] else None
        scores = np.matmul(chosen, block.T, out=out)  # (n, block)
        _scan_block(scores, first_row, indices, histories, scratch, skip_seen, max_kept, found)
