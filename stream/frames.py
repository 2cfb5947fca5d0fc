"""Frames of `headwater-item-deltas`: delta rows packed for the owner of their items.

A frame, little-endian, version 2:

| bytes | what |
|---|---|
| 4 | ``HWF`` and the version |
| 4 | source partition |
| 8, 8 | source offsets covered, ``[begin, end)``; begin = end of the frame before |
| 4, 4, 4, 4 | rows R, pairs P, ids I, bytes of the ids |
| I | length of each id |
| ceil(I / 8) | bit per id, lowest first: the receiver owns the item |
| | bytes of the ids |
| | R rows: offset and time as differences (varint, zigzag varint), id ref (2), action (``SKIP`` of ``state.actions`` among them) and count + 1 (4 bits each), strength (zigzag varint), number of pairs (varint), then per pair id ref (2), lag (1), weight (1) |
| 8 | XXH64 of all before |

So a pair costs four bytes and an id stands once per frame. A row goes whole to the owner of its
item; the owner of an earlier item gets the same row with its own pairs only. Absent: producing.

Version 1 has the same bytes and is read as they stand. Its first writers named no skip, but said
WATCH, so that each of their skips counts as a touch too (docs/decisions/0015-formats.md).
"""  # noqa: E501 - a table row

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from state.deltas import DeltaRows
from state.frame_columns import FrameColumns
from state.hashing import hash64
from stream.events import Reject
from stream.frame_kernels import (
    CHECKSUM_BYTES,
    DESTINATION,
    HEADER_BYTES,
    OUT_END,
    OUT_START,
    assemble,
    lay_out,
    number_items,
)
from stream.frame_reading import read_rows
from stream.wire import Reason

# What is written, and what is read: a frame may lie in its topic for as long as Kafka retains it.
VERSION = 2
READABLE = (1, 2)
# Below Kafka's default of 1 MiB for a record, headers and batch included.
MAX_FRAME_BYTES = 900_000

_TAG = b"HWF"
_MAGIC = int.from_bytes(_TAG + bytes([VERSION]), "little")
_READABLE_MAGICS = frozenset(int.from_bytes(_TAG + bytes([each]), "little") for each in READABLE)
_HEADER = struct.Struct("<IIqqIIII")
_CHECKSUM = struct.Struct("<Q")
# A bad frame's bytes are kept for a person up to here.
_MAX_REJECT_BYTES = 256


def encode_frames(
    deltas: DeltaRows,
    *,
    arena: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    destinations: NDArray[np.int32],
    num_destinations: int,
    source_partition: int,
    froms: NDArray[np.int64],
    to: int,
    max_bytes: int = MAX_FRAME_BYTES,
) -> list[tuple[int, bytes]]:
    """Pack delta rows for every item partition that they concern.

    A destination without rows gets no frame: its next one still begins at its ``froms``.

    Args:
        deltas: Rows of one source partition, offsets ascending in ``[max(froms), to)``.
        arena: uint8, bytes of the ids of local item rows.
        starts: int64 (item rows,).
        lengths: int32 (item rows,), at most 255.
        destinations: int32 (item rows,), item partition that owns each.
        num_destinations: Q.
        source_partition: Partition that made the rows.
        froms: int64 (Q,), ``end`` of the previous frame to each destination.
        to: Source offset after the last covered.
        max_bytes: Bound of a frame; a larger one is cut between source offsets. A single row
            may exceed it by itself.

    Returns:
        (destination, frame) in the order in which each destination must get them.
    """
    num_rows = len(deltas)
    if num_rows == 0:
        return []
    if deltas.offsets[0] < froms.max() or deltas.offsets[-1] >= to:
        message = (
            f"expected rows within [{froms.max()}, {to}), got "
            f"[{deltas.offsets[0]}, {deltas.offsets[-1]}]: were these rows emitted before?"
        )
        raise ValueError(message)
    num_pairs = len(deltas.pair_item_rows)
    item_numbers = np.empty(num_rows, np.int32)
    pair_numbers = np.empty(num_pairs, np.int32)
    distinct = np.empty(num_rows + num_pairs, np.int32)
    table = np.full(1 << (2 * (num_rows + num_pairs)).bit_length(), -1, np.int64)
    count = number_items(deltas.item_rows, item_numbers, distinct, 0, table)
    count = number_items(deltas.pair_item_rows, pair_numbers, distinct, count, table)
    rows = distinct[:count]
    owners, id_starts, id_lengths = destinations[rows], starts[rows], lengths[rows]
    assert 0 <= owners.min() and owners.max() < num_destinations == len(froms)
    frames, body, frame_ids = lay_out(
        deltas.offsets,
        deltas.timestamps_ms,
        deltas.actions,
        deltas.counts,
        deltas.strengths,
        item_numbers,
        deltas.pair_splits,
        pair_numbers,
        deltas.pair_lags,
        deltas.pair_weights,
        owners,
        id_lengths,
        froms,
        to,
        max_bytes,
    )
    out = assemble(
        frames, body, frame_ids, owners, arena, id_starts, id_lengths, source_partition, _MAGIC
    )
    return [
        (int(frame[DESTINATION]), out[frame[OUT_START] : frame[OUT_END]].tobytes())
        for frame in frames
    ]


