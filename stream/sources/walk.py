"""Sources that walk a shared list for each user: trending and fresh."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.hashing import mix64
from stream.sources.best import push_best, sort_best
from stream.sources.seen import has_seen, mark_history

if TYPE_CHECKING:
    from state.catalogue import Catalogue
    from stream.candidates import UserBatch
    from stream.sources.limits import RetrievalLimits
    from stream.sources.proposals import SourceList
    from stream.sources.scratch import Scratch
    from stream.sources.shared import SharedLists

# 2**-53: the upper 53 bits of a hash become a float64 in [0, 1).
_UNIT = 1.0 / 9007199254740992.0


@njit(cache=True, nogil=True)
def _trending_kernel(
    indices: NDArray[np.int64],
    shared_rows: NDArray[np.int32],
    shared_scores: NDArray[np.float32],
    history_rows: NDArray[np.int32],
    history_lengths: NDArray[np.int32],
    seen_words: NDArray[np.uint64],
    is_live: NDArray[np.bool_],
    hashes: NDArray[np.uint64],
    marks: NDArray[np.uint8],
    skip_seen: bool,
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    counts: NDArray[np.int32],
) -> None:
    for b in indices:
        if skip_seen:
            mark_history(history_rows[b], history_lengths[b], marks, 1)
        size = 0
        for place in range(len(shared_rows)):
            if size == rows.shape[1]:
                break
            row = shared_rows[place]
            # Live again: the list may be a bucket old.
            if not is_live[row] or (skip_seen and has_seen(row, marks, seen_words[b], hashes)):
                continue
            rows[b, size] = row
            scores[b, size] = shared_scores[place]
            size += 1
        counts[b] = size
        if skip_seen:
            mark_history(history_rows[b], history_lengths[b], marks, 0)


@njit(cache=True, nogil=True)
def _fresh_kernel(
    indices: NDArray[np.int64],
    shared_rows: NDArray[np.int32],
    user_hashes: NDArray[np.uint64],
    now_ms: NDArray[np.int64],
    created_at_ms: NDArray[np.int64],
    history_rows: NDArray[np.int32],
    history_lengths: NDArray[np.int32],
    seen_words: NDArray[np.uint64],
    is_live: NDArray[np.bool_],
    hashes: NDArray[np.uint64],
    marks: NDArray[np.uint8],
    jitter: float,
    skip_seen: bool,
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    counts: NDArray[np.int32],
) -> None:
    pool = len(shared_rows)
    for b in indices:
        if skip_seen:
            mark_history(history_rows[b], history_lengths[b], marks, 1)
        size = 0
        for place in range(pool):
            row = shared_rows[place]
            if not is_live[row] or created_at_ms[row] > now_ms[b]:
                continue
            if skip_seen and has_seen(row, marks, seen_words[b], hashes):
                continue
            bits = mix64(user_hashes[b] ^ hashes[row]) >> np.uint64(11)
            score = (1.0 - jitter) * (1.0 - place / pool) + jitter * (np.float64(bits) * _UNIT)
            size = push_best(scores[b], rows[b], size, np.float32(score), row, hashes)
        sort_best(scores[b], rows[b], size, hashes)
        counts[b] = size
        if skip_seen:
            mark_history(history_rows[b], history_lengths[b], marks, 0)


def hash_users(user_ids: tuple[bytes, ...]) -> NDArray[np.uint64]:
    """Hash user ids for shuffles of their own; the same on every machine.

    Returns:
        uint64 (B,).
    """
    digests = b"".join(blake2b(user_id, digest_size=8).digest() for user_id in user_ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def propose_trending(
    users: UserBatch,
    indices: NDArray[np.int64],
    shared: SharedLists,
    catalogue: Catalogue,
    scratch: Scratch,
    limits: RetrievalLimits,
    into: SourceList,
) -> None:
    """Fill the lists (B, M) of some users with the shared trending list, less what they saw."""
    _trending_kernel(
        indices,
        shared.trending_rows,
        shared.trending_scores,
        users.history_rows,
        users.history_lengths,
        users.seen_words,
        catalogue.is_live,
        scratch.hashes,
        scratch.marks,
        not limits.allow_repeats,
        into.rows,
        into.scores,
        into.counts,
    )


def propose_fresh(
    users: UserBatch,
    indices: NDArray[np.int64],
    shared: SharedLists,
    catalogue: Catalogue,
    scratch: Scratch,
    limits: RetrievalLimits,
    into: SourceList,
) -> None:
    """Fill the lists (B, M) of some users with new items, each user in an order of its own.

    ``score = (1 - jitter) (1 - place / P) + jitter u(user, item)``, with the place in the shared
    newest-first pool of P and u a hash in [0, 1): new items get their first exposures from
    different users at once, reproducibly.
    """
    _fresh_kernel(
        indices,
        shared.fresh_rows,
        hash_users(users.user_ids),
        users.now_ms,
        catalogue.created_at_ms,
        users.history_rows,
        users.history_lengths,
        users.seen_words,
        catalogue.is_live,
        scratch.hashes,
        scratch.marks,
        limits.fresh_jitter,
        not limits.allow_repeats,
        into.rows,
        into.scores,
        into.counts,
    )
