"""Lists that are not one user's: similar items and the trending list.

`sim:` lists are written by the item's owner with its item-deltas offset as version, `rec:trending`
by the owner of item partition 0 (law 4). All are views of state: lost ones come back by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from state.catalogue import Catalogue
from stream.candidates import SOURCES, RecommendationBatch
from stream.sources import RetrievalLimits, retrieve
from stream.user_batches import cold_users

_TWO_WAY = SOURCES.index("cooccurrence-two-way")
_TRENDING = SOURCES.index("trending")
_SMOOTHING = 2.0


def similar_items(
    catalogue: Catalogue,
    item_ids: Sequence[bytes],
    *,
    partition: int,
    next_offset: int,
    now_ms: int,
    size: int,
) -> RecommendationBatch:
    """Return the items that go together with each of some items, best first.

    Score: pairs both ways over the root of both items' pairs, as the two-way source reads them
    where both ways weigh the same (``(out + in) / sqrt((pairs_i + 2)(pairs_j + 2))``). Items
    withdrawn meanwhile are left out.

    Args:
        catalogue: Neighbours and marginals.
        item_ids: Items, known to the catalogue or left out with an empty list.
        partition: Item partition that owns them.
        next_offset: Its next offset, the version of what it knows.
        now_ms: Event time of the lists.
        size: Most items per list.
    """
    rows = np.array([catalogue.items.row_of(each) for each in item_ids], np.int32)
    sums = catalogue.out_sums + catalogue.in_sums
    # A few items a second: one list each.
    lists = [_neighbours_of(catalogue, row, sums, size) for row in rows.tolist()]
    splits = np.concatenate(([0], np.cumsum([len(found) for found, _ in lists]))).astype(np.int64)
    item_rows = np.concatenate([found for found, _ in lists] or [np.empty(0, np.int32)])
    values = np.concatenate([scores for _, scores in lists] or [np.empty(0, np.float32)])
    ranks = np.zeros((len(item_rows), len(SOURCES)), np.uint16)
    ranks[:, _TWO_WAY] = np.arange(len(item_rows)) - np.repeat(splits[:-1], np.diff(splits)) + 1
    count = len(item_ids)
    return RecommendationBatch(
        partition=partition,
        next_offset=next_offset,
        user_ids=tuple(item_ids),
        user_rows=rows,
        events_to_ms=np.full(count, now_ms, np.int64),
        now_ms=np.full(count, now_ms, np.int64),
        splits=splits,
        item_ids=tuple(catalogue.items.ids(item_rows)),
        item_rows=item_rows,
        scores=values,
        ranks=ranks,
        heads=np.zeros((len(item_rows), 0), np.float32),
        model="cooccurrence-two-way",
        model_sequence=0,
    )


def _neighbours_of(
    catalogue: Catalogue, row: int, sums: NDArray[np.float32], size: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return rows and scores of what goes together with one item, best first; row -1 has none."""
    if row < 0:
        return np.empty(0, np.int32), np.empty(0, np.float32)
    neighbours = catalogue.neighbour_rows[row]
    known = (neighbours >= 0) & (neighbours != row)
    known[known] = catalogue.is_live[neighbours[known]]
    found = neighbours[known]
    pairs = catalogue.neighbour_out[row][known] + catalogue.neighbour_in[row][known]
    # Before a neighbour's own signal has come, the pair is all that is known of its sum.
    others = np.maximum(sums[found], pairs)
    scores = pairs / np.sqrt((max(sums[row], 0) + _SMOOTHING) * (others + _SMOOTHING))
    order = np.argsort(-scores, kind="stable")[:size]
    order = order[scores[order] > 0]
    return found[order].astype(np.int32), scores[order].astype(np.float32)


def trending_list(
    catalogue: Catalogue, *, next_offset: int, now_ms: int, size: int
) -> RecommendationBatch:
    """Return the one list that clients show to a user without a list.

    Args:
        catalogue: Popularity of every item.
        next_offset: Next offset of item partition 0, the version.
        now_ms: Event time of the list.
        size: Most items.
    """
    limits = RetrievalLimits(sources=("trending",), max_per_source=size, max_candidates=size)
    times = np.full(1, now_ms, np.int64)
    users = cold_users([b""], now_ms=times, dim=catalogue.embeddings.shape[1])
    found = retrieve(users, catalogue, limits=limits)
    scores = found.scores[:, _TRENDING]
    order = np.argsort(-scores, kind="stable")
    rows = found.item_rows[order]
    return RecommendationBatch(
        partition=0,
        next_offset=next_offset,
        user_ids=(b"",),
        user_rows=users.user_rows,
        events_to_ms=times,
        now_ms=times,
        splits=np.array([0, len(rows)], np.int64),
        item_ids=tuple(catalogue.items.ids(rows)),
        item_rows=rows,
        scores=scores[order],
        ranks=found.ranks[order],
        heads=np.zeros((len(rows), 0), np.float32),
        model="trending",
        model_sequence=0,
    )
