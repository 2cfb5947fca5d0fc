"""JSON of recommendation lists, encoded for a whole batch in one kernel.

One list is ``[{"id":"...","score":0.81,"sources":["trending"]},...]``, best first. Scores carry six
significant digits: a client orders by position, not by score, and short texts halve the bytes.
Absent on purpose: a Python object per item (50 of them cost more than the write to Redis).
"""

from __future__ import annotations

from math import floor, isfinite, log10

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.candidates import SOURCES, RecommendationBatch

_ID = np.frombuffer(b'{"id":"', np.uint8)
_SCORE = np.frombuffer(b'","score":', np.uint8)
_SOURCES = np.frombuffer(b',"sources":[', np.uint8)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_MAX_FLOAT_BYTES = 18  # "-1.23456e-38" is 12, a fixed "-0.0000123456" 13.
_NAMES = tuple(f'"{name}"'.encode() for name in SOURCES)
_NAME_ARENA = np.frombuffer(b"".join(_NAMES), np.uint8)
_NAME_SPLITS = np.cumsum([0, *map(len, _NAMES)], dtype=np.int64)
# Per item: the fixed parts, all names with commas, the closing "]}" and a comma.
_FIXED_BYTES = len(_ID) + len(_SCORE) + len(_SOURCES) + len(_NAME_ARENA) + len(SOURCES) + 3
_MAX_ESCAPE = 6  # One control character becomes \\u00XX.


@njit(cache=True, nogil=True)
def _put(out: NDArray[np.uint8], at: int, text: NDArray[np.uint8]) -> int:
    for index in range(len(text)):
        out[at + index] = text[index]
    return at + len(text)


@njit(cache=True, nogil=True)
def _put_escaped(
    out: NDArray[np.uint8], at: int, arena: NDArray[np.uint8], start: int, length: int
) -> int:
    for index in range(start, start + length):
        byte = arena[index]
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
def _put_digits(out: NDArray[np.uint8], at: int, number: int, width: int) -> int:
    """Write ``number`` with at least ``width`` digits, zero-padded."""
    digits = width
    rest = number
    for _ in range(width):
        rest //= 10
    while rest > 0:
        rest //= 10
        digits += 1
    for index in range(digits - 1, -1, -1):
        out[at + index] = 48 + number % 10
        number //= 10
    return at + digits


@njit(cache=True, nogil=True)
def _put_fraction(out: NDArray[np.uint8], at: int, number: int, width: int) -> int:
    """Write ``.`` and the fraction's digits without trailing zeros; nothing where it is zero."""
    if number == 0:
        return at
    out[at] = 46
    at = _put_digits(out, at + 1, number, width)
    while out[at - 1] == 48:
        at -= 1
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
    end: int
    exponent = int(floor(log10(value)))
    if -5 <= exponent <= 5:
        decimals = 5 - exponent
        scale = 1
        for _ in range(decimals):
            scale *= 10
        number = int(floor(value * scale + 0.5))
        at = _put_digits(out, at, number // scale, 1)
        end = _put_fraction(out, at, number % scale, decimals)
        return end
    number = int(floor(value / 10.0**exponent * 1e5 + 0.5))
    if number >= 1_000_000:
        number //= 10
        exponent += 1
    at = _put_digits(out, at, number // 100_000, 1)
    at = _put_fraction(out, at, number % 100_000, 5)
    out[at] = 101
    if exponent < 0:
        out[at + 1] = 45
        at += 1
        exponent = -exponent
    end = _put_digits(out, at + 1, exponent, 1)
    return end


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
) -> None:
    at = 0
    for user in range(len(splits) - 1):
        out_splits[user] = at
        out[at] = 91
        at += 1
        for item in range(splits[user], splits[user + 1]):
            if not isfinite(scores[item]):
                is_valid[user] = False
                break
            if item > splits[user]:
                out[at] = 44
                at += 1
            at = _put(out, at, _ID)
            start = id_splits[item]
            at = _put_escaped(out, at, arena, start, id_splits[item + 1] - start)
            at = _put(out, at, _SCORE)
            at = _put_float(out, at, float(scores[item]))
            at = _put(out, at, _SOURCES)
            is_first = True
            for source in range(ranks.shape[1]):
                if ranks[item, source] > 0:
                    if not is_first:
                        out[at] = 44
                        at += 1
                    is_first = False
                    begin, end = _NAME_SPLITS[source], _NAME_SPLITS[source + 1]
                    at = _put(out, at, _NAME_ARENA[begin:end])
            out[at] = 93
            out[at + 1] = 125
            at += 2
        out[at] = 93
        at += 1
    out_splits[len(splits) - 1] = at


def encode_lists(batch: RecommendationBatch) -> tuple[list[bytes], NDArray[np.bool_]]:
    """Encode the ``items`` field of every list of a batch.

    Returns:
        B JSON texts, UTF-8, and bool (B,): False where a score is NaN or infinite (the text is
        then cut off and must not be written).
    """
    count = len(batch.item_ids)
    arena = np.frombuffer(b"".join(batch.item_ids), np.uint8)
    id_splits = np.zeros(count + 1, np.int64)
    np.cumsum(np.fromiter(map(len, batch.item_ids), np.int64, count), out=id_splits[1:])
    bound = len(arena) * _MAX_ESCAPE + count * (_FIXED_BYTES + _MAX_FLOAT_BYTES) + 2 * len(batch)
    out = np.empty(bound, np.uint8)
    out_splits = np.empty(len(batch) + 1, np.int64)
    is_valid = np.ones(len(batch), np.bool_)
    _encode(out, out_splits, is_valid, batch.splits, arena, id_splits, batch.scores, batch.ranks)
    text = out.data
    borders: list[int] = out_splits.tolist()
    # One slice per list, not per item.
    texts = [bytes(text[begin:end]) for begin, end in zip(borders, borders[1:], strict=False)]
    return texts, is_valid
