"""JSON of recommendation lists, encoded for a whole batch in one kernel.

One list is ``[{"id":"...","score":0.81,"sources":["trending"]},...]``, best first. Scores carry six
significant digits: a client orders by position, not by score, and short texts halve the bytes. On
demand each item also says in words why it is there: ``"why":"trending (no. 3)"``, each source that
proposed it with the item's place among that source's proposals.
Absent on purpose: a Python object per item (50 of them cost more than the write to Redis).
"""

from __future__ import annotations

from math import floor, isfinite, log10

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.candidates import SOURCES, RecommendationBatch

_MAX_FLOAT_BYTES = 18  # "-1.23456e-38" is 12, a fixed "-0.0000123456" 13.
_MAX_ESCAPE = 6  # One control character becomes \\u00XX.
_SCORE = np.frombuffer(b'","score":', np.uint8)
# 1e-5 ... 1e10: scores lie there, and a logarithm with a power costs more than all the digits.
_POWERS = 10.0 ** np.arange(-5, 11)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


def _tail(mask: int) -> bytes:
    """Return what stands between an item's score and the next item's id, sources of the mask."""
    names = [f'"{name}"' for column, name in enumerate(SOURCES) if mask >> column & 1]
    return f',"sources":[{",".join(names)}]}},{{"id":"'.encode()


# All 2^S texts, so that an item costs one copy whatever its sources.
_TAILS = [_tail(mask) for mask in range(1 << len(SOURCES))]
_TAIL_ARENA = np.frombuffer(b"".join(_TAILS), np.uint8)
_TAIL_SPLITS = np.cumsum([0, *map(len, _TAILS)], dtype=np.int64)
_ITEM_START = np.frombuffer(b'{"id":"', np.uint8)
_NEXT_ITEM_BYTES = 8  # A tail ends with these bytes of the next item: ,{"id":"
_FIXED_BYTES = len(_SCORE) + max(map(len, _TAILS))

# True of users' lists, of similar items and of what trends.
_WORDS = {
    "cooccurrence": "others often go on to it",
    "cooccurrence-two-way": "others often take it up too",
    "item-cf": "it shares an audience",
    "recent": "taken up lately",
    "interest": "close in content",
    "trending": "trending",
    "fresh": "new",
}
_WORD_ARENA = np.frombuffer("".join(_WORDS[name] for name in SOURCES).encode(), np.uint8)
_WORD_SPLITS = np.cumsum([0, *(len(_WORDS[name]) for name in SOURCES)], dtype=np.int64)
_WHY = np.frombuffer(b',"why":"', np.uint8)
_PLACE = np.frombuffer(b" (no. ", np.uint8)
_AND = np.frombuffer(b", ", np.uint8)
_CLOSE_BYTES = _NEXT_ITEM_BYTES + 1  # Before them a tail has all of its item but the brace.
_MAX_RANK_BYTES = 5
_WHY_BYTES = (
    len(_WHY)
    + 1
    + len(_WORD_ARENA)
    + len(SOURCES) * (len(_PLACE) + _MAX_RANK_BYTES + 1 + len(_AND))
)


@njit(cache=True, nogil=True)
def _put(out: NDArray[np.uint8], at: int, text: NDArray[np.uint8], begin: int, end: int) -> int:
    # Views indexed from zero let LLVM drop the wrap-around check and copy in wide steps.
    source = text[begin:end]
    target = out[at : at + len(source)]
    for index in range(len(source)):
        target[index] = source[index]
    return at + len(source)


@njit(cache=True, nogil=True)
def _put_escaped(
    out: NDArray[np.uint8], at: int, arena: NDArray[np.uint8], begin: int, end: int
) -> int:
    for byte in arena[begin:end]:
        if byte == 34 or byte == 92:  # Quote and backslash.
            out[at] = 92
            out[at + 1] = byte
            at += 2
        elif byte < 32:
            out[at] = 92
            out[at + 1] = 117
            out[at + 2] = 48
            out[at + 3] = 48
            out[at + 4] = _HEX[byte >> 4]
            out[at + 5] = _HEX[byte & 15]
            at += 6
        else:
            out[at] = byte
            at += 1
    return at


@njit(cache=True, nogil=True)
def _put_float(out: NDArray[np.uint8], at: int, value: float) -> int:
    """Write a finite number with six significant digits as JSON allows it."""
    if value < 0.0:
        out[at] = 45
        at += 1
        value = -value
    if value == 0.0:
        out[at] = 48
        return at + 1
    if _POWERS[0] <= value < 1e6:
        exponent = 5
        while value < _POWERS[exponent + 5]:
            exponent -= 1
        # Down to 1e-5: ten places further up stand the powers that make six digits of it.
        number = np.uint64(value * _POWERS[10 - exponent] + 0.5)
    else:
        exponent = int(floor(log10(value)))
        if exponent < -30:  # 10 ** (5 - exponent) alone would lose digits.
            number = np.uint64(value * 1e30 * 10.0 ** (-25 - exponent) + 0.5)
        elif exponent < 0:
            number = np.uint64(value * 10.0 ** (5 - exponent) + 0.5)
        else:
            number = np.uint64(value / 10.0 ** (exponent - 5) + 0.5)
    if number >= np.uint64(1_000_000):
        number = number // np.uint64(10)
        exponent += 1
    is_scientific = exponent < -5 or exponent > 5
    # The point stands after this many digits; below one it needs "0." and zeros before them.
    point = 1 if is_scientific else exponent + 1
    if point <= 0:
        out[at] = 48
        out[at + 1] = 46
        at += 2
        for _ in range(-point):
            out[at] = 48
            at += 1
    width = 6 if point <= 0 else 7
    last = at
    for place in range(width - 1, -1, -1):
        if place == point and point > 0:
            out[at + place] = 46
        else:
            digit = number % np.uint64(10)
            number = number // np.uint64(10)
            out[at + place] = np.uint8(48) + np.uint8(digit)
            if digit != np.uint64(0) and last < at + place + 1:
                last = at + place + 1
    if point > 0 and last < at + point:
        last = at + point
    if is_scientific:
        last = _put_exponent(out, last, exponent)
    return last


