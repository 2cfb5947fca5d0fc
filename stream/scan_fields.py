"""Fields of an interaction in numba: names to codes, values into the scratch row of one record.

The pieces of :mod:`stream.scanner`, which knows the record around them. Like the lexer, every
reader returns -1 where a value is bad *or* unusual.

The scratch row ``found`` is int64: ``found[field]`` is the start of an id, the value of a number or
the action of the type; ``found[LENGTHS + field]`` is the length of an id in bytes.
"""

# numba's decorator hides the kernels' types from mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.json_lexer import (
    HAS_CONTROL,
    HAS_ESCAPE,
    plain_string_end,
    skip_null,
    skip_string,
)
from stream.raw_bytes import load_byte, trailing_zeros, word_within
from stream.wire import (
    ACTION_NAMES,
    MAX_ID_CHARS,
    MAX_POSITION,
    MAX_TIME_MS,
    MAX_WATCH_MS,
)

# The position of a name is its code: ids, then numbers, then the rest.
FIELDS = (
    "event_id",
    "user_id",
    "item_id",
    "ts",
    "watch_ms",
    "duration_ms",
    "position",
    "type",
    "request_id",
    "device",
)
EVENT_ID, USER_ID, ITEM_ID = 0, 1, 2
TS, WATCH_MS, DURATION_MS, POSITION = 3, 4, 5, 6
TYPE, REQUEST_ID, DEVICE = 7, 8, 9
LENGTHS = 10

# Largest good value of each number, in the order of the fields.
_MAX_NUMBERS = np.array([MAX_TIME_MS - 1, MAX_WATCH_MS, MAX_WATCH_MS, MAX_POSITION], np.int64)
# Constants of reading eight digits at once.
_ZEROS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)
_HIGH_BITS = np.uint64(0x8080808080808080)
_PAIRS = np.uint64(0x000000FF000000FF)
_WEIGHTS_1_AND_3 = np.uint64(100 + (1_000_000 << 32))
_WEIGHTS_2_AND_4 = np.uint64(1 + (10_000 << 32))
_POWERS_OF_TEN = 10 ** np.arange(8, dtype=np.int64)
# Slots of a perfect hash table of names; a power of two.
_NUM_SLOTS_LOG2 = 5
_ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


def _halves(name: str) -> tuple[int, int]:
    """Return a name of at most 16 bytes as two little-endian words, zero-padded."""
    padded = name.encode().ljust(16, b"\0")
    assert len(padded) == 16, f"{name} is longer than the 16 bytes that the scanner compares"
    return int.from_bytes(padded[:8], "little"), int.from_bytes(padded[8:], "little")


def _name_table(names: tuple[str, ...]) -> tuple[np.uint64, NDArray[np.int64], NDArray[np.uint64]]:
    """Find a multiplier that puts every name into a slot of its own.

    Returns:
        The multiplier; int64 (slots,), code of the name in the slot, -1 without one; uint64
        (slots, 2), the name's words.
    """
    shift = 64 - _NUM_SLOTS_LOG2
    for multiplier in range(0x9E3779B97F4A7C15, 1 << 64, 2):
        slots = [((low * multiplier) & (2**64 - 1)) >> shift for low, _ in map(_halves, names)]
        if len(set(slots)) == len(names):
            break
    codes = np.full(1 << _NUM_SLOTS_LOG2, -1, np.int64)
    words = np.zeros((1 << _NUM_SLOTS_LOG2, 2), np.uint64)
    for code, (slot, name) in enumerate(zip(slots, names, strict=True)):
        codes[slot], words[slot] = code, _halves(name)
    return np.uint64(multiplier), codes, words


_FIELD_MULTIPLIER, _FIELD_CODES, _FIELD_WORDS = _name_table(FIELDS)
_TYPE_MULTIPLIER, _TYPE_CODES, _TYPE_WORDS = _name_table(ACTION_NAMES)


@njit(cache=True, nogil=True)
def _low_bytes(word: np.uint64, count: int) -> np.uint64:
    """Keep the first ``count`` bytes of a word; all from 8 on."""
    if count >= 8:
        return word
    return word & ~(_ALL_BITS << np.uint64(8 * count))


@njit(cache=True, nogil=True)
def _slot_of(low: np.uint64, multiplier: np.uint64) -> np.int64:
    return np.int64((low * multiplier) >> np.uint64(64 - _NUM_SLOTS_LOG2))


