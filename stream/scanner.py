"""One numba kernel over a slab of interactions: JSON straight into columns, no Python object.

The kernel only ever says yes: a record that it marks ``GOOD`` is one that the published model
accepts, with the same values. Whatever it does not recognise (a wrong type, a number out of range,
a field given twice, broken JSON) is ``ODD`` and judged by the model itself, record by record, so no
reason code is made here. Ids with escapes are the third case: the span is valid JSON, and msgspec
decodes it (:mod:`stream.decode`).

Absent on purpose: the future check, and anything that depends on the other records of the slab.
"""

# numba's decorator hides the kernels' types from mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.events import Action
from stream.json_lexer import (
    HAS_CONTROL,
    HAS_ESCAPE,
    plain_string_end,
    skip_null,
    skip_space,
    skip_string,
    skip_value,
)
from stream.wire import (
    ACTION_NAMES,
    MAX_ID_CHARS,
    MAX_POSITION,
    MAX_TIME_MS,
    MAX_VALUE_BYTES,
    MAX_WATCH_MS,
)

# Statuses of a record. Below ODD: bit i set = id i (event, user, item) has escapes.
GOOD = 0
ODD = 128

# Fields: 0-2 ids (rows of starts and lengths), 3-6 numbers (rows of numbers + 3), then the rest.
EVENT_ID, USER_ID, ITEM_ID, TS, WATCH_MS, DURATION_MS, POSITION, TYPE, REQUEST_ID, DEVICE = range(
    10
)
_FIELDS = [
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
]
# Largest good value of each number, in the order of the fields.
_MAX_NUMBERS = np.array([MAX_TIME_MS - 1, MAX_WATCH_MS, MAX_WATCH_MS, MAX_POSITION], np.int64)
_WATCH, _ERASE = int(Action.WATCH), int(Action.ERASE)
# More digits than this cannot be in range, and cannot overflow.
_MAX_DIGITS = 15
# More unknown fields than this in one record are left to the model.
_MAX_UNKNOWN = 16


