"""Record batches (magic 2) made by aiokafka's builder, with header fields set by hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from stream.slab import Slab

LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record; ``delta`` counts from its batch's base offset."""

    delta: int
    value: bytes | None = b"value"
    key: bytes | None = None
    timestamp_ms: int = 1_000
    headers: tuple[tuple[str, bytes | None], ...] = ()


def record_batch(
    records: Sequence[Record],
    *,
    base_offset: int = 0,
    codec: str = "none",
    attributes: int = 0,
    producer_id: int = -1,
    append_time_ms: int | None = None,
    last_delta: int | None = None,
) -> bytes:
    """Build one batch; ``last_delta`` is the last offset delta where compaction took the end."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[codec],
        is_transactional=0,
        producer_id=producer_id,
        producer_epoch=-1 if producer_id < 0 else 0,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for record in records:
        headers = list(record.headers)
        builder.append(record.delta, record.timestamp_ms, record.key, record.value, headers)
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base_offset)
    old = struct.unpack_from(">h", data, 21)[0]
    extra = attributes | (LOG_APPEND_TIME if append_time_ms is not None else 0)
    struct.pack_into(">h", data, 21, old | extra)
    if last_delta is not None:
        struct.pack_into(">i", data, 23, last_delta)
    if append_time_ms is not None:
        struct.pack_into(">q", data, 35, append_time_ms)
    return sealed(data)


def sealed(data: bytearray) -> bytes:
    """Return the batch with the checksum that belongs to its bytes."""
    struct.pack_into(">I", data, 17, calc_crc32c(memoryview(data)[21:]))
    return bytes(data)


def marker(*, base_offset: int, producer_id: int, commits: bool) -> bytes:
    """Build the control batch that ends a transaction."""
    key = struct.pack(">hh", 0, int(commits))
    return record_batch(
        [Record(delta=0, key=key, value=b"\0\0\0\0\0\0")],
        base_offset=base_offset,
        attributes=CONTROL | TRANSACTIONAL,
        producer_id=producer_id,
    )


def rows(slabs: Sequence[Slab]) -> list[tuple[int, int, bytes | None, bytes | None, bool]]:
    """Return (offset, timestamp, key, value, has headers) of all records."""
    return [
        (
            int(slab.offsets[i]),
            int(slab.timestamps_ms[i]),
            slab.key(i),
            slab.value(i),
            bool(slab.header_starts[i] >= 0),
        )
        for slab in slabs
        for i in range(len(slab))
    ]