def decode_frame(frame: bytes, *, offset: int = -1) -> FrameColumns | Reject:
    """Unpack one frame; what is not whole and consistent is a reject (``offset`` names it).

    The columns refer to ``frame``'s bytes; nothing is copied but the numbers.
    """
    if len(frame) < HEADER_BYTES + CHECKSUM_BYTES:
        return _reject(frame, offset, f"expected at least a header, {len(frame)} bytes came")
    magic, source, begin, end, num_rows, num_pairs, num_ids, id_bytes = _HEADER.unpack_from(frame)
    if magic not in _READABLE_MAGICS:
        readable = " or ".join(map(str, READABLE))
        return _reject(frame, offset, f"expected HWF version {readable}, {frame[:4]!r} came")
    buffer = np.frombuffer(frame, np.uint8)
    body_end = len(frame) - CHECKSUM_BYTES
    if _CHECKSUM.unpack_from(frame, body_end)[0] != hash64(buffer, 0, body_end, 0):
        return _reject(frame, offset, "the checksum does not hold")
    flags_at = HEADER_BYTES + num_ids
    ids_at = flags_at + (num_ids + 7) // 8
    rows_at = ids_at + id_bytes
    # Sizes are bounded by the frame's own bytes before anything is allocated for them.
    if rows_at + 6 * num_rows + 4 * num_pairs > body_end or not 0 <= begin <= end:
        return _reject(frame, offset, "the header promises more than the frame holds")
    id_lengths = buffer[HEADER_BYTES:flags_at].astype(np.int32)
    ends = np.cumsum(id_lengths, dtype=np.int64)
    if num_ids and int(ends[-1]) != id_bytes:
        return _reject(frame, offset, "the lengths of the ids do not add up")
    flags = np.unpackbits(buffer[flags_at:ids_at], count=num_ids, bitorder="little")
    columns = FrameColumns(
        source_partition=source,
        begin=begin,
        end=end,
        buffer=buffer,
        id_starts=ids_at + ends - id_lengths,
        id_lengths=id_lengths,
        is_owned=flags.view(np.bool_),
        offsets=np.empty(num_rows, np.int64),
        item_refs=np.empty(num_rows, np.int32),
        timestamps_ms=np.empty(num_rows, np.int64),
        actions=np.empty(num_rows, np.uint8),
        counts=np.empty(num_rows, np.int8),
        strengths=np.empty(num_rows, np.int16),
        pair_splits=np.empty(num_rows + 1, np.int64),
        pair_refs=np.empty(num_pairs, np.int32),
        pair_lags=np.empty(num_pairs, np.uint8),
        pair_weights=np.empty(num_pairs, np.uint8),
    )
    broken = _fill(columns, rows_at, body_end)
    if broken >= 0:
        return _reject(frame, offset, f"row {broken} of {num_rows} is broken")
    return columns


def newer_version(frame: bytes) -> int | None:
    r"""Return the version of a frame that only a newer Headwater reads, None of all else.

    Whatever a version changes, its first four bytes stay what they are.

    >>> newer_version(b"HWF\x63..."), newer_version(b"HWF\x01..."), newer_version(b"{}")
    (99, None, None)
    """
    is_newer = len(frame) > len(_TAG) and frame.startswith(_TAG) and frame[len(_TAG)] > VERSION
    return frame[len(_TAG)] if is_newer else None


def _fill(columns: FrameColumns, rows_at: int, body_end: int) -> int:
    """Read a frame's rows into its columns; return the first broken row, -1 where none is."""
    broken: int = read_rows(
        columns.buffer,
        rows_at,
        body_end,
        columns.begin,
        columns.end,
        len(columns.id_lengths),
        columns.offsets,
        columns.item_refs,
        columns.timestamps_ms,
        columns.actions,
        columns.counts,
        columns.strengths,
        columns.pair_splits,
        columns.pair_refs,
        columns.pair_lags,
        columns.pair_weights,
    )
    return broken


def _reject(frame: bytes, offset: int, detail: str) -> Reject:
    return Reject(
        offset=offset, reason=Reason.BAD_FRAME, detail=detail, value=frame[:_MAX_REJECT_BYTES]
    )


def compile_kernels() -> None:
    """Compile, or load from the cache, the kernels that write and read frames."""
    deltas = DeltaRows(
        offsets=np.zeros(1, np.int64),
        item_rows=np.zeros(1, np.int32),
        timestamps_ms=np.zeros(1, np.int64),
        actions=np.zeros(1, np.uint8),
        counts=np.zeros(1, np.int8),
        strengths=np.zeros(1, np.int16),
        pair_splits=np.array([0, 1], np.int64),
        pair_item_rows=np.ones(1, np.int32),
        pair_lags=np.ones(1, np.uint8),
        pair_weights=np.ones(1, np.uint8),
    )
    frames = encode_frames(
        deltas,
        arena=np.frombuffer(b"ab", np.uint8).copy(),
        starts=np.array([0, 1], np.int64),
        lengths=np.ones(2, np.int32),
        destinations=np.zeros(2, np.int32),
        num_destinations=1,
        source_partition=0,
        froms=np.zeros(1, np.int64),
        to=1,
    )
    decode_frame(frames[0][1])
