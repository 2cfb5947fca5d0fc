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
    POSITION,
    REQUEST_ID,
    TS,
    TYPE,
    USER_ID,
    WATCH_MS,
    find_field,
    read_id,
    read_number,
    read_text,
    read_type,
)
from stream.wire import MAX_VALUE_BYTES

# Statuses of a record. Below ODD: bit i set = id i (event, user, item) has escapes.
GOOD = 0
ODD = 128

_WATCH, _ERASE = int(Action.WATCH), int(Action.ERASE)
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
    address: int, start: int, length: int, spans: NDArray[np.int64], count: int
) -> bool:
    """Tell whether an unknown name came before in the record."""
    for other in range(count):
        if spans[other, 1] != length:
            continue
        index = 0
        while index < length and load_byte(address, spans[other, 0] + index) == load_byte(
            address, start + index
        ):
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
def _scan_record(
    address: int,
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
    position = skip_space(address, position, end)
    separator = 0x7B  # An opening brace before the first field, a comma before the others.
    while position < end and load_byte(address, position) == separator:
        separator = 0x2C
        position = skip_space(address, position + 1, end)
        if position >= end or load_byte(address, position) != 0x22:
            return ODD, 0
        start = position + 1
        after = plain_string_end(address, start, end)
        if after < 0:
            return ODD, 0
        length = after - start
        field = find_field(address, start, length, end)
        position = skip_space(address, after + 1, end)
        if position >= end or load_byte(address, position) != 0x3A:
            return ODD, 0
        position = skip_space(address, position + 1, end)
        if field >= 0:
            if fields_seen & (1 << field):
                return ODD, 0
            fields_seen |= 1 << field
        if 0 <= field <= ITEM_ID:
            position, bit = read_id(address, position, end, field, record, starts, lengths)
            status |= bit
        elif TS <= field <= POSITION:
            position = read_number(address, position, end, field, record, numbers)
        elif field == TYPE:
            position, action = read_type(address, position, end)
        elif field >= REQUEST_ID:
            position = read_text(address, position, end)
        else:
            if num_unknown == _MAX_UNKNOWN or _is_repeated(
                address, start, length, unknown, num_unknown
            ):
                return ODD, 0
            unknown[num_unknown, 0], unknown[num_unknown, 1] = start, length
            num_unknown += 1
            position = skip_value(address, position, end)
        if position < 0:
            return ODD, 0
        position = skip_space(address, position, end)
    if separator != 0x2C or position >= end or load_byte(address, position) != 0x7D:
        return ODD, 0
    types[record] = action
    if skip_space(address, position + 1, end) != end:
        return ODD, 0
    if not _is_complete(fields_seen, action, record, lengths, numbers):
        return ODD, 0
    return status, num_unknown


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
        # Words are loaded from up to eight bytes before the end.
        if value_lengths[record] < 8 or value_lengths[record] > MAX_VALUE_BYTES:
            statuses[record], num_unknown[record] = ODD, 0
            continue
        status, count = _scan_record(
            address, begin, end, record, types, starts, lengths, numbers, unknown
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