@njit(cache=True, nogil=True)
def _put_exponent(out: NDArray[np.uint8], at: int, exponent: int) -> int:
    out[at] = 101
    at += 1
    if exponent < 0:
        out[at] = 45
        at += 1
        exponent = -exponent
    if exponent >= 10:
        out[at] = 48 + exponent // 10
        at += 1
    out[at] = 48 + exponent % 10
    return at + 1


@njit(cache=True, nogil=True)
def _put_reasons(out: NDArray[np.uint8], at: int, ranks: NDArray[np.uint16]) -> int:
    """Write ``,"why":"..."`` of one item, whose rank per source is 0 where it did not propose."""
    at = _put(out, at, _WHY, 0, len(_WHY))
    is_first = True
    for source in range(len(ranks)):
        rank = int(ranks[source])
        if rank == 0:
            continue
        if not is_first:
            at = _put(out, at, _AND, 0, len(_AND))
        is_first = False
        at = _put(out, at, _WORD_ARENA, _WORD_SPLITS[source], _WORD_SPLITS[source + 1])
        at = _put(out, at, _PLACE, 0, len(_PLACE))
        unit = 10_000
        while unit > rank:
            unit //= 10
        while unit > 0:
            out[at] = 48 + rank // unit % 10
            at += 1
            unit //= 10
        out[at] = 41
        at += 1
    out[at] = 34
    return at + 1


@njit(cache=True, nogil=True)
def _encode(
    out: NDArray[np.uint8],
    out_splits: NDArray[np.int64],
    is_valid: NDArray[np.bool_],
    splits: NDArray[np.int64],
    arena: NDArray[np.uint8],
    id_splits: NDArray[np.int64],
    scores: NDArray[np.float32],
    ranks: NDArray[np.uint16],
    explain: bool,
) -> None:
    at = 0
    for user in range(len(splits) - 1):
        out_splits[user] = at
        out[at] = 91
        at += 1
        if splits[user + 1] > splits[user]:
            at = _put(out, at, _ITEM_START, 0, len(_ITEM_START))
        for item in range(splits[user], splits[user + 1]):
            if not isfinite(scores[item]):
                is_valid[user] = False
            at = _put_escaped(out, at, arena, id_splits[item], id_splits[item + 1])
            at = _put(out, at, _SCORE, 0, len(_SCORE))
            at = _put_float(out, at, float(scores[item]) if is_valid[user] else 0.0)
            mask = 0
            for source in range(ranks.shape[1]):
                mask |= (1 if ranks[item, source] > 0 else 0) << source
            tail, end = _TAIL_SPLITS[mask], _TAIL_SPLITS[mask + 1]
            if explain:
                at = _put(out, at, _TAIL_ARENA, tail, end - _CLOSE_BYTES)
                at = _put_reasons(out, at, ranks[item])
                tail = end - _CLOSE_BYTES
            at = _put(out, at, _TAIL_ARENA, tail, end)
        if splits[user + 1] > splits[user]:
            at -= _NEXT_ITEM_BYTES
        out[at] = 93
        at += 1
    out_splits[len(splits) - 1] = at


def encode_lists(
    batch: RecommendationBatch, *, explain: bool = False
) -> tuple[list[bytes], NDArray[np.bool_]]:
    """Encode the ``items`` field of every list of a batch.

    Args:
        batch: The lists.
        explain: Whether each item has ``why``, its sources in words, after ``sources``.

    Returns:
        B JSON texts, UTF-8, and bool (B,): False where a score is NaN or infinite (the text is
        then wrong and must not be written).
    """
    count = len(batch.item_ids)
    arena = np.frombuffer(b"".join(batch.item_ids), np.uint8)
    id_splits = np.zeros(count + 1, np.int64)
    np.cumsum(np.fromiter(map(len, batch.item_ids), np.int64, count), out=id_splits[1:])
    per_item = _FIXED_BYTES + _MAX_FLOAT_BYTES + (_WHY_BYTES if explain else 0)
    bound = len(arena) * _MAX_ESCAPE + count * per_item + 16 * len(batch)
    out = np.empty(bound, np.uint8)
    out_splits = np.empty(len(batch) + 1, np.int64)
    is_valid = np.ones(len(batch), np.bool_)
    _encode(
        *(out, out_splits, is_valid, batch.splits, arena, id_splits, batch.scores, batch.ranks),
        explain,
    )
    text = out.data
    borders: list[int] = out_splits.tolist()
    # One slice per list, not per item.
    texts = [bytes(text[begin:end]) for begin, end in zip(borders, borders[1:], strict=False)]
    return texts, is_valid
