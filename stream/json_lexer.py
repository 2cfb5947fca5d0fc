"""Strict JSON (RFC 8259) over bytes in numba: where a token ends, and nothing else.

Every function takes the address of a buffer (:mod:`stream.raw_bytes`), a position in it and the
end of the record, reads nothing at or after the end, and returns the position after what it read,
or -1 where that is not strict JSON *or* not worth reading fast (nesting beyond a bound, numbers of
hundreds of digits). A caller that meets -1 asks a full parser. Records have at least eight bytes.

Absent on purpose: values. No number is converted and no escape decoded here.
"""

# numba's decorator hides the kernels' types from mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numpy as np
from numba import njit

from stream.raw_bytes import load_byte, trailing_zeros, word_within
from stream.wire import MAX_DEPTH

# A number of more characters is left to a full parser.
_MAX_NUMBER_CHARS = 256

# Classes of bytes inside a string.
_PLAIN, _QUOTE, _ESCAPE, _BAD, _DELETE, _WIDE = 0, 1, 2, 3, 4, 5
_STRING_CLASSES = np.full(256, _PLAIN, np.uint8)
_STRING_CLASSES[:0x20] = _BAD
_STRING_CLASSES[ord('"')] = _QUOTE
_STRING_CLASSES[ord("\\")] = _ESCAPE
_STRING_CLASSES[0x7F] = _DELETE
_STRING_CLASSES[0x80:] = _WIDE

_IS_SIMPLE_ESCAPE = np.zeros(256, np.bool_)
_IS_SIMPLE_ESCAPE[list(b'"\\/bfnrt')] = True
# The words of JSON as little-endian integers.
_TRUE = np.uint64(int.from_bytes(b"true", "little"))
_FALSE = np.uint64(int.from_bytes(b"false", "little"))
_NULL = np.uint64(int.from_bytes(b"null", "little"))

_LOW_ESCAPE = np.uint64(int.from_bytes(b"\\u", "little"))
_TWO_BYTES = np.uint64(0xFFFF)

# Eight times the same byte.
_ONES = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_SPACES = np.uint64(0x2020202020202020)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)

# Bits of what a string was seen to hold.
HAS_ESCAPE = 1
HAS_CONTROL = 2


@njit(cache=True, nogil=True)
def skip_space(address: int, position: int, end: int) -> int:
    """Return the first position in ``[position, end]`` that is not JSON white space."""
    while position < end:
        byte = load_byte(address, position)
        if byte != 0x20 and byte != 0x0A and byte != 0x0D and byte != 0x09:
            break
        position += 1
    return position


@njit(cache=True, nogil=True)
def plain_string_end(address: int, position: int, end: int) -> int:
    """Return the position of the closing quote, -1 unless all before is plain printable ASCII.

    ``position`` is the first byte after the opening quote. Eight bytes at a time: the high bit of
    a byte of ``hits`` is set where the byte is a quote, a backslash, or outside of ``[0x20, 0x7F)``
    (borrows and carries only disturb bytes above the lowest hit, and only that one is read).
    Source: S. E. Anderson, Bit Twiddling Hacks, "Determine if a word has a zero byte",
    https://graphics.stanford.edu/~seander/bithacks.html
    """
    while position < end:
        word = word_within(address, position, end)
        quotes = word ^ _QUOTES
        backslashes = word ^ _BACKSLASHES
        hits = (quotes - _ONES) & ~quotes
        hits |= (backslashes - _ONES) & ~backslashes
        hits |= ((word - _SPACES) & ~word) | (word + _ONES) | word
        hits &= _HIGH_BITS
        if hits != np.uint64(0):
            position += trailing_zeros(hits) >> 3
            return position if position < end and load_byte(address, position) == 0x22 else -1
        position += 8
    return -1


