"""Kernels that fold frame rows into pairs and marginals; layout and laws in state.pair_arena.

The one place where the item side spends its time: a row of ten pairs changes forty lines of
memory in two windows. So the kernel asks for the headers and lines of the next rows before it
needs them, and counts no references (``state.kernels``): a call with three arrays would cost
50 ns, more than adding a pair.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state.kernels import kernel
from state.pair_arena import (
    CF_SUM,
    GENERATION,
    IN_SUM,
    INTERACTIONS,
    LINE_WORDS,
    NUM_LINES,
    OUT_SUM,
    START,
    STRENGTHS,
    WORDS,
    add_entry,
    add_to_line,
    line_at,
    reset,
    spread,
)
from state.prefetch import prefetch

# How many rows ahead the kernel asks for headers and for lines; measured best of 1..8.
_HEADERS_AHEAD = 4
_LINES_AHEAD = 2
_LINE_BYTES = np.uint64(64)


@kernel
def _renew(headers: NDArray[np.int64], row: int, slot: int, generation: int) -> None:
    headers[row, slot, GENERATION] = generation
    for word in range(1, WORDS):
        headers[row, slot, word] = 0


@kernel
def _prefetch_headers(
    address: int,
    slots: NDArray[np.int64],
    num_slots: int,
    owned_rows: NDArray[np.int32],
    item_ref: int,
    pair_refs: NDArray[np.int32],
    begin: int,
    end: int,
) -> None:
    for pair in range(begin - 1, end):
        row = owned_rows[item_ref] if pair < begin else owned_rows[pair_refs[pair]]
        if row >= 0:
            for window in range(len(slots)):
                header = np.uint64(row) * np.uint64(num_slots) + np.uint64(slots[window])
                prefetch(np.uint64(address) + header * _LINE_BYTES)


@kernel
def _prefetch_line(address: int, headers: NDArray[np.int64], row: int, slot: int, key: int) -> None:
    num_lines = headers[row, slot, NUM_LINES]
    if num_lines > 0:
        line = np.uint64(headers[row, slot, START]) + (spread(key) & np.uint64(num_lines - 1))
        prefetch(np.uint64(address) + line * _LINE_BYTES)
        # A fourth of the keys find their home line full and go on to the next one.
        prefetch(np.uint64(address) + (line + np.uint64(1)) * _LINE_BYTES)


@kernel
def _prefetch_lines(
    address: int,
    headers: NDArray[np.int64],
    slots: NDArray[np.int64],
    owned_rows: NDArray[np.int32],
    id_rows: NDArray[np.int32],
    item_ref: int,
    pair_refs: NDArray[np.int32],
    begin: int,
    end: int,
) -> None:
    row = owned_rows[item_ref]
    key = id_rows[item_ref]
    for pair in range(begin, end):
        ref = pair_refs[pair]
        previous = owned_rows[ref]
        for window in range(len(slots)):
            if row >= 0:
                _prefetch_line(address, headers, row, slots[window], id_rows[ref])
            if previous >= 0:
                _prefetch_line(address, headers, previous, slots[window], key)


@kernel
def add_rows(
    words: NDArray[np.uint32],
    heads: NDArray[np.int64],
    headers: NDArray[np.int64],
    slots: NDArray[np.int64],
    newest: NDArray[np.int64],
    generation_ms: NDArray[np.int64],
    max_lines: int,
    weights: NDArray[np.int64],
    owned_rows: NDArray[np.int32],
    id_rows: NDArray[np.int32],
    item_refs: NDArray[np.int32],
    timestamps_ms: NDArray[np.int64],
    counts: NDArray[np.int8],
    strengths: NDArray[np.int16],
    pair_splits: NDArray[np.int64],
    pair_refs: NDArray[np.int32],
    pair_lags: NDArray[np.uint8],
    pair_weights: NDArray[np.uint8],
) -> tuple[int, int]:
    """Fold one frame's rows into every window.

    Args:
        words: uint32 (W * G * arena lines * LINE_WORDS,), changed.
        heads: int64 (W * G, HEADS), changed.
        headers: int64 (N, W * G, WORDS), changed.
        slots: int64 (W,), scratch, zeros at first.
        newest: int64 (W,), newest generation per window, changed.
        generation_ms: int64 (W,).
        max_lines: Bound of an item's block.
        weights: int64 (256,), ``state.cooccurrence.order_weights``.
        owned_rows: int32 (I,), item row per id of the frame; -1 where another partition owns it.
        id_rows: int32 (I,), row in the id table per id of the frame: the key of a pair.
        item_refs: int32 (R,), as all that follow a field of ``FrameColumns``.
        timestamps_ms: int64 (R,).
        counts: int8 (R,).
        strengths: int16 (R,).
        pair_splits: int64 (R + 1,).
        pair_refs: int32 (P,).
        pair_lags: uint8 (P,).
        pair_weights: uint8 (P,).

    Returns:
        How many pairs found no room, and how many (row, window) were too old for the window.
    """
    num_rows = len(item_refs)
    num_windows = len(generation_ms)
    num_generations = len(heads) // num_windows
    arena_lines = len(words) // LINE_WORDS // len(heads)
    lines_at = words.ctypes.data
    headers_at = headers.ctypes.data
    num_lost = 0
    num_old = 0
    for index in range(num_rows):
        ahead = index + _HEADERS_AHEAD
        if ahead < num_rows:
            _prefetch_headers(
                headers_at, slots, len(heads), owned_rows, item_refs[ahead],
                pair_refs, pair_splits[ahead], pair_splits[ahead + 1],
            )  # fmt: skip
        ahead = index + _LINES_AHEAD
        if ahead < num_rows:
            _prefetch_lines(
                lines_at, headers, slots, owned_rows, id_rows, item_refs[ahead],
                pair_refs, pair_splits[ahead], pair_splits[ahead + 1],
            )  # fmt: skip
        row = owned_rows[item_refs[index]]
        key = id_rows[item_refs[index]]
        for window in range(num_windows):
            generation = timestamps_ms[index] // generation_ms[window]
            if generation > newest[window]:
                newest[window] = generation
            elif generation <= newest[window] - num_generations:
                num_old += 1
                continue
            slot = window * num_generations + generation % num_generations
            slots[window] = slot
            if heads[slot, GENERATION] != generation:
                reset(heads, slot, generation, slot * arena_lines)
            num_lost += _add_row(
                words, heads, headers, max_lines, weights, owned_rows, id_rows,
                row, key, slot, generation, np.int64(counts[index]), np.int64(strengths[index]),
                pair_refs, pair_lags, pair_weights, pair_splits[index], pair_splits[index + 1],
            )  # fmt: skip
    return num_lost, num_old


@kernel
def _add_row(
    words: NDArray[np.uint32],
    heads: NDArray[np.int64],
    headers: NDArray[np.int64],
    max_lines: int,
    weights: NDArray[np.int64],
    owned_rows: NDArray[np.int32],
    id_rows: NDArray[np.int32],
    row: int,
    key: int,
    slot: int,
    generation: int,
    count: int,
    strength: int,
    pair_refs: NDArray[np.int32],
    pair_lags: NDArray[np.uint8],
    pair_weights: NDArray[np.uint8],
    begin: int,
    end: int,
) -> int:
    """Add one row's pairs to one generation; return how many found no room.

    Two passes, so that each keeps one side's addresses: first the row's own item (``in``), then
    the items before it (``out``), each only where this partition owns it.
    """
    num_lost = 0
    if row >= 0:
        if headers[row, slot, GENERATION] != generation:
            _renew(headers, row, slot, generation)
        in_sum = np.int64(0)
        cf_sum = np.int64(0)
        for pair in range(begin, end):
            order = np.int64(weights[pair_lags[pair]])
            cf = np.int64(pair_weights[pair])
            neighbour = id_rows[pair_refs[pair]]
            in_sum += order
            cf_sum += cf
            size = headers[row, slot, NUM_LINES]
            start = headers[row, slot, START]
            if size == 0 or not add_to_line(
                words, line_at(start, size, neighbour, 0), neighbour, 0, order, cf
            ):
                num_lost += add_entry(
                    words, heads, headers, row, slot, max_lines, neighbour, 0, order, cf
                )
        headers[row, slot, INTERACTIONS] += count
        headers[row, slot, STRENGTHS] += strength
        headers[row, slot, IN_SUM] += in_sum
        headers[row, slot, CF_SUM] += cf_sum
    for pair in range(begin, end):
        previous = owned_rows[pair_refs[pair]]
        if previous < 0:
            continue
        order = weights[pair_lags[pair]]
        cf = np.int64(pair_weights[pair])
        if headers[previous, slot, GENERATION] != generation:
            _renew(headers, previous, slot, generation)
        headers[previous, slot, OUT_SUM] += order
        headers[previous, slot, CF_SUM] += cf
        size = headers[previous, slot, NUM_LINES]
        start = headers[previous, slot, START]
        if size == 0 or not add_to_line(words, line_at(start, size, key, 0), key, order, 0, cf):
            num_lost += add_entry(
                words, heads, headers, previous, slot, max_lines, key, order, 0, cf
            )
    return num_lost
