"""Strict JSON (RFC 8259) over bytes in numba: where a token ends, and nothing else.

Every function takes a position inside ``[begin, end)`` of the buffer and returns the position
after what it read, or -1 where that is not strict JSON *or* not worth reading fast (nesting beyond
a bound, numbers of hundreds of digits). A caller that meets -1 asks a full parser.

Absent on purpose: values. No number is converted and no escape decoded here.
"""

# numba's decorator hides the kernels' types from mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
_TRUE = np.frombuffer(b"true", np.uint8)
_FALSE = np.frombuffer(b"false", np.uint8)
_NULL = np.frombuffer(b"null", np.uint8)

# Bits of what a string was seen to hold.
HAS_ESCAPE = 1
HAS_CONTROL = 2


@njit(cache=True, nogil=True)
def skip_space(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    """Return the first position in ``[position, end]`` that is not JSON white space."""
    while position < end:
        byte = buffer[position]
        if byte != 0x20 and byte != 0x0A and byte != 0x0D and byte != 0x09:
            break
        position += 1
    return position


@njit(cache=True, nogil=True)
def plain_string_end(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    """Return the position of the closing quote, -1 unless all before is plain printable ASCII.

    ``position`` is the first byte after the opening quote.
    """
    while position < end:
        kind = _STRING_CLASSES[buffer[position]]
        if kind != _PLAIN:
            return position if kind == _QUOTE else -1
        position += 1
    return -1


@njit(cache=True, nogil=True)
def _hex_value(buffer: NDArray[np.uint8], position: int, end: int) -> np.int64:
    """Read four hexadecimal digits; -1 where there are none."""
    if position + 4 > end:
        return np.int64(-1)
    value = np.int64(0)
    for index in range(position, position + 4):
        byte = np.int64(buffer[index])
        if 0x30 <= byte <= 0x39:
            digit = byte - 0x30
        elif 0x41 <= (byte & 0xDF) <= 0x46:
            digit = (byte & 0xDF) - 0x37
        else:
            return np.int64(-1)
        value = value * 16 + digit
    return value


@njit(cache=True, nogil=True)
def _skip_escape(buffer: NDArray[np.uint8], position: int, end: int) -> tuple[int, int]:
    """Skip one escape (a surrogate pair is one); ``position`` is the backslash.

    Returns the position after it, -1 if it is none; and the bits that the string gets.
    """
    if position + 1 >= end:
        return -1, 0
    letter = buffer[position + 1]
    if letter != 0x75:  # Not u: the quote, backslash and slash stand for themselves.
        is_control = letter >= 0x62
        bits = HAS_ESCAPE | HAS_CONTROL if is_control else HAS_ESCAPE
        return (position + 2 if _IS_SIMPLE_ESCAPE[letter] else -1), bits
    unit = _hex_value(buffer, position + 2, end)
    if unit < 0 or 0xDC00 <= unit <= 0xDFFF:
        return -1, 0
    position += 6
    if 0xD800 <= unit <= 0xDBFF:
        if position + 2 > end or buffer[position] != 0x5C or buffer[position + 1] != 0x75:
            return -1, 0
        low = _hex_value(buffer, position + 2, end)
        if low < 0xDC00 or low > 0xDFFF:
            return -1, 0
        position += 6
    is_control = unit < 0x20 or 0x7F <= unit <= 0x9F
    return position, HAS_ESCAPE | HAS_CONTROL if is_control else HAS_ESCAPE


@njit(cache=True, nogil=True)
def _skip_wide(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    """Skip one UTF-8 sequence of two to four bytes: shortest form, no surrogates, <= U+10FFFF."""
    lead = np.int64(buffer[position])
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
    if position + length > end or not low <= buffer[position + 1] <= high:
        return -1
    for index in range(position + 2, position + length):
        if buffer[index] & 0xC0 != 0x80:
            return -1
    return position + length


@njit(cache=True, nogil=True)
def skip_string(buffer: NDArray[np.uint8], position: int, end: int) -> tuple[int, int, int]:
    """Skip a string of any kind; ``position`` is the first byte after the opening quote.

    Returns:
        Position of the closing quote or -1; number of characters (an escape counts as one);
        bits ``HAS_ESCAPE`` and ``HAS_CONTROL`` (a C0, DEL or C1 character, escaped or not).
    """
    num_chars, bits = 0, 0
    while position < end:
        kind = _STRING_CLASSES[buffer[position]]
        if kind == _QUOTE:
            return position, num_chars, bits
        if kind == _PLAIN:
            position += 1
        elif kind == _DELETE:
            bits |= HAS_CONTROL
            position += 1
        elif kind == _ESCAPE:
            position, seen = _skip_escape(buffer, position, end)
            bits |= seen
        elif kind == _WIDE:
            start = position
            position = _skip_wide(buffer, position, end)
            if position == start + 2 and buffer[start] == 0xC2 and buffer[start + 1] < 0xA0:
                bits |= HAS_CONTROL
        else:
            position = -1
        if position < 0:
            break
        num_chars += 1
    return -1, 0, 0


@njit(cache=True, nogil=True)
def _skip_digits(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    while position < end and 0x30 <= buffer[position] <= 0x39:
        position += 1
    return position


@njit(cache=True, nogil=True)
def skip_number(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    """Skip ``-? int frac? exp?``; -1 where it is no number or an extremely long one."""
    begin = position
    if position < end and buffer[position] == 0x2D:
        position += 1
    first = position
    position = _skip_digits(buffer, position, end)
    if position == first or (buffer[first] == 0x30 and position > first + 1):
        return -1
    if position < end and buffer[position] == 0x2E:
        first = position + 1
        position = _skip_digits(buffer, first, end)
        if position == first:
            return -1
    if position < end and buffer[position] & 0xDF == 0x45:
        position += 1
        if position < end and (buffer[position] == 0x2B or buffer[position] == 0x2D):
            position += 1
        first = position
        position = _skip_digits(buffer, first, end)
        if position == first:
            return -1
    return position if position - begin <= _MAX_NUMBER_CHARS else -1


@njit(cache=True, nogil=True)
def _skip_word(buffer: NDArray[np.uint8], position: int, end: int, word: NDArray[np.uint8]) -> int:
    if position + len(word) > end:
        return -1
    for index in range(len(word)):
        if buffer[position + index] != word[index]:
            return -1
    return position + len(word)


@njit(cache=True, nogil=True)
def skip_null(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    """Skip the word ``null``."""
    return _skip_word(buffer, position, end, _NULL)


@njit(cache=True, nogil=True)
def skip_scalar(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    """Skip a string, number, true, false or null that starts at ``position``."""
    if position >= end:
        return -1
    byte = buffer[position]
    if byte == 0x22:
        after, _, _ = skip_string(buffer, position + 1, end)
        return after + 1 if after >= 0 else -1
    if byte == 0x74:
        return _skip_word(buffer, position, end, _TRUE)
    if byte == 0x66:
        return _skip_word(buffer, position, end, _FALSE)
    if byte == 0x6E:
        return skip_null(buffer, position, end)
    return skip_number(buffer, position, end)


@njit(cache=True, nogil=True)
def _skip_key(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    """Skip white space, a key and its colon."""
    position = skip_space(buffer, position, end)
    if position >= end or buffer[position] != 0x22:
        return -1
    position, _, _ = skip_string(buffer, position + 1, end)
    if position < 0:
        return -1
    position = skip_space(buffer, position + 1, end)
    return position + 1 if position < end and buffer[position] == 0x3A else -1


@njit(cache=True, nogil=True)
def skip_value(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    """Skip any value that is a field of the record: the record itself is the first level."""
    depth = 1
    objects = np.uint64(0)  # One bit per open level below the record, the innermost lowest.
    while True:
        position = skip_space(buffer, position, end)
        if position >= end:
            return -1
        byte = buffer[position]
        if byte == 0x7B or byte == 0x5B:
            depth += 1
            if depth > MAX_DEPTH:
                return -1
            is_object = byte == 0x7B
            objects = (objects << np.uint64(1)) | np.uint64(is_object)
            inside = skip_space(buffer, position + 1, end)
            if inside >= end or buffer[inside] != byte + 2:  # Not empty: its first value.
                position = _skip_key(buffer, inside, end) if is_object else inside
                if position < 0:
                    return -1
                continue
            position = inside  # Empty: closed below.
        else:
            position = skip_scalar(buffer, position, end)
            if position < 0:
                return -1
        while depth > 1:
            position = skip_space(buffer, position, end)
            if position >= end:
                return -1
            is_object = objects & np.uint64(1) != 0
            if buffer[position] == 0x2C:
                position = _skip_key(buffer, position + 1, end) if is_object else position + 1
                break
            if buffer[position] != (0x7D if is_object else 0x5D):
                return -1
            objects >>= np.uint64(1)
            depth -= 1
            position += 1
        if depth == 1 or position < 0:
            return position
