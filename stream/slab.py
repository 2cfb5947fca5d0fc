"""Slab: the record batches of one partition from one fetch, as bytes and arrays of positions.

No Python object exists per record. A slab is what the transport hands to an agent and what the
decoders read; replay and tests make one with :meth:`Slab.from_values`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """Records of one partition in log order. E = number of records.

    Attributes:
        topic: Kafka topic.
        partition: Kafka partition.
        begin: Offset asked for; every record below it was cut off.
        end: Offset to ask for next; ``[begin, end)`` is covered (control records and compaction
            leave holes inside).
        buffer: uint8, decompressed record bytes; all starts index into it.
        offsets: int64 (E,), ascending.
        timestamps_ms: int64 (E,), the record's Kafka timestamp (LogAppendTime where the topic
            has it); -1 where unknown.
        key_starts: int64 (E,); -1 for a null key.
        key_lengths: int32 (E,); -1 for a null key.
        value_starts: int64 (E,); -1 for a null value.
        value_lengths: int32 (E,); -1 for a null value.
        header_starts: int64 (E,), position of the varint that counts the headers; -1 where the
            record has none.
    """

    topic: str
    partition: int
    begin: int
    end: int
    buffer: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    key_starts: NDArray[np.int64]
    key_lengths: NDArray[np.int32]
    value_starts: NDArray[np.int64]
    value_lengths: NDArray[np.int32]
    header_starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def from_values(
        cls,
        values: Sequence[bytes | None],
        *,
        topic: str = "interactions",
        partition: int = 0,
        first_offset: int = 0,
        timestamps_ms: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> Slab:
        """Make a slab of key-less, header-less records; offsets count up from first_offset.

        ``timestamps_ms`` None means that Kafka timestamps are unknown (-1): no future check.
        The buffer is writable: kernels need no copy of it, however small a part they are given.
        """
        count = len(values)
        lengths = np.fromiter(
            (-1 if value is None else len(value) for value in values), np.int32, count
        )
        ends = np.cumsum(np.maximum(lengths, 0), dtype=np.int64)
        starts = ends - np.maximum(lengths, 0)
        starts[lengths < 0] = -1
        if timestamps_ms is None:
            times = np.full(count, -1, np.int64)
        else:
            times = np.asarray(timestamps_ms, np.int64)
        return cls(
            topic=topic,
            partition=partition,
            begin=first_offset,
            end=first_offset + count,
            buffer=np.frombuffer(bytearray().join(value or b"" for value in values), np.uint8),
            offsets=np.arange(first_offset, first_offset + count, dtype=np.int64),
            timestamps_ms=times,
            key_starts=np.full(count, -1, np.int64),
            key_lengths=np.full(count, -1, np.int32),
            value_starts=starts,
            value_lengths=lengths,
            header_starts=np.full(count, -1, np.int64),
        )

    @classmethod
    def from_records(
        cls,
        records: Sequence[tuple[bytes | None, bytes | None]],
        *,
        topic: str = "",
        partition: int = 0,
    ) -> Slab:
        """Make a slab of (key, value) records; offsets count up from 0, no timestamps."""
        lengths = np.array(
            [[-1 if part is None else len(part) for part in record] for record in records], np.int32
        ).reshape(len(records), 2)
        sizes = np.maximum(lengths, 0)
        ends = np.cumsum(sizes.ravel(), dtype=np.int64).reshape(len(records), 2)
        starts = np.where(lengths < 0, -1, ends - sizes)
        return cls(
            topic=topic,
            partition=partition,
            begin=0,
            end=len(records),
            buffer=np.frombuffer(
                b"".join(part or b"" for pair in records for part in pair), np.uint8
            ),
            offsets=np.arange(len(records), dtype=np.int64),
            timestamps_ms=np.full(len(records), -1, np.int64),
            key_starts=starts[:, 0].copy(),
            key_lengths=lengths[:, 0].copy(),
            value_starts=starts[:, 1].copy(),
            value_lengths=lengths[:, 1].copy(),
            header_starts=np.full(len(records), -1, np.int64),
        )

    @classmethod
    def concat(cls, slabs: Sequence[Slab]) -> Slab:
        """Join slabs of one partition, each beginning where the one before ended.

        One slab is returned as it is; the buffers of several are copied.
        """
        first = slabs[0]
        if len(slabs) == 1:
            return first
        assert all(
            one.end == next_.begin and one.partition == next_.partition
            for one, next_ in zip(slabs, slabs[1:], strict=False)
        ), "slabs of one partition without a gap"
        shifts = np.cumsum([0, *(len(slab.buffer) for slab in slabs[:-1])], dtype=np.int64)

        def starts(name: str) -> NDArray[np.int64]:
            columns = (getattr(slab, name) for slab in slabs)
            return np.concatenate(
                [
                    np.where(each < 0, each, each + shift)
                    for each, shift in zip(columns, shifts, strict=True)
                ]
            )

        return cls(
            topic=first.topic,
            partition=first.partition,
            begin=first.begin,
            end=slabs[-1].end,
            buffer=np.concatenate([slab.buffer for slab in slabs]),
            offsets=np.concatenate([slab.offsets for slab in slabs]),
            timestamps_ms=np.concatenate([slab.timestamps_ms for slab in slabs]),
            key_starts=starts("key_starts"),
            key_lengths=np.concatenate([slab.key_lengths for slab in slabs]),
            value_starts=starts("value_starts"),
            value_lengths=np.concatenate([slab.value_lengths for slab in slabs]),
            header_starts=starts("header_starts"),
        )

    def value(self, index: int) -> bytes | None:
        """Return a copy of one record's value; None for a null value."""
        length = int(self.value_lengths[index])
        if length < 0:
            return None
        start = int(self.value_starts[index])
        return self.buffer[start : start + length].tobytes()

    def key(self, index: int) -> bytes | None:
        """Return a copy of one record's key; None for a null key."""
        length = int(self.key_lengths[index])
        if length < 0:
            return None
        start = int(self.key_starts[index])
        return self.buffer[start : start + length].tobytes()
