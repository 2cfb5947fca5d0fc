"""Kernels of the catalogue: new rows, announced items, signals, and neighbours that leave.

Neighbours stand as catalogue rows, best first, -1 after the last. Absent: ids and eviction
(``state.catalogue``), normalisation (whoever ranks).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.projections import project_id, project_vector

EMPTY = -1


class CatalogueArrays(NamedTuple):
    """Columns of the catalogue by row; N rows, D dim, T tags, H half-lives, K neighbours."""

    embeddings: NDArray[np.float32]  # (N, D)
    author_keys: NDArray[np.uint64]
    category_keys: NDArray[np.uint64]
    tag_keys: NDArray[np.uint64]  # (N, T)
    created_at_ms: NDArray[np.int64]
    active_ms: NDArray[np.int64]
    duration_ms: NDArray[np.int32]
    is_known: NDArray[np.bool_]
    is_live: NDArray[np.bool_]
    is_announced: NDArray[np.bool_]
    is_removed: NDArray[np.bool_]
    popularity: NDArray[np.float32]  # (N, H)
    popularity_time_ms: NDArray[np.int64]
    action_counts: NDArray[np.float32]  # (N, 5)
    interactions: NDArray[np.float32]
    out_sums: NDArray[np.float32]
    in_sums: NDArray[np.float32]
    window_shares: NDArray[np.float32]  # (N, W)
    neighbour_rows: NDArray[np.int32]  # (N, K)
    neighbour_out: NDArray[np.float32]  # (N, K)
    neighbour_in: NDArray[np.float32]  # (N, K)
    neighbour_cf: NDArray[np.float32]  # (N, K)
    signal_offsets: NDArray[np.int64]


@njit(cache=True, nogil=True)
def touch_rows(
    arrays: CatalogueArrays,
    rows: NDArray[np.int32],
    seen_ms: NDArray[np.int64],
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    seed: int,
) -> int:
    """Make rows that are new provisional items; note when the others were seen.

    Args:
        arrays: Columns, changed.
        rows: int32 (E,); -1 skipped.
        seen_ms: int64 (E,).
        buffer: uint8, bytes of the ids.
        starts: int64 (E,).
        lengths: int32 (E,).
        seed: Seed of the projections.

    Returns:
        How many rows were new.
    """
    num_new = 0
    for index in range(len(rows)):
        row = rows[index]
        if row < 0:
            continue
        time_ms = seen_ms[index]
        if not arrays.is_known[row]:
            arrays.is_known[row] = True
            arrays.is_live[row] = True
            arrays.created_at_ms[row] = time_ms
            arrays.active_ms[row] = time_ms
            arrays.signal_offsets[row] = -1
            arrays.neighbour_rows[row, :] = EMPTY
            project_id(buffer, starts[index], lengths[index], seed, arrays.embeddings, row)
            num_new += 1
        else:
            arrays.active_ms[row] = max(arrays.active_ms[row], time_ms)
            if not arrays.is_announced[row]:
                arrays.created_at_ms[row] = min(arrays.created_at_ms[row], time_ms)
    return num_new


@njit(cache=True, nogil=True)
def write_items(
    arrays: CatalogueArrays,
    rows: NDArray[np.int32],
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    created_at_ms: NDArray[np.int64],
    duration_ms: NDArray[np.int32],
    author_keys: NDArray[np.uint64],
    category_keys: NDArray[np.uint64],
    tag_splits: NDArray[np.int64],
    tag_keys: NDArray[np.uint64],
    embedding_splits: NDArray[np.int64],
    embedding_values: NDArray[np.float32],
    is_hidden: NDArray[np.bool_],
    seed: int,
) -> None:
    """Write announced items (``ItemColumns``) into their rows, in order; -1 skipped."""
    for index in range(len(rows)):
        row = rows[index]
        if row < 0:
            continue
        arrays.created_at_ms[row] = created_at_ms[index]
        arrays.duration_ms[row] = duration_ms[index]
        arrays.author_keys[row] = author_keys[index]
        arrays.category_keys[row] = category_keys[index]
        arrays.is_announced[row] = True
        arrays.is_removed[row] = False
        arrays.is_live[row] = not is_hidden[index]
        num_tags = min(tag_splits[index + 1] - tag_splits[index], arrays.tag_keys.shape[1])
        arrays.tag_keys[row, :] = 0
        for tag in range(num_tags):
            arrays.tag_keys[row, tag] = tag_keys[tag_splits[index] + tag]
        values = embedding_values[embedding_splits[index] : embedding_splits[index + 1]]
        if not project_vector(values, seed, arrays.embeddings, row):
            project_id(buffer, starts[index], lengths[index], seed, arrays.embeddings, row)


@njit(cache=True, nogil=True)
def write_signals(
    arrays: CatalogueArrays,
    rows: NDArray[np.int32],
    offsets: NDArray[np.int64],
    as_of_ms: NDArray[np.int64],
    popularity: NDArray[np.float32],
    action_counts: NDArray[np.float32],
    interactions: NDArray[np.float32],
    out_sums: NDArray[np.float32],
    in_sums: NDArray[np.float32],
    neighbour_splits: NDArray[np.int64],
    neighbour_rows: NDArray[np.int32],
    neighbour_out: NDArray[np.float32],
    neighbour_in: NDArray[np.float32],
    neighbour_cf: NDArray[np.float32],
    window_weights: NDArray[np.float32],
) -> None:
    """Write signals (``SignalColumns``) whose offset is above what a row has; -1 skipped.

    Windows are blended to one number: ``sum over w of weight[w] * value[w]``; ``window_shares``
    keeps what each contributed to ``interactions``. An item may be its own neighbour: users come
    back to it.
    """
    max_neighbours = arrays.neighbour_rows.shape[1]
    for index in range(len(rows)):
        row = rows[index]
        if row < 0 or offsets[index] <= arrays.signal_offsets[row]:
            continue
        arrays.signal_offsets[row] = offsets[index]
        arrays.popularity_time_ms[row] = as_of_ms[index]
        for column in range(popularity.shape[1]):
            arrays.popularity[row, column] = popularity[index, column]
        for column in range(action_counts.shape[1]):
            arrays.action_counts[row, column] = action_counts[index, column]
        arrays.interactions[row] = _blend(interactions, index, window_weights)
        arrays.out_sums[row] = _blend(out_sums, index, window_weights)
        arrays.in_sums[row] = _blend(in_sums, index, window_weights)
        _write_shares(arrays, row, interactions, index, window_weights)
        place = 0
        for at in range(neighbour_splits[index], neighbour_splits[index + 1]):
            neighbour = neighbour_rows[at]
            if place < max_neighbours and neighbour >= 0:
                arrays.neighbour_rows[row, place] = neighbour
                arrays.neighbour_out[row, place] = _blend(neighbour_out, at, window_weights)
                arrays.neighbour_in[row, place] = _blend(neighbour_in, at, window_weights)
                arrays.neighbour_cf[row, place] = _blend(neighbour_cf, at, window_weights)
                place += 1
        _clear_neighbours(arrays, row, place)


@njit(cache=True, nogil=True)
def _blend(values: NDArray[np.float32], index: int, weights: NDArray[np.float32]) -> np.float32:
    total = np.float32(0.0)
    for window in range(len(weights)):
        total += weights[window] * values[index, window]
    return total


@njit(cache=True, nogil=True)
def _write_shares(
    arrays: CatalogueArrays,
    row: int,
    interactions: NDArray[np.float32],
    index: int,
    weights: NDArray[np.float32],
) -> None:
    total = arrays.interactions[row]
    for window in range(len(weights)):
        share = np.float32(1.0 / len(weights))
        if total > 0.0:
            share = weights[window] * interactions[index, window] / total
        arrays.window_shares[row, window] = share


@njit(cache=True, nogil=True)
def _clear_neighbours(arrays: CatalogueArrays, row: int, begin: int) -> None:
    for place in range(begin, arrays.neighbour_rows.shape[1]):
        arrays.neighbour_rows[row, place] = EMPTY
        arrays.neighbour_out[row, place] = 0.0
        arrays.neighbour_in[row, place] = 0.0
        arrays.neighbour_cf[row, place] = 0.0


@njit(cache=True, nogil=True)
def forget_neighbours(arrays: CatalogueArrays, num_rows: int, is_gone: NDArray[np.bool_]) -> None:
    """Take rows that leave out of every neighbour list, closing the gaps (order is kept)."""
    for row in range(num_rows):
        place = 0
        for at in range(arrays.neighbour_rows.shape[1]):
            neighbour = arrays.neighbour_rows[row, at]
            if neighbour < 0 or not arrays.is_known[row]:
                break
            if not is_gone[neighbour]:
                if place != at:
                    arrays.neighbour_rows[row, place] = neighbour
                    arrays.neighbour_out[row, place] = arrays.neighbour_out[row, at]
                    arrays.neighbour_in[row, place] = arrays.neighbour_in[row, at]
                    arrays.neighbour_cf[row, place] = arrays.neighbour_cf[row, at]
                place += 1
        if arrays.is_known[row]:
            _clear_neighbours(arrays, row, place)