@njit(cache=True, nogil=True)
def find_field(address: int, start: int, length: int, end: int) -> int:
    """Return the code of a field's name, -1 where it is unknown."""
    if length > 16:
        return -1
    low = _low_bytes(word_within(address, start, end), length)
    high = np.uint64(0)
    if length > 8:
        high = _low_bytes(word_within(address, start + 8, end), length - 8)
    slot = _slot_of(low, _FIELD_MULTIPLIER)
    is_known = _FIELD_WORDS[slot, 0] == low and _FIELD_WORDS[slot, 1] == high
    return _FIELD_CODES[slot] if is_known else -1


@njit(cache=True, nogil=True)
def read_type(address: int, position: int, end: int, found: NDArray[np.int64]) -> int:
    """Read the type's word as its action; -1 where it is unknown."""
    if position >= end or load_byte(address, position) != 0x22:
        return -1
    start = position + 1
    after = plain_string_end(address, start, end)
    length = after - start
    if length <= 0 or length > 16:
        return -1
    low = _low_bytes(word_within(address, start, end), length)
    high = np.uint64(0)
    if length > 8:
        high = _low_bytes(word_within(address, start + 8, end), length - 8)
    slot = _slot_of(low, _TYPE_MULTIPLIER)
    if _TYPE_WORDS[slot, 0] != low or _TYPE_WORDS[slot, 1] != high:
        return -1
    found[TYPE] = _TYPE_CODES[slot]
    return after + 1


@njit(cache=True, nogil=True)
def _read_digits(address: int, position: int, end: int) -> tuple[int, np.int64]:
    """Read the digits among the next eight bytes; return how many there are and their value.

    Source: D. Lemire, Quickly parsing eight digits (2018),
    https://lemire.me/blog/2018/10/03/quickly-parsing-eight-digits/
    """
    if position >= end:
        return 0, np.int64(0)
    digits = word_within(address, position, end) ^ _ZEROS
    others = ((digits + _ABOVE_NINE) | digits) & _HIGH_BITS
    count = trailing_zeros(others) >> 3
    if count == 0:
        return 0, np.int64(0)
    digits <<= np.uint64(64 - 8 * count)
    digits = digits * np.uint64(10) + (digits >> np.uint64(8))
    pairs = (digits & _PAIRS) * _WEIGHTS_1_AND_3
    pairs += ((digits >> np.uint64(16)) & _PAIRS) * _WEIGHTS_2_AND_4
    return count, np.int64(pairs >> np.uint64(32))


@njit(cache=True, nogil=True)
def _read_integer(address: int, position: int, end: int, largest: int) -> tuple[int, np.int64]:
    """Read a plain integer in ``[0, largest]``; return position after it (-1 if not) and value."""
    count, value = _read_digits(address, position, end)
    if count == 8:
        more, low = _read_digits(address, position + 8, end)
        if more == 8:  # More digits than any bound has.
            return -1, value
        value = value * _POWERS_OF_TEN[more] + low
        count += more
    has_leading_zero = count > 1 and load_byte(address, position) == 0x30
    if count == 0 or has_leading_zero or value > largest:
        return -1, value
    return position + count, value


@njit(cache=True, nogil=True)
def read_number(address: int, position: int, end: int, field: int, found: NDArray[np.int64]) -> int:
    """Read one number; null means absent, except for ts."""
    if position < end and load_byte(address, position) == 0x6E and field != TS:
        return skip_null(address, position, end)
    position, value = _read_integer(address, position, end, _MAX_NUMBERS[field - TS])
    if position >= 0:
        found[field] = value
    return position


@njit(cache=True, nogil=True)
def read_id(
    address: int, position: int, end: int, field: int, found: NDArray[np.int64]
) -> tuple[int, int]:
    """Read one id; return the position after it, and ``1 << field`` where it has escapes."""
    if position < end and load_byte(address, position) == 0x6E and field == ITEM_ID:
        return skip_null(address, position, end), 0
    if position >= end or load_byte(address, position) != 0x22:
        return -1, 0
    start = position + 1
    after = plain_string_end(address, start, end)
    num_chars, bits = after - start, 0
    if after < 0:
        after, num_chars, bits = skip_string(address, start, end)
    if after < 0 or num_chars == 0 or num_chars > MAX_ID_CHARS or bits & HAS_CONTROL:
        return -1, 0
    found[field] = start
    found[LENGTHS + field] = after - start
    return after + 1, (1 << field) if bits & HAS_ESCAPE else 0


@njit(cache=True, nogil=True)
def skip_text(address: int, position: int, end: int) -> int:
    """Skip an optional text: a string of any content, or null."""
    if position >= end:
        return -1
    if load_byte(address, position) == 0x6E:
        return skip_null(address, position, end)
    if load_byte(address, position) != 0x22:
        return -1
    after = plain_string_end(address, position + 1, end)
    if after < 0:
        after, _, _ = skip_string(address, position + 1, end)
    return after + 1 if after >= 0 else -1
