"""Sources that walk a shared list for each user: trending and fresh."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.hashing import mix64
from stream.sources.packed import pack, take_best
from stream.sources.proposals import SourceList
from stream.sources.scratch import Histories, Scratch
from stream.sources.seen import has_seen, mark_history
from stream.sources.shared import SharedLists

if TYPE_CHECKING:
    from state.catalogue import Catalogue
    from stream.candidates import UserBatch
    from stream.sources.limits import RetrievalLimits

# 2**-53: the upper 53 bits of a hash become a float64 in [0, 1).
_UNIT = 1.0 / 9007199254740992.0


def hash_users(user_ids: tuple[bytes, ...]) -> NDArray[np.uint64]:
    """Hash user ids for shuffles of their own; the same on every machine.

    Returns:
        uint64 (B,).
    """
    digests = b"".join(blake2b(user_id, digest_size=8).digest() for user_id in user_ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


@njit(cache=True, nogil=True)
def propose_trending(
    indices: NDArray[np.int64],
    shared: SharedLists,
    histories: Histories,
    scratch: Scratch,
    skip_seen: bool,
    into: SourceList,
) -> None:
    """Fill the lists (B, M) of some users with the shared trending list, less what they saw."""
    hashes, is_live, marks = scratch.hashes, scratch.is_live, scratch.marks
    shared_rows, shared_scores = shared.trending_rows, shared.trending_scores
    for b in indices:
        history, length, words = histories.rows[b], histories.lengths[b], histories.seen_words[b]
        if skip_seen:
            mark_history(history, length, marks, 1)
        rows, scores, size = into.rows[b], into.scores[b], 0
        for place in range(len(shared_rows)):
            if size == len(rows):
                break
            row = shared_rows[place]
            # Live again: the list may be a bucket old.
            if not is_live[row] or (skip_seen and has_seen(row, marks, words, hashes)):
                continue
            rows[size] = row
            scores[size] = shared_scores[place]
            size += 1
        into.counts[b] = size
        if skip_seen:
            mark_history(history, length, marks, 0)


@njit(cache=True, nogil=True)
def _shuffle_kernel(
    indices: NDArray[np.int64],
    shared_rows: NDArray[np.int32],
    user_hashes: NDArray[np.uint64],
    now_ms: NDArray[np.int64],
    created_at_ms: NDArray[np.int64],
    scratch: Scratch,
    jitter: float,
    keys: NDArray[np.uint64],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
) -> None:
    """Score the pool for the users ``indices``; keys come zeroed, all (B, P)."""
    hashes, is_live = scratch.hashes, scratch.is_live
    bits = scores.view(np.uint32)
    pool = len(shared_rows)
    for b in indices:
        for place in range(pool):
            row = shared_rows[place]
            if not is_live[row] or created_at_ms[row] > now_ms[b]:
                continue
            share = np.float64(mix64(user_hashes[b] ^ hashes[row]) >> np.uint64(11)) * _UNIT
            rows[b, place] = row
            scores[b, place] = (1.0 - jitter) * (1.0 - place / pool) + jitter * share
            keys[b, place] = pack(bits[b, place], place)


def propose_fresh(
    indices: NDArray[np.int64],
    shared: SharedLists,
    users: UserBatch,
    catalogue: Catalogue,
    histories: Histories,
    scratch: Scratch,
    limits: RetrievalLimits,
    into: SourceList,
) -> None:
    """Fill the lists (B, M) of some users with new items, each user in an order of its own.

    ``score = (1 - jitter) (1 - place / P) + jitter u(user, item)``, with the place in the shared
    newest-first pool of P and u a hash in [0, 1): new items get their first exposures from
    different users at once, reproducibly.
    """
    shape = (len(users), len(shared.fresh_rows))
    keys = np.zeros(shape, np.uint64)
    rows = np.empty(shape, np.int32)
    scores = np.empty(shape, np.float32)
    _shuffle_kernel(
        indices,
        shared.fresh_rows,
        hash_users(users.user_ids),
        users.now_ms,
        catalogue.created_at_ms,
        scratch,
        float(limits.fresh_jitter),
        keys,
        rows,
        scores,
    )
    keys.sort(axis=1)
    skip_seen = not limits.allow_repeats
    take_best(indices, keys, rows, scores, histories, scratch, skip_seen, into)
