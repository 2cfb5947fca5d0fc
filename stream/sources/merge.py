"""Merge the sources' lists into one ragged CandidateBatch that keeps who proposed what."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.candidates import SOURCES, CandidateBatch
from stream.sources.packed import HIGH_BIT, pack, place_of
from stream.sources.proposals import Proposals
from stream.sources.scratch import Histories, Scratch
from stream.sources.seen import has_seen, mark_history

if TYPE_CHECKING:
    from stream.sources.limits import RetrievalLimits


class MergeRules(NamedTuple):
    """The numbers of the merge; see ``RetrievalLimits``.

    Attributes:
        columns: int64 (S,), position of each list's source in ``SOURCES``.
    """

    columns: NDArray[np.int64]
    fused_k: float
    seen_last: bool
    max_candidates: int


class MergedColumns(NamedTuple):
    """The columns of a CandidateBatch while they are filled."""

    splits: NDArray[np.int64]
    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    ranks: NDArray[np.uint16]
    is_seen: NDArray[np.bool_]


@njit(cache=True, nogil=True)
def _fuse_kernel(
    lists: Proposals,
    histories: Histories,
    scratch: Scratch,
    rules: MergeRules,
    union: NDArray[np.int32],
    keys: NDArray[np.uint64],
) -> None:
    """Fill each user's union (B, U) in order of first proposal, and sort keys (B, U), 0 beyond."""
    hashes, sums, marks = scratch.hashes, scratch.sums, scratch.marks
    fused = np.empty(1, np.float32)
    bits = fused.view(np.uint32)
    num_lists, num_users, _ = lists.rows.shape
    for b in range(num_users):
        size = 0
        for s in range(num_lists):
            rows = lists.rows[s, b]
            for place in range(lists.counts[s, b]):
                row = rows[place]
                if sums[row] == 0.0:
                    union[b, size] = row
                    size += 1
                sums[row] += 1.0 / (rules.fused_k + 1.0 + place)
        history, length, words = histories.rows[b], histories.lengths[b], histories.seen_words[b]
        mark_history(history, length, marks, 1)
        for place in range(size):
            row = union[b, place]
            fused[0] = sums[row]
            sums[row] = 0.0
            keys[b, place] = pack(bits[0], place)
            # The high bit puts the unseen in front where the seen are to stand behind.
            if not (rules.seen_last and has_seen(row, marks, words, hashes)):
                keys[b, place] |= HIGH_BIT
        mark_history(history, length, marks, 0)


@njit(cache=True, nogil=True)
def _merge_kernel(
    lists: Proposals,
    histories: Histories,
    scratch: Scratch,
    rules: MergeRules,
    union: NDArray[np.int32],
    keys: NDArray[np.uint64],
    into: MergedColumns,
) -> None:
    """Fill splits and the (C, ...) columns out of the ascending keys (B, U)."""
    hashes, marks, places = scratch.hashes, scratch.marks, scratch.places
    num_lists, num_users, _ = lists.rows.shape
    width = keys.shape[1]
    total = 0
    for b in range(num_users):
        history, length, words = histories.rows[b], histories.lengths[b], histories.seen_words[b]
        mark_history(history, length, marks, 1)
        size = 0
        while size < min(rules.max_candidates, width) and keys[b, width - 1 - size] != 0:
            key = keys[b, width - 1 - size]
            row = union[b, place_of(key)]
            into.rows[total + size] = row
            if rules.seen_last:
                into.is_seen[total + size] = key & HIGH_BIT == 0
            else:
                into.is_seen[total + size] = has_seen(row, marks, words, hashes)
            size += 1
            places[row] = size
        mark_history(history, length, marks, 0)
        for s in range(num_lists):
            column = rules.columns[s]
            for place in range(lists.counts[s, b]):
                found = places[lists.rows[s, b, place]]
                if found > 0:
                    into.scores[total + found - 1, column] = lists.scores[s, b, place]
                    into.ranks[total + found - 1, column] = place + 1
        for row in into.rows[total : total + size]:
            places[row] = 0
        total += size
        into.splits[b + 1] = total


def merge(
    histories: Histories, proposals: Proposals, scratch: Scratch, limits: RetrievalLimits
) -> CandidateBatch:
    """Merge lists into candidates, best fused first, at most ``max_candidates`` per user.

    Order and cap are one rule: descending sum over the sources of ``1 / (fused_k + rank)``; where
    repeats are not allowed all unseen before all seen. Sums equal in float32 stand in the order in
    which they were first proposed: by source, then by its rank.

    Args:
        histories: Of B users.
        proposals: Lists of ``limits.sources``, in that order.
        scratch: Zeroed arrays by catalogue row; left zeroed.
        limits: Bounds and fused_k.
    """
    num_lists, num_users, max_per_source = proposals.rows.shape
    bound = num_users * min(limits.max_candidates, num_lists * max_per_source)
    bound = min(bound, int(proposals.counts.sum()))
    into = MergedColumns(
        splits=np.zeros(num_users + 1, np.int64),
        rows=np.empty(bound, np.int32),
        scores=np.zeros((bound, len(SOURCES)), np.float32),
        ranks=np.zeros((bound, len(SOURCES)), np.uint16),
        is_seen=np.empty(bound, np.bool_),
    )
    rules = MergeRules(
        columns=np.asarray([SOURCES.index(name) for name in limits.sources], np.int64),
        fused_k=float(limits.fused_k),
        seen_last=not limits.allow_repeats,
        max_candidates=limits.max_candidates,
    )
    width = int(proposals.counts.sum(axis=0).max(initial=0))
    union = np.empty((num_users, width), np.int32)
    keys = np.zeros((num_users, width), np.uint64)
    _fuse_kernel(proposals, histories, scratch, rules, union, keys)
    # NumPy sorts 64-bit words with vector instructions: a tenth of what a heap costs here.
    keys.sort(axis=1)
    _merge_kernel(proposals, histories, scratch, rules, union, keys, into)
    total = int(into.splits[-1])
    return CandidateBatch(
        splits=into.splits,
        item_rows=into.rows[:total],
        scores=into.scores[:total],
        ranks=into.ranks[:total],
        is_seen=into.is_seen[:total],
    )