@njit(cache=True, nogil=True)
def _hex_value(address: int, position: int, end: int) -> np.int64:
    """Read four hexadecimal digits; -1 where there are none."""
    if position + 4 > end:
        return np.int64(-1)
    value = np.int64(0)
    for index in range(position, position + 4):
        byte = load_byte(address, index)
        if 0x30 <= byte <= 0x39:
            digit = byte - 0x30
        elif 0x41 <= (byte & 0xDF) <= 0x46:
            digit = (byte & 0xDF) - 0x37
        else:
            return np.int64(-1)
        value = value * 16 + digit
    return value


@njit(cache=True, nogil=True)
def _skip_escape(address: int, position: int, end: int) -> tuple[int, int]:
    """Skip one escape (a surrogate pair is one); ``position`` is the backslash.

    Returns the position after it, -1 if it is none; and the bits that the string gets.
    """
    if position + 1 >= end:
        return -1, 0
    letter = load_byte(address, position + 1)
    if letter != 0x75:  # Not u: the quote, backslash and slash stand for themselves.
        is_control = letter >= 0x62
        bits = HAS_ESCAPE | HAS_CONTROL if is_control else HAS_ESCAPE
        return (position + 2 if _IS_SIMPLE_ESCAPE[letter] else -1), bits
    unit = _hex_value(address, position + 2, end)
    if unit < 0 or 0xDC00 <= unit <= 0xDFFF:
        return -1, 0
    position += 6
    if 0xD800 <= unit <= 0xDBFF:
        if (
            position + 2 > end
            or load_byte(address, position) != 0x5C
            or load_byte(address, position + 1) != 0x75
        ):
            return -1, 0
        low = _hex_value(address, position + 2, end)
        if low < 0xDC00 or low > 0xDFFF:
            return -1, 0
        position += 6
    is_control = unit < 0x20 or 0x7F <= unit <= 0x9F
    return position, HAS_ESCAPE | HAS_CONTROL if is_control else HAS_ESCAPE


@njit(cache=True, nogil=True)
def _skip_wide(address: int, position: int, end: int) -> int:
    """Skip one UTF-8 sequence of two to four bytes: shortest form, no surrogates, <= U+10FFFF."""
    lead = load_byte(address, position)
    if 0xC2 <= lead <= 0xDF:
        length, low, high = 2, 0x80, 0xBF
    elif 0xE0 <= lead <= 0xEF:
        length = 3
        low = 0xA0 if lead == 0xE0 else 0x80
        high = 0x9F if lead == 0xED else 0xBF
    elif 0xF0 <= lead <= 0xF4:
        length = 4
        low = 0x90 if lead == 0xF0 else 0x80
        high = 0x8F if lead == 0xF4 else 0xBF
    else:
        return -1
    if position + length > end or not low <= load_byte(address, position + 1) <= high:
        return -1
    for index in range(position + 2, position + length):
        if load_byte(address, index) & 0xC0 != 0x80:
            return -1
    return position + length


@njit(cache=True, nogil=True)
def skip_string(address: int, position: int, end: int) -> tuple[int, int, int]:
    """Skip a string of any kind; ``position`` is the first byte after the opening quote.

    Returns:
        Position of the closing quote or -1; number of characters (an escape counts as one);
        bits ``HAS_ESCAPE`` and ``HAS_CONTROL`` (a C0, DEL or C1 character, escaped or not).
    """
    num_chars, bits = 0, 0
    while position < end:
        kind = _STRING_CLASSES[load_byte(address, position)]
        if kind == _QUOTE:
            return position, num_chars, bits
        if kind == _PLAIN:
            position += 1
        elif kind == _DELETE:
            bits |= HAS_CONTROL
            position += 1
        elif kind == _ESCAPE:
            position, seen = _skip_escape(address, position, end)
            bits |= seen
        elif kind == _WIDE:
            start = position
            position = _skip_wide(address, position, end)
            if (
                position == start + 2
                and load_byte(address, start) == 0xC2
                and load_byte(address, start + 1) < 0xA0
            ):
                bits |= HAS_CONTROL
        else:
            position = -1
        if position < 0:
            break
        num_chars += 1
    return -1, 0, 0


@njit(cache=True, nogil=True)
def _skip_digits(address: int, position: int, end: int) -> int:
    while position < end and 0x30 <= load_byte(address, position) <= 0x39:
        position += 1
    return position


