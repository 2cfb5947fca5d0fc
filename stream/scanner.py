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
from stream.json_lexer import plain_string_end, skip_space, skip_value
from stream.raw_bytes import load_byte
from stream.scan_fields import (
    DURATION_MS,
    EVENT_ID,
    ITEM_ID,
    LENGTHS,
    POSITION,
    TS,
    TYPE,
    USER_ID,
    WATCH_MS,
    find_field,
    read_id,
    read_number,
    read_type,
    skip_text,
)
from stream.wire import MAX_VALUE_BYTES

# Statuses of a record. Below ODD: bit i set = id i (event, user, item) has escapes.
GOOD = 0
ODD = 128

_WATCH, _ERASE = int(Action.WATCH), int(Action.ERASE)
_REQUIRED = (1 << EVENT_ID) | (1 << USER_ID) | (1 << TS) | (1 << TYPE)
# In the scratch row: start and length of each unknown field's name, from here on.
_UNKNOWN = LENGTHS + 3
# More unknown fields than this in one record are left to the model.
_MAX_UNKNOWN = 16


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
def _is_repeated(
    address: int, start: int, length: int, found: NDArray[np.int64], num_unknown: int
) -> bool:
    """Tell whether an unknown name came before in the record."""
    for other in range(_UNKNOWN, _UNKNOWN + 2 * num_unknown, 2):
        if found[other + 1] != length:
            continue
        earlier, index = found[other], 0
        while index < length and (
            load_byte(address, earlier + index) == load_byte(address, start + index)
        ):
            index += 1
        if index == length:
            return True
    return False


@njit(cache=True, nogil=True)
def _is_complete(fields_seen: int, found: NDArray[np.int64]) -> bool:
    """Check that required fields came, and the rules between fields."""
    if fields_seen & _REQUIRED != _REQUIRED:
        return False
    if found[TYPE] == _WATCH and (found[WATCH_MS] < 0 or found[DURATION_MS] <= 0):
        return False
    return found[TYPE] == _ERASE or found[LENGTHS + ITEM_ID] > 0


@njit(cache=True, nogil=True)
def _scan_record(
    address: int, position: int, end: int, found: NDArray[np.int64]
) -> tuple[int, int]:
    """Read one record into the scratch row; return its status and number of unknown fields.

    Every exit but the last is ``ODD``: the record may be bad or just unusual.
    """
    status, fields_seen, num_unknown = GOOD, 0, 0
    position = skip_space(address, position, end)
    separator = 0x7B  # An opening brace before the first field, a comma before the others.
    while position < end and load_byte(address, position) == separator:
        separator = 0x2C
        start = skip_space(address, position + 1, end) + 1
        if start >= end or load_byte(address, start - 1) != 0x22:
            return ODD, 0
        after = plain_string_end(address, start, end)
        if after < 0:
            return ODD, 0
        field = find_field(address, start, after - start, end)
        position = skip_space(address, after + 1, end)
        if position >= end or load_byte(address, position) != 0x3A:
            return ODD, 0
        position = skip_space(address, position + 1, end)
        if field >= 0:
            if fields_seen & (1 << field):
                return ODD, 0
            fields_seen |= 1 << field
        if field < 0:
            if num_unknown == _MAX_UNKNOWN:
                return ODD, 0
            if _is_repeated(address, start, after - start, found, num_unknown):
                return ODD, 0
            found[_UNKNOWN + 2 * num_unknown] = start
            found[_UNKNOWN + 2 * num_unknown + 1] = after - start
            num_unknown += 1
            position = skip_value(address, position, end)
        elif field <= ITEM_ID:
            position, bit = read_id(address, position, end, field, found)
            status |= bit
        elif field <= POSITION:
            position = read_number(address, position, end, field, found)
        elif field == TYPE:
            position = read_type(address, position, end, found)
        else:
            position = skip_text(address, position, end)
        if position < 0:
            return ODD, 0
        position = skip_space(address, position, end)
    is_closed = separator == 0x2C and position < end and load_byte(address, position) == 0x7D
    if not is_closed or skip_space(address, position + 1, end) != end:
        return ODD, 0
    return (status, num_unknown) if _is_complete(fields_seen, found) else (ODD, 0)


@njit(cache=True, nogil=True)
def _scan(
    address: int,
    value_starts: NDArray[np.int64],
    value_lengths: NDArray[np.int32],
    statuses: NDArray[np.uint8],
    types: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    numbers: NDArray[np.int64],
    num_unknown: NDArray[np.int32],
) -> None:
    found = np.empty(_UNKNOWN + 2 * _MAX_UNKNOWN, np.int64)
    for record in range(len(value_starts)):
        begin, length = value_starts[record], np.int64(value_lengths[record])
        found[:TS] = 0
        found[TS:TYPE] = -1
        found[TYPE:_UNKNOWN] = 0
        status, count = ODD, 0
        # Words are loaded from up to eight bytes before the end.
        if 8 <= length <= MAX_VALUE_BYTES:
            status, count = _scan_record(address, begin, begin + length, found)
        statuses[record], num_unknown[record], types[record] = status, count, found[TYPE]
        for field in range(3):
            starts[field, record] = found[field]
            lengths[field, record] = found[LENGTHS + field]
        for field in range(4):
            numbers[field, record] = found[TS + field]


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
        buffer.ctypes.data,
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