def _word_table(names: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pack names one per row, zero-padded, with their lengths."""
    width = max(len(name) for name in names)
    packed = b"".join(name.encode().ljust(width, b"\0") for name in names)
    lengths = np.array([len(name) for name in names], np.int64)
    return np.frombuffer(packed, np.uint8).reshape(len(names), width), lengths


def _hash_word(word: bytes) -> int:
    """Spread a name by its length and first and last bytes; distinct for all names of a table."""
    return (len(word) + word[0] * 5 + word[-1]) & 31


def _slots(names: list[str]) -> NDArray[np.int64]:
    """Make the perfect-hash table: slot → row of the word table, -1 empty."""
    slots = np.full(32, -1, np.int64)
    for row, name in enumerate(names):
        slot = _hash_word(name.encode())
        assert slots[slot] < 0, f"{name} collides: choose another hash"
        slots[slot] = row
    return slots


_FIELD_WORDS, _FIELD_LENGTHS = _word_table(_FIELDS)
_FIELD_SLOTS = _slots(_FIELDS)
_TYPE_WORDS, _TYPE_LENGTHS = _word_table(list(ACTION_NAMES))
_TYPE_SLOTS = _slots(list(ACTION_NAMES))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedColumns:
    """What the scanner wrote, one column entry per record of the slab, good or not.

    Attributes:
        statuses: uint8 (E,): ``GOOD``, ``ODD``, or bits of the ids that have escapes.
        types: uint8 (E,), :class:`~stream.events.Action`.
        starts: int64 (3, E): event id, user id, item id.
        lengths: int32 (3, E), bytes; of an id with escapes: bytes between the quotes.
        numbers: int64 (4, E): ts, watch_ms, duration_ms, position; -1 where absent.
        num_unknown: int32 (E,), unknown fields of the record.
    """

    statuses: NDArray[np.uint8]
    types: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    numbers: NDArray[np.int64]
    num_unknown: NDArray[np.int32]

    @classmethod
    def empty(cls, count: int) -> ScannedColumns:
        """Make columns for ``count`` records; the scanner writes every entry."""
        return cls(
            statuses=np.empty(count, np.uint8),
            types=np.empty(count, np.uint8),
            starts=np.empty((3, count), np.int64),
            lengths=np.empty((3, count), np.int32),
            numbers=np.empty((4, count), np.int64),
            num_unknown=np.empty(count, np.int32),
        )


@njit(cache=True, nogil=True)
def _find_word(
    buffer: NDArray[np.uint8],
    start: int,
    length: int,
    slots: NDArray[np.int64],
    words: NDArray[np.uint8],
    word_lengths: NDArray[np.int64],
) -> int:
    """Return the row of a word in its table, -1 where it is none of them."""
    if length == 0:
        return -1
    spread = length + np.int64(buffer[start]) * 5 + np.int64(buffer[start + length - 1])
    row = slots[spread & 31]
    if row < 0 or word_lengths[row] != length:
        return -1
    for index in range(length):
        if buffer[start + index] != words[row, index]:
            return -1
    return row


@njit(cache=True, nogil=True)
def _read_integer(
    buffer: NDArray[np.uint8], position: int, end: int, largest: int
) -> tuple[int, np.int64]:
    """Read a plain integer in ``[0, largest]``; return position after it (-1 if not) and value."""
    first, value = position, np.int64(0)
    while position < end and 0x30 <= buffer[position] <= 0x39:
        value = value * 10 + (np.int64(buffer[position]) - 0x30)
        position += 1
        if position - first > _MAX_DIGITS:
            return -1, value
    if position == first or (buffer[first] == 0x30 and position > first + 1) or value > largest:
        return -1, value
    return position, value


@njit(cache=True, nogil=True)
def _read_number(
    buffer: NDArray[np.uint8],
    position: int,
    end: int,
    field: int,
    record: int,
    numbers: NDArray[np.int64],
) -> int:
    """Read one number field into its column; null means absent, except for ts."""
    if position < end and buffer[position] == 0x6E and field != TS:
        return skip_null(buffer, position, end)
    position, value = _read_integer(buffer, position, end, _MAX_NUMBERS[field - TS])
    if position >= 0:
        numbers[field - TS, record] = value
    return position


@njit(cache=True, nogil=True)
def _read_id(
    buffer: NDArray[np.uint8],
    position: int,
    end: int,
    field: int,
    record: int,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
) -> tuple[int, int]:
    """Read one id field into its columns; return the position after it and the escape bit."""
    if position < end and buffer[position] == 0x6E and field == ITEM_ID:
        return skip_null(buffer, position, end), 0
    if position >= end or buffer[position] != 0x22:
        return -1, 0
    start = position + 1
    after = plain_string_end(buffer, start, end)
    num_chars, bits = after - start, 0
    if after < 0:
        after, num_chars, bits = skip_string(buffer, start, end)
    if after < 0 or num_chars == 0 or num_chars > MAX_ID_CHARS or bits & HAS_CONTROL:
        return -1, 0
    starts[field, record] = start
    lengths[field, record] = after - start
    return after + 1, (1 << field) if bits & HAS_ESCAPE else 0


@njit(cache=True, nogil=True)
def _read_text(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    """Skip an optional text: a string of any content, or null."""
    if position < end and (buffer[position] == 0x22 or buffer[position] == 0x6E):
        return skip_value(buffer, position, end)
    return -1


@njit(cache=True, nogil=True)
def _is_repeated(
    buffer: NDArray[np.uint8], start: int, length: int, spans: NDArray[np.int64], count: int
) -> bool:
    """Tell whether an unknown name came before in the record."""
    for other in range(count):
        if spans[other, 1] != length:
            continue
        index = 0
        while index < length and buffer[spans[other, 0] + index] == buffer[start + index]:
            index += 1
        if index == length:
            return True
    return False


@njit(cache=True, nogil=True)
def _is_complete(
    fields_seen: int,
    action: int,
    record: int,
    lengths: NDArray[np.int32],
    numbers: NDArray[np.int64],
) -> bool:
    """Check that required fields came, and the rules between fields."""
    required = (1 << EVENT_ID) | (1 << USER_ID) | (1 << TS) | (1 << TYPE)
    if fields_seen & required != required:
        return False
    if action != _ERASE and lengths[ITEM_ID, record] == 0:
        return False
    return action != _WATCH or (
        numbers[WATCH_MS - TS, record] >= 0 and numbers[DURATION_MS - TS, record] > 0
    )


@njit(cache=True, nogil=True)
def _read_type(buffer: NDArray[np.uint8], position: int, end: int) -> tuple[int, int]:
    """Read the type's word; return the position after it (-1 if unknown) and the action."""
    if position >= end or buffer[position] != 0x22:
        return -1, 0
    after = plain_string_end(buffer, position + 1, end)
    if after < 0:
        return -1, 0
    length = after - position - 1
    action = _find_word(buffer, position + 1, length, _TYPE_SLOTS, _TYPE_WORDS, _TYPE_LENGTHS)
    return (after + 1 if action >= 0 else -1), action


@njit(cache=True, nogil=True)
def _scan_record(
    buffer: NDArray[np.uint8],
    position: int,
    end: int,
    record: int,
    types: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    numbers: NDArray[np.int64],
    unknown: NDArray[np.int64],
) -> tuple[int, int]:
    """Read one record into its columns; return its status and number of unknown fields.

    Every exit but the last is ``ODD``: the record may be bad or just unusual.
    """
    status, fields_seen, num_unknown, action = GOOD, 0, 0, 0
    position = skip_space(buffer, position, end)
    separator = 0x7B  # An opening brace before the first field, a comma before the others.
    while position < end and buffer[position] == separator:
        separator = 0x2C
        position = skip_space(buffer, position + 1, end)
        if position >= end or buffer[position] != 0x22:
            return ODD, 0
        start = position + 1
        after = plain_string_end(buffer, start, end)
        if after < 0:
            return ODD, 0
        length = after - start
        field = _find_word(buffer, start, length, _FIELD_SLOTS, _FIELD_WORDS, _FIELD_LENGTHS)
        position = skip_space(buffer, after + 1, end)
        if position >= end or buffer[position] != 0x3A:
            return ODD, 0
        position = skip_space(buffer, position + 1, end)
        if field >= 0:
            if fields_seen & (1 << field):
                return ODD, 0
            fields_seen |= 1 << field
        if 0 <= field <= ITEM_ID:
            position, bit = _read_id(buffer, position, end, field, record, starts, lengths)
            status |= bit
        elif TS <= field <= POSITION:
            position = _read_number(buffer, position, end, field, record, numbers)
        elif field == TYPE:
            position, action = _read_type(buffer, position, end)
        elif field >= REQUEST_ID:
            position = _read_text(buffer, position, end)
        else:
            if num_unknown == _MAX_UNKNOWN or _is_repeated(
                buffer, start, length, unknown, num_unknown
            ):
                return ODD, 0
            unknown[num_unknown, 0], unknown[num_unknown, 1] = start, length
            num_unknown += 1
            position = skip_value(buffer, position, end)
        if position < 0:
            return ODD, 0
        position = skip_space(buffer, position, end)
    if separator != 0x2C or position >= end or buffer[position] != 0x7D:
        return ODD, 0
    types[record] = action
    if skip_space(buffer, position + 1, end) != end:
        return ODD, 0
    if not _is_complete(fields_seen, action, record, lengths, numbers):
        return ODD, 0
    return status, num_unknown


@njit(cache=True, nogil=True)
def _scan(
    buffer: NDArray[np.uint8],
    value_starts: NDArray[np.int64],
    value_lengths: NDArray[np.int32],
    statuses: NDArray[np.uint8],
    types: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    numbers: NDArray[np.int64],
    num_unknown: NDArray[np.int32],
) -> None:
    unknown = np.empty((_MAX_UNKNOWN, 2), np.int64)
    for record in range(len(value_starts)):
        types[record] = 0
        for field in range(3):
            starts[field, record] = 0
            lengths[field, record] = 0
        for field in range(4):
            numbers[field, record] = -1
        begin = value_starts[record]
        end = begin + value_lengths[record]
        if value_lengths[record] <= 0 or value_lengths[record] > MAX_VALUE_BYTES:
            statuses[record], num_unknown[record] = ODD, 0
            continue
        status, count = _scan_record(
            buffer, begin, end, record, types, starts, lengths, numbers, unknown
        )
        statuses[record], num_unknown[record] = status, count


def scan_values(
    buffer: NDArray[np.uint8], value_starts: NDArray[np.int64], value_lengths: NDArray[np.int32]
) -> ScannedColumns:
    """Scan the values of a slab; entries of ``ODD`` records are unspecified but the status.

    Args:
        buffer: uint8, holds the values.
        value_starts: int64 (E,).
        value_lengths: int32 (E,); 0 and below is ``ODD``.
    """
    columns = ScannedColumns.empty(len(value_starts))
    _scan(
        buffer,
        value_starts,
        value_lengths,
        columns.statuses,
        columns.types,
        columns.starts,
        columns.lengths,
        columns.numbers,
        columns.num_unknown,
    )
    return columns
