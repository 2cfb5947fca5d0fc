"""Kernels on pair entries: small open-addressing blocks per item that double within a budget.

Entries stand in lines of 64 bytes, one cache line, four entries each: four keys, four ``out``,
four ``in``, four ``cf`` (uint32; a key is stored + 1, 0 = empty). So one line answers most
look-ups and its keys are compared without a branch. An item's block has 1, 2, 4 ... lines up to
a bound; an entry stands in the line that its key hashes to or in one of the next ones.

One arena serves one generation of one window; all arenas share one array of lines, the arena of
a generation is ``[begin, end)`` of it. ``heads`` int64 (HEADS,) describes an arena: generation,
first line not handed out, ``end``, then per block size the first free block (line + 1; the first
word of a free block names the next one in the same way). Dropping a generation resets its heads;
blocks are zeroed when handed out again.

Where no slot can be had, the smallest of the probed entries gives way as in Misra and Gries
("Finding repeated elements", 1982): it loses the weight of the newcomer, and its place once
nothing is left. Heavy pairs survive a stream of single ones; every such event is counted.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.kernels import kernel
from state.pair_lanes import add_to_lanes

# Entries per line, and where each of the four fields starts in a line.
LANES = 4
OUT = 4
IN = 8
CF = 12
LINE_WORDS = 16
# Lines probed from the home line: a block fills to about 85 % before it has to double.
PROBED_LINES = 4
MAX_LOG2_LINES = 14  # 65,536 entries, the bound of max_row_pairs
# Words of an arena's heads.
GENERATION = 0
USED = 1
END = 2
FREE = 3
HEADS = FREE + MAX_LOG2_LINES + 1
# Words of an item's header in one generation; NUM_LINES 0 means that it has no block. Word 0 is
# the generation, as above.
START = 1
NUM_LINES = 2
INTERACTIONS = 3
STRENGTHS = 4
OUT_SUM = 5
IN_SUM = 6
CF_SUM = 7
WORDS = 8

_WIDTH = np.uint64(LINE_WORDS)
_WORD_BYTES = np.uint64(4)


@kernel
def spread(key: int) -> np.uint64:
    """Hash a key (Knuth's multiplicative method); the low bits choose the home line."""
    return np.uint64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(36))


@kernel
def _log2(num_lines: int) -> int:
    log2_lines = 0
    while (1 << log2_lines) < num_lines:
        log2_lines += 1
    return log2_lines


@kernel
def take_block(words: NDArray[np.uint32], heads: NDArray[np.int64], num_lines: int) -> int:
    """Hand out a zeroed block; return its first line, -1 when the arena's budget is spent."""
    size_class = FREE + _log2(num_lines)
    if heads[size_class] > 0:
        start = heads[size_class] - 1
        heads[size_class] = np.int64(words[start * LINE_WORDS])
    else:
        start = heads[USED]
        if start + num_lines > heads[END]:
            return -1
        heads[USED] = start + num_lines
    words[start * LINE_WORDS : (start + num_lines) * LINE_WORDS] = 0
    return int(start)


@kernel
def give_block(
    words: NDArray[np.uint32], heads: NDArray[np.int64], start: int, num_lines: int
) -> None:
    """Take a block back for reuse at its size."""
    size_class = FREE + _log2(num_lines)
    words[start * LINE_WORDS] = np.uint32(heads[size_class])
    heads[size_class] = start + 1


@kernel
def reset(heads: NDArray[np.int64], slot: int, generation: int, begin: int) -> None:
    """Drop everything in the arena of one slot and let it serve another generation."""
    heads[slot, GENERATION] = generation
    heads[slot, USED] = begin
    for size_class in range(FREE, HEADS):
        heads[slot, size_class] = 0


@kernel
def line_at(start: int, num_lines: int, key: int, step: int) -> np.uint64:
    """Return the first word of the line that a key is looked for in after so many others."""
    mask = np.uint64(num_lines - 1)
    line = np.uint64(start) + ((spread(key) + np.uint64(step)) & mask)
    return np.uint64(line * _WIDTH)


@kernel
def add_to_line(
    words: NDArray[np.uint32], line: np.uint64, key: int, out: int, into: int, cf: int
) -> bool:
    """Add to a key's entry in one line, or make it there; False where others fill the line.

    A line fills from its first lane and only a full one sends a new key on, so a key that its
    line has room for stands nowhere else.
    """
    address = np.uint64(words.ctypes.data) + line * _WORD_BYTES
    word = np.uint32(key + 1)
    return bool(add_to_lanes(address, word, np.uint32(out), np.uint32(into), np.uint32(cf)))


@kernel
def _write(
    words: NDArray[np.uint32], at: np.uint64, key: int, out: int, into: int, cf: int
) -> None:
    words[at] = np.uint32(key + 1)
    words[at + np.uint64(OUT)] = np.uint32(out)
    words[at + np.uint64(IN)] = np.uint32(into)
    words[at + np.uint64(CF)] = np.uint32(cf)


@kernel
def _place(
    words: NDArray[np.uint32], start: int, num_lines: int, key: int, out: int, into: int, cf: int
) -> bool:
    """Add to a key's entry or make one in the first line with room; False where there is none."""
    for step in range(min(PROBED_LINES, num_lines)):
        if add_to_line(words, line_at(start, num_lines, key, step), key, out, into, cf):
            return True
    return False


