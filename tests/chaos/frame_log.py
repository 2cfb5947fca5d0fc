"""Frames of item-deltas read in plain Python: what the owners of items were told, each row once.

Written from the table in ``stream.frames``; the checksum is the engine's own affair. Rows that
came twice are dropped by the watermark per source, as every receiver does (law 3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tests.chaos.oracle_records import partition_of
from tests.chaos.oracle_users import DeltaRow, Pair

_HEADER = struct.Struct("<4sIqqIIII")


@dataclass(frozen=True)
class Frame:
    """Rows that one user partition derived from its offsets ``[begin, end)``."""

    source: int
    begin: int
    end: int
    rows: tuple[DeltaRow, ...]


class _Bytes:
    """A position in bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def varint(self) -> int:
        number, shift = 0, 0
        while True:
            byte = self.integer(1)
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def zigzag(self) -> int:
        number = self.varint()
        return number >> 1 ^ -(number & 1)


def read_frame(data: bytes) -> Frame:
    """Read one frame; raises AssertionError where it is none."""
    magic, source, begin, end, num_rows, num_pairs, num_ids, id_bytes = _HEADER.unpack_from(data)
    # A third one is played in scenario 18, with the bytes of the second.
    assert magic in (b"HWF\x01", b"HWF\x02", b"HWF\x03"), magic
    bytes_ = _Bytes(data, _HEADER.size)
    lengths = list(bytes_.take(num_ids))
    bytes_.take((num_ids + 7) // 8)
    assert sum(lengths) == id_bytes
    ids = [bytes_.take(length).decode() for length in lengths]
    rows, offset, time_ms = [], begin, 0
    for _ in range(num_rows):
        offset += bytes_.varint()
        time_ms += bytes_.zigzag()
        item = ids[bytes_.integer(2)]
        action_and_count = bytes_.integer(1)
        strength = bytes_.zigzag()
        pairs = tuple(
            Pair(ids[bytes_.integer(2)], bytes_.integer(1), bytes_.integer(1))
            for _ in range(bytes_.varint())
        )
        action, count = action_and_count & 15, (action_and_count >> 4) - 1
        rows.append(DeltaRow(source, offset, item, time_ms, action, count, strength, pairs))
    assert bytes_.at == len(data) - 8, "only the checksum is left"
    assert sum(len(row.pairs) for row in rows) == num_pairs
    return Frame(source, begin, end, tuple(rows))


def deduplicated(frames: Iterable[bytes]) -> list[DeltaRow]:
    """Return the rows that count of one item partition's log; raises where frames have a hole."""
    watermarks: dict[int, int] = {}
    rows = []
    for data in frames:
        frame = read_frame(data)
        watermark = watermarks.get(frame.source, 0)
        assert frame.begin <= watermark, f"a hole: {watermark} to {frame.begin}"
        rows += [row for row in frame.rows if row.offset >= watermark]
        watermarks[frame.source] = max(watermark, frame.end)
    return sorted(rows, key=lambda row: (row.source, row.offset))


def told_to(rows: Iterable[DeltaRow], partition: int, num_partitions: int) -> list[DeltaRow]:
    """Return what one item partition must be told of these rows, by source and offset.

    The owner of a row's item gets it whole; the owner of an earlier item gets it with those pairs.
    """
    told = []
    for row in rows:
        if partition_of(row.item.encode(), num_partitions) == partition:
            told.append(row)
            continue
        pairs = tuple(
            pair
            for pair in row.pairs
            if partition_of(pair.item.encode(), num_partitions) == partition
        )
        if pairs:
            told.append(replace(row, pairs=pairs))
    return sorted(told, key=lambda row: (row.source, row.offset))