@njit(cache=True, nogil=True)
def skip_number(address: int, position: int, end: int) -> int:
    """Skip ``-? int frac? exp?``; -1 where it is no number or an extremely long one."""
    begin = position
    if position < end and load_byte(address, position) == 0x2D:
        position += 1
    first = position
    position = _skip_digits(address, position, end)
    if position == first or (load_byte(address, first) == 0x30 and position > first + 1):
        return -1
    if position < end and load_byte(address, position) == 0x2E:
        first = position + 1
        position = _skip_digits(address, first, end)
        if position == first:
            return -1
    if position < end and load_byte(address, position) & 0xDF == 0x45:
        position += 1
        if position < end and (
            load_byte(address, position) == 0x2B or load_byte(address, position) == 0x2D
        ):
            position += 1
        first = position
        position = _skip_digits(address, first, end)
        if position == first:
            return -1
    return position if position - begin <= _MAX_NUMBER_CHARS else -1


@njit(cache=True, nogil=True)
def _skip_word(address: int, position: int, end: int, word: np.uint64, length: int) -> int:
    if position + length > end:
        return -1
    mask = (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)
    return position + length if word_within(address, position, end) & mask == word else -1


@njit(cache=True, nogil=True)
def skip_null(address: int, position: int, end: int) -> int:
    """Skip the word ``null``."""
    return _skip_word(address, position, end, _NULL, 4)


@njit(cache=True, nogil=True)
def skip_scalar(address: int, position: int, end: int) -> int:
    """Skip a string, number, true, false or null that starts at ``position``."""
    if position >= end:
        return -1
    byte = load_byte(address, position)
    if byte == 0x22:
        after, _, _ = skip_string(address, position + 1, end)
        return after + 1 if after >= 0 else -1
    if byte == 0x74:
        return _skip_word(address, position, end, _TRUE, 4)
    if byte == 0x66:
        return _skip_word(address, position, end, _FALSE, 5)
    if byte == 0x6E:
        return skip_null(address, position, end)
    return skip_number(address, position, end)


@njit(cache=True, nogil=True)
def _skip_key(address: int, position: int, end: int) -> int:
    """Skip white space, a key and its colon."""
    position = skip_space(address, position, end)
    if position >= end or load_byte(address, position) != 0x22:
        return -1
    position, _, _ = skip_string(address, position + 1, end)
    if position < 0:
        return -1
    position = skip_space(address, position + 1, end)
    return position + 1 if position < end and load_byte(address, position) == 0x3A else -1


@njit(cache=True, nogil=True)
def skip_value(address: int, position: int, end: int) -> int:
    """Skip any value that is a field of the record: the record itself is the first level."""
    depth = 1
    objects = np.uint64(0)  # One bit per open level below the record, the innermost lowest.
    while True:
        position = skip_space(address, position, end)
        if position >= end:
            return -1
        byte = load_byte(address, position)
        if byte == 0x7B or byte == 0x5B:
            depth += 1
            if depth > MAX_DEPTH:
                return -1
            is_object = byte == 0x7B
            objects = (objects << np.uint64(1)) | np.uint64(is_object)
            inside = skip_space(address, position + 1, end)
            if (
                inside >= end or load_byte(address, inside) != byte + 2
            ):  # Not empty: its first value.
                position = _skip_key(address, inside, end) if is_object else inside
                if position < 0:
                    return -1
                continue
            position = inside  # Empty: closed below.
        else:
            position = skip_scalar(address, position, end)
            if position < 0:
                return -1
        while depth > 1:
            position = skip_space(address, position, end)
            if position >= end:
                return -1
            is_object = objects & np.uint64(1) != 0
            if load_byte(address, position) == 0x2C:
                position = _skip_key(address, position + 1, end) if is_object else position + 1
                break
            if load_byte(address, position) != (0x7D if is_object else 0x5D):
                return -1
            objects >>= np.uint64(1)
            depth -= 1
            position += 1
        if depth == 1 or position < 0:
            return position
