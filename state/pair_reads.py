"""Kernels that read co-occurrence: marginals, and the top neighbours of an item.

Sums run over generations in the order of their slots and ties go to the smaller id, so a read
does not depend on where entries stand. Absent: normalisation, which belongs to the reader.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.pair_arena import CF, GENERATION, IN, LANES, NUM_LINES, OUT, START, spread


@njit(cache=True, nogil=True)
def sum_marginals(
    headers: NDArray[np.int64],
    heads: NDArray[np.int64],
    slot_weights: NDArray[np.float64],
    rows: NDArray[np.int32],
    num_windows: int,
    words: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Sum some words of items' headers over generations, weighed by age.

    Args:
        headers: int64 (N, slots, WORDS).
        heads: int64 (slots, HEADS).
        slot_weights: float64 (slots,), weight of a generation; 0 where it does not count.
        rows: int32 (n,).
        num_windows: W; a window owns ``slots / W`` consecutive slots.
        words: int64 (M,), which words of the header.

    Returns:
        float64 (M, n, W), not clamped.
    """
    sums = np.zeros((len(words), len(rows), num_windows))
    num_generations = len(heads) // num_windows
    for index in range(len(rows)):
        row = rows[index]
        for slot in range(len(heads)):
            if slot_weights[slot] > 0.0 and headers[row, slot, GENERATION] == heads[slot, 0]:
                for word in range(len(words)):
                    count = np.float64(headers[row, slot, words[word]])
                    sums[word, index, slot // num_generations] += slot_weights[slot] * count
    return sums


@njit(cache=True, nogil=True)
def id_before(
    arena: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int32], a: int, b: int
) -> bool:
    """Tell whether the id of row a sorts before that of row b, byte by byte, shorter first."""
    for index in range(min(lengths[a], lengths[b])):
        left = arena[starts[a] + index]
        right = arena[starts[b] + index]
        if left != right:
            return bool(left < right)
    return bool(lengths[a] < lengths[b])


@njit(cache=True, nogil=True)
def _collect(
    lines: NDArray[np.uint32],
    heads: NDArray[np.int64],
    headers: NDArray[np.int64],
    slot_weights: NDArray[np.float64],
    row: int,
    num_windows: int,
    table: NDArray[np.int32],
    keys: NDArray[np.int32],
    sums: NDArray[np.float64],
) -> int:
    """Merge one item's blocks into distinct keys and their sums (M, 3, W); return how many."""
    num_generations = len(heads) // num_windows
    mask = np.int64(len(table) - 1)
    table[:] = -1
    num_keys = 0
    for slot in range(len(heads)):
        weight = slot_weights[slot]
        if weight <= 0.0 or headers[row, slot, GENERATION] != heads[slot, GENERATION]:
            continue
        window = slot // num_generations
        start = headers[row, slot, START]
        for line in range(start, start + headers[row, slot, NUM_LINES]):
            for lane in range(LANES):
                key = np.int64(lines[line, lane]) - 1
                if key < 0:
                    continue
                at = np.int64(spread(key)) & mask
                while table[at] >= 0 and keys[table[at]] != key:
                    at = (at + 1) & mask
                if table[at] < 0:
                    table[at] = num_keys
                    keys[num_keys] = key
                    sums[num_keys] = 0.0
                    num_keys += 1
                found = table[at]
                sums[found, 0, window] += weight * np.float64(lines[line, OUT + lane])
                sums[found, 1, window] += weight * np.float64(lines[line, IN + lane])
                sums[found, 2, window] += weight * np.float64(lines[line, CF + lane])
    return num_keys


@njit(cache=True, nogil=True)
def top_neighbours(
    lines: NDArray[np.uint32],
    heads: NDArray[np.int64],
    headers: NDArray[np.int64],
    slot_weights: NDArray[np.float64],
    blend: NDArray[np.float64],
    arena: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    rows: NDArray[np.int32],
    max_neighbours: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Read the neighbours of some items that weigh most, blended over kinds and windows.

    Args:
        lines: uint32 (lines, LINE_WORDS).
        heads: int64 (slots, HEADS).
        headers: int64 (N, slots, WORDS).
        slot_weights: float64 (slots,), weight of a generation; 0 where it does not count.
        blend: float64 (3, W), factor of out, in and cf in the number that neighbours are chosen by.
        arena: uint8, with starts and lengths: ids by key, for ties.
        starts: int64 (keys,).
        lengths: int32 (keys,).
        rows: int32 (n,).
        max_neighbours: K.

    Returns:
        splits int64 (n + 1,); keys int32 (M,), best first; weighed sums float32 (M, 3, W).
    """
    num_windows = blend.shape[1]
    most = 1
    for index in range(len(rows)):
        total = 0
        for slot in range(len(heads)):
            total += headers[rows[index], slot, NUM_LINES] * LANES
        most = max(most, total)
    table_size = 4
    while table_size < 2 * most:
        table_size *= 2
    table = np.empty(table_size, np.int32)
    keys = np.empty(most, np.int32)
    sums = np.empty((most, 3, num_windows))
    scores = np.empty(most)
    splits = np.zeros(len(rows) + 1, np.int64)
    top_keys = np.empty(len(rows) * max_neighbours, np.int32)
    top_sums = np.empty((len(rows) * max_neighbours, 3, num_windows), np.float32)
    best = np.empty(max_neighbours, np.int64)
    for index in range(len(rows)):
        num_keys = _collect(
            lines, heads, headers, slot_weights, rows[index], num_windows, table, keys, sums
        )
        for found in range(num_keys):
            scores[found] = 0.0
            for kind in range(3):
                for window in range(num_windows):
                    scores[found] += blend[kind, window] * sums[found, kind, window]
        num_best = _select(scores, keys, num_keys, arena, starts, lengths, best)
        begin = splits[index]
        for rank in range(num_best):
            top_keys[begin + rank] = keys[best[rank]]
            top_sums[begin + rank] = sums[best[rank]].astype(np.float32)
        splits[index + 1] = begin + num_best
    return splits, top_keys[: splits[-1]].copy(), top_sums[: splits[-1]].copy()


@njit(cache=True, nogil=True)
def _select(
    scores: NDArray[np.float64],
    keys: NDArray[np.int32],
    num_keys: int,
    arena: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    best: NDArray[np.int64],
) -> int:
    """Write the positions of the highest scores above 0 into ``best``, best first; count them."""
    num_best = 0
    for found in range(num_keys):
        score = scores[found]
        if score <= 0.0 or (num_best == len(best) and score < scores[best[num_best - 1]]):
            continue
        # Insertion from the end: most candidates are refused above, the rest move few places.
        at = num_best
        while at > 0:
            other = best[at - 1]
            if scores[other] > score or (
                scores[other] == score
                and id_before(arena, starts, lengths, keys[other], keys[found])
            ):
                break
            at -= 1
        if at == len(best):
            continue
        num_best = min(num_best + 1, len(best))
        for place in range(num_best - 1, at, -1):
            best[place] = best[place - 1]
        best[at] = found
    return num_best
