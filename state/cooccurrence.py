"""CoOccurrence: ordered pairs and marginals per item, per window, in generations.

A window of length W in G generations keeps event time in parts of ``W / G``; part n holds
``[n * W / G, (n + 1) * W / G)`` and leaves whole once part ``n + G`` begins:

```
 n-3      n-2      n-1      n        newest event ->|
[--------)[--------)[--------)[------+
```

Only integers are summed and a part depends on nothing but its own rows, so every order of
arrival gives the same parts while no pair overflows. Lines of pairs: ``state.pair_arena``;
reading: ``state.pair_reads``. Absent: ids and the choice of rows (``state.item_partition``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.frame_columns import FrameColumns
from state.item_limits import ItemLimits
from state.large_arrays import large_zeros
from state.pair_arena import (
    CF,
    CF_SUM,
    END,
    GENERATION,
    HEADS,
    IN,
    IN_SUM,
    INTERACTIONS,
    LANES,
    LINE_WORDS,
    NUM_LINES,
    OUT,
    OUT_SUM,
    START,
    STRENGTHS,
    USED,
    WORDS,
    add_entry,
    forget_keys,
    reset,
    saturated,
    spread,
)
from state.prefetch import prefetch
from state.table import Arrays

# Units of the summed weights: an `out` or `in` of 60 is one pair of lag 1, a `cf` of 255 is one
# pair without time between.
ORDER_UNIT = 60
CF_UNIT = 255

# How many rows ahead the kernel asks for headers and for lines; measured best of 1..8.
_HEADERS_AHEAD = 4
_LINES_AHEAD = 2
_LINE_BYTES = np.uint64(64)
_ONE = np.uint64(1)
_WIDTH = np.uint64(LINE_WORDS)


def order_weights() -> NDArray[np.int64]:
    """Return the integer weight per lag: int64 (256,), about ``60 / lag``; lag 0 counts nothing.

    >>> [int(weight) for weight in order_weights()[:6]]
    [0, 60, 30, 20, 15, 12]
    """
    lags = np.arange(1, 256)
    return np.concatenate((np.zeros(1, np.int64), (ORDER_UNIT + lags // 2) // lags))


@njit(cache=True, nogil=True)
def _renew(headers: NDArray[np.int64], row: int, slot: int, generation: int) -> None:
    headers[row, slot, GENERATION] = generation
    for word in range(1, WORDS):
        headers[row, slot, word] = 0


@njit(cache=True, nogil=True)
def _add_at_home(
    words: NDArray[np.uint32],
    start: int,
    num_lines: int,
    key: int,
    out: int,
    into: int,
    cf: int,
) -> bool:
    """Add to the key's entry, or make it, where the home line has it or has room (most have).

    A line fills from its first lane and only a full one sends a new key on, so a key that its
    home line has room for stands nowhere else.

    Returns:
        False where the home line is full of other keys; then nothing was changed.
    """
    line = (np.uint64(start) + (spread(key) & np.uint64(num_lines - 1))) * _WIDTH
    word = np.uint32(key + 1)
    key_0 = words[line]
    key_1 = words[line + _ONE]
    key_2 = words[line + np.uint64(2)]
    key_3 = words[line + np.uint64(3)]
    # 1 + lane of the key, 0 = none; without branches, for no predictor can guess the lane.
    lane = (
        np.uint64(key_0 == word)
        + np.uint64(2) * np.uint64(key_1 == word)
        + np.uint64(3) * np.uint64(key_2 == word)
        + np.uint64(4) * np.uint64(key_3 == word)
    )
    if lane == np.uint64(0):
        if key_3 != np.uint32(0):
            return False
        used = np.uint64(key_0 != 0) + np.uint64(key_1 != 0) + np.uint64(key_2 != 0)
        at = line + used
        words[at] = word
        words[at + np.uint64(OUT)] = np.uint32(out)
        words[at + np.uint64(IN)] = np.uint32(into)
        words[at + np.uint64(CF)] = np.uint32(cf)
        return True
    at = line + lane - _ONE
    words[at + np.uint64(OUT)] = saturated(words[at + np.uint64(OUT)], out)
    words[at + np.uint64(IN)] = saturated(words[at + np.uint64(IN)], into)
    words[at + np.uint64(CF)] = saturated(words[at + np.uint64(CF)], cf)
    return True


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _prefetch_line(address: int, headers: NDArray[np.int64], row: int, slot: int, key: int) -> None:
    num_lines = headers[row, slot, NUM_LINES]
    if num_lines > 0:
        line = np.uint64(headers[row, slot, START]) + (spread(key) & np.uint64(num_lines - 1))
        prefetch(np.uint64(address) + line * _LINE_BYTES)


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def add_rows(
    lines: NDArray[np.uint32],
    heads: NDArray[np.int64],
    headers: NDArray[np.int64],
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
        lines: uint32 (W * G * arena lines, LINE_WORDS), changed.
        heads: int64 (W * G, HEADS), changed.
        headers: int64 (N, W * G, WORDS), changed.
        newest: int64 (W,), newest generation per window, changed.
        generation_ms: int64 (W,).
        max_lines: Bound of an item's block.
        weights: int64 (256,), :func:`order_weights`.
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
    arena_lines = len(lines) // len(heads)
    words = lines.reshape(-1)
    lines_at = lines.ctypes.data
    headers_at = headers.ctypes.data
    slots = np.zeros(num_windows, np.int64)
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
                lines, words, heads, headers, max_lines, weights, owned_rows, id_rows,
                row, key, slot, generation, np.int64(counts[index]), np.int64(strengths[index]),
                pair_refs, pair_lags, pair_weights, pair_splits[index], pair_splits[index + 1],
            )  # fmt: skip
    return num_lost, num_old


@njit(cache=True, nogil=True)
def _add_row(
    lines: NDArray[np.uint32],
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
            if size == 0 or not _add_at_home(words, start, size, neighbour, 0, order, cf):
                num_lost += add_entry(
                    lines, heads, headers, row, slot, max_lines, neighbour, 0, order, cf
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
        if size == 0 or not _add_at_home(words, start, size, key, order, 0, cf):
            num_lost += add_entry(
                lines, heads, headers, previous, slot, max_lines, key, order, 0, cf
            )
    return num_lost


class CoOccurrence:
    """Pairs and marginals of one item partition; see the module.

    Rows and keys are handed out by the owner of the table; memory is reserved at the bound and
    committed by the operating system as lines and rows come into use.
    """

    def __init__(self, *, limits: ItemLimits) -> None:
        self.num_generations = limits.num_generations
        self.generation_ms = np.array(
            [max(1, window // limits.num_generations) for window in limits.windows_ms], np.int64
        )
        num_slots = len(limits.windows_ms) * limits.num_generations
        self._max_lines = limits.max_row_pairs // LANES
        self._arena_lines = limits.max_pairs // limits.num_generations // LANES
        self._weights = order_weights()
        self.lines = large_zeros((num_slots * self._arena_lines, LINE_WORDS), np.uint32)
        self.headers = large_zeros((limits.max_items, num_slots, WORDS), np.int64)
        self.heads = np.zeros((num_slots, HEADS), np.int64)
        self.newest = np.zeros(len(limits.windows_ms), np.int64)
        self._empty_heads()

    def _empty_heads(self) -> None:
        self.heads[:] = 0
        self.heads[:, USED] = np.arange(len(self.heads)) * self._arena_lines
        self.heads[:, END] = self.heads[:, USED] + self._arena_lines
        self.heads[:, GENERATION] = -1
        self.newest[:] = -1

    def add(
        self, frame: FrameColumns, owned_rows: NDArray[np.int32], id_rows: NDArray[np.int32]
    ) -> tuple[int, int]:
        """Fold a frame; see :func:`add_rows` for the rows, the keys and what is returned."""
        num_lost, num_old = add_rows(
            self.lines,
            self.heads,
            self.headers,
            self.newest,
            self.generation_ms,
            self._max_lines,
            self._weights,
            owned_rows,
            id_rows,
            frame.item_refs,
            frame.timestamps_ms,
            frame.counts,
            frame.strengths,
            frame.pair_splits,
            frame.pair_refs,
            frame.pair_lags,
            frame.pair_weights,
        )
        return int(num_lost), int(num_old)

    def clear(self, rows: NDArray[np.int32]) -> None:
        """Forget some items; the room of their blocks returns when the generation leaves."""
        self.headers[rows] = 0

    def forget(self, is_gone: NDArray[np.bool_], num_rows: int) -> None:
        """Forget neighbours: ``is_gone`` (keys,) says which keys may be handed out anew."""
        forget_keys(self.lines, self.heads, self.headers[:num_rows], is_gone)

    def arrays(self, num_rows: int) -> Arrays:
        """Return views of everything in use, for a snapshot; rows ``[0, num_rows)``."""
        return {
            "headers": self.headers[:num_rows],
            "heads": self.heads,
            "newest": self.newest,
            **{
                f"lines_{slot}": self.lines[slot * self._arena_lines : self.heads[slot, USED]]
                for slot in range(len(self.heads))
            },
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`arrays` gave under the same limits; the rest becomes empty."""
        self._empty_heads()
        # Fresh zeros commit no memory; filling the old ones would commit all up to the bound.
        self.headers = large_zeros(self.headers.shape, np.int64)
        self.headers[: len(arrays["headers"])] = arrays["headers"]
        self.heads[:] = arrays["heads"]
        self.newest[:] = arrays["newest"]
        for slot in range(len(self.heads)):
            start = slot * self._arena_lines
            used = arrays[f"lines_{slot}"]
            self.lines[start : start + len(used)] = used

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return the slots for pairs handed out in the fullest generation, and their bound."""
        used = self.heads[:, USED] - np.arange(len(self.heads)) * self._arena_lines
        return {"pairs": (int(used.max()) * LANES, self._arena_lines * LANES)}