@kernel
def _give_way(
    words: NDArray[np.uint32], start: int, num_lines: int, key: int, out: int, into: int, cf: int
) -> None:
    """Weaken the smallest probed entry by a newcomer's weight; replace it when nothing is left."""
    least = np.uint64(0xFFFFFFFFFFFFFFFF)
    smallest = np.uint64(0)
    for step in range(min(PROBED_LINES, num_lines)):
        line = line_at(start, num_lines, key, step)
        for lane in range(LANES):
            at = line + np.uint64(lane)
            weight = np.uint64(words[at + np.uint64(OUT)])
            weight += np.uint64(words[at + np.uint64(IN)])
            weight += np.uint64(words[at + np.uint64(CF)])
            if weight < least:
                least = weight
                smallest = at
    left = np.int64(out + into + cf)
    if np.int64(least) <= left:
        _write(words, smallest, key, out, into, cf)
        return
    for field in (CF, IN, OUT):
        count = np.int64(words[smallest + np.uint64(field)])
        taken = left if left < count else count
        words[smallest + np.uint64(field)] = np.uint32(count - taken)
        left -= taken


@kernel
def copy_block(
    words: NDArray[np.uint32], start: int, num_lines: int, to: int, to_lines: int
) -> int:
    """Copy a block's entries into another, empty one; return how many found no slot there."""
    num_lost = 0
    for line in range(start, start + num_lines):
        for lane in range(LANES):
            at = np.uint64(line) * _WIDTH + np.uint64(lane)
            if words[at] == np.uint32(0):
                break  # A line fills from its first lane.
            placed = _place(
                words,
                to,
                to_lines,
                np.int64(words[at]) - 1,
                np.int64(words[at + np.uint64(OUT)]),
                np.int64(words[at + np.uint64(IN)]),
                np.int64(words[at + np.uint64(CF)]),
            )
            num_lost += not placed
    return num_lost


@kernel
def add_entry(
    words: NDArray[np.uint32],
    heads: NDArray[np.int64],
    headers: NDArray[np.int64],
    row: int,
    slot: int,
    max_lines: int,
    key: int,
    out: int,
    into: int,
    cf: int,
) -> int:
    """Add one pair's weights to an item's entry for a neighbour, wherever that takes it.

    Doubles the item's block while its bound and the arena's budget allow; else a small entry
    gives way.

    Args:
        words: uint32 (lines * LINE_WORDS,), changed.
        heads: int64 (slots, HEADS), changed.
        headers: int64 (N, slots, WORDS): where the item's block stands, changed.
        row: The item's row in ``headers``.
        slot: Generation of a window, index into ``heads``.
        max_lines: Bound of the block.
        key: The neighbour's id row.
        out: Weight of pairs from the item to the neighbour.
        into: Weight of pairs from the neighbour to the item.
        cf: Weight of pairs in either direction.

    Returns:
        How many pairs found no room.
    """
    start, num_lines = headers[row, slot, START], headers[row, slot, NUM_LINES]
    if num_lines > 0 and _place(words, start, num_lines, key, out, into, cf):
        return 0
    num_lost = 0
    more_lines = num_lines
    while more_lines < max_lines:
        more_lines = max(1, 2 * more_lines)
        to = take_block(words, heads[slot], more_lines)
        if to < 0:
            break
        if num_lines > 0:
            num_homeless = copy_block(words, start, num_lines, to, more_lines)
            if num_homeless > 0 and more_lines < max_lines:
                give_block(words, heads[slot], to, more_lines)
                continue  # Keys that crowd at this size may not at the next.
            num_lost += num_homeless
            give_block(words, heads[slot], start, num_lines)
        start, num_lines = to, more_lines
        headers[row, slot, START] = start
        headers[row, slot, NUM_LINES] = num_lines
        if _place(words, start, num_lines, key, out, into, cf):
            return num_lost
    if num_lines > 0:
        _give_way(words, start, num_lines, key, out, into, cf)
    return num_lost + 1


@njit(cache=True, nogil=True)
def forget_keys(
    lines: NDArray[np.uint32],
    heads: NDArray[np.int64],
    headers: NDArray[np.int64],
    is_gone: NDArray[np.bool_],
) -> None:
    """Remove entries whose key is gone from the block of every item, in every generation.

    Args:
        lines: uint32 (lines, LINE_WORDS), changed.
        heads: int64 (slots, HEADS).
        headers: int64 (N, slots, WORDS).
        is_gone: bool (keys,).
    """
    words = lines.reshape(-1)
    kept = np.empty((np.int64(1) << MAX_LOG2_LINES, LINE_WORDS), np.uint32)
    for row in range(headers.shape[0]):
        for slot in range(headers.shape[1]):
            num_lines = headers[row, slot, NUM_LINES]
            if num_lines == 0 or headers[row, slot, GENERATION] != heads[slot, GENERATION]:
                continue
            start = headers[row, slot, START]
            num_gone = 0
            for line in range(start, start + num_lines):
                for lane in range(LANES):
                    key = np.int64(lines[line, lane]) - 1
                    if key >= 0 and is_gone[key]:
                        num_gone += 1
            if num_gone == 0:
                continue
            # An emptied slot would cut a probe short: place what stays anew.
            for line in range(num_lines):
                for word in range(LINE_WORDS):
                    kept[line, word] = lines[start + line, word]
                    lines[start + line, word] = np.uint32(0)
            for line in range(num_lines):
                for lane in range(LANES):
                    key = np.int64(kept[line, lane]) - 1
                    if key >= 0 and not is_gone[key]:
                        out = np.int64(kept[line, OUT + lane])
                        into = np.int64(kept[line, IN + lane])
                        cf = np.int64(kept[line, CF + lane])
                        if not _place(words, start, num_lines, key, out, into, cf):
                            _give_way(words, start, num_lines, key, out, into, cf)
