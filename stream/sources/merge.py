"""Merge the sources' lists into one ragged CandidateBatch that keeps who proposed what."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.candidates import SOURCES, CandidateBatch
from stream.sources.best import push_best, sort_best
from stream.sources.proposals import Proposals
from stream.sources.scratch import Histories, Scratch
from stream.sources.seen import has_seen, mark_history

if TYPE_CHECKING:
    from stream.sources.limits import RetrievalLimits

# Taken from a seen candidate's fused sum where repeats are not allowed: it then stands behind
# every unseen one (a fused sum is at most num_sources / (k + 1), below 8).
_BEHIND = 8.0


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
def _fused_union(
    b: int,
    lists: Proposals,
    histories: Histories,
    scratch: Scratch,
    rules: MergeRules,
    union: NDArray[np.int32],
    keys: NDArray[np.float64],
    rows: NDArray[np.int32],
) -> int:
    """Fill the best of user b's union, best first; the user's history is marked."""
    num_union = 0
    for s in range(len(lists.rows)):
        for place in range(lists.counts[s, b]):
            row = lists.rows[s, b, place]
            if scratch.sums[row] == 0.0:
                union[num_union] = row
                num_union += 1
            scratch.sums[row] += 1.0 / (rules.fused_k + 1.0 + place)
    size = 0
    for row in union[:num_union]:
        key = scratch.sums[row]
        scratch.sums[row] = 0.0
        if rules.seen_last and has_seen(histories, b, row, scratch):
            key -= _BEHIND
        size = push_best(keys, rows, size, key, row, scratch.hashes)
    sort_best(keys, rows, size, scratch.hashes)
    return size


@njit(cache=True, nogil=True)
def _merge_kernel(
    lists: Proposals,
    histories: Histories,
    scratch: Scratch,
    rules: MergeRules,
    into: MergedColumns,
) -> None:
    """Fill splits and the (C, ...) columns, C bounded by what the outputs hold."""
    num_lists, num_users, max_per_source = lists.rows.shape
    union = np.empty(num_lists * max_per_source, np.int32)
    rows = np.empty(min(rules.max_candidates, len(union)), np.int32)
    keys = np.empty(len(rows), np.float64)
    total = 0
    for b in range(num_users):
        mark_history(histories, b, scratch.marks, 1)
        size = _fused_union(b, lists, histories, scratch, rules, union, keys, rows)
        for place in range(size):
            row = rows[place]
            into.rows[total + place] = row
            into.is_seen[total + place] = has_seen(histories, b, row, scratch)
            scratch.places[row] = place + 1
        mark_history(histories, b, scratch.marks, 0)
        for s in range(num_lists):
            for place in range(lists.counts[s, b]):
                found = scratch.places[lists.rows[s, b, place]]
                if found > 0:
                    into.scores[total + found - 1, rules.columns[s]] = lists.scores[s, b, place]
                    into.ranks[total + found - 1, rules.columns[s]] = place + 1
        for row in rows[:size]:
            scratch.places[row] = 0
        total += size
        into.splits[b + 1] = total


def merge(
    histories: Histories, proposals: Proposals, scratch: Scratch, limits: RetrievalLimits
) -> CandidateBatch:
    """Merge lists into candidates, best fused first, at most ``max_candidates`` per user.

    Order and cap are one rule: descending sum over the sources of ``1 / (fused_k + rank)``, where
    repeats are not allowed all unseen before all seen, ties by the item id's hash.

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
    _merge_kernel(proposals, histories, scratch, rules, into)
    total = int(into.splits[-1])
    return CandidateBatch(
        splits=into.splits,
        item_rows=into.rows[:total],
        scores=into.scores[:total],
        ranks=into.ranks[:total],
        is_seen=into.is_seen[:total],
    )
