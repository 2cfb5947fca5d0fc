"""Walk the record batches of one fetch (magic 2) into slabs: bytes and arrays of positions.

No Python object is made per record: one Python step per batch (header, checksum, decompression),
then one numba kernel per slab reads the varints of all its records. Handled here: LogAppendTime,
control batches, aborted transactions, a batch cut off at the end of the fetch, records below the
asked offset, holes that compaction left. Absent: magic 0 and 1, fetching, and any decoding of
values.

Sources: Apache Kafka, "Implementation: message format",
https://kafka.apache.org/documentation/#messageformat, and ``DefaultRecordBatch.java``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from consumers.record_codecs import CODEC_MASK, DecompressionFailed, Decompressor
from consumers.record_kernel import read_records
from stream.errors import CorruptBatch
from stream.slab import Slab

# Base offset, length, leader epoch, magic, checksum, attributes, last offset delta, first and max
# timestamp, producer id, producer epoch, base sequence, number of records.
_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH = struct.Struct(">qi")
# Bytes before the part that the header's length counts.
_LENGTH_END = 12
# The checksum covers everything from the attributes on.
_CRC_START = 21
_MAGIC = 2

_LOG_APPEND_TIME = 0x08
_TRANSACTIONAL = 0x10
_CONTROL = 0x20

# A record takes at least its length, attributes, two deltas, two sizes and a header count.
_MIN_RECORD_BYTES = 7
# Key of a control record: version and type, both int16; type 0 aborts, 1 commits.
_CONTROL_KEY = struct.Struct(">hh")
_ABORT = 0

# Defaults in bytes; a slab holds more only where one batch alone does.
MAX_SLAB_BYTES = 1 << 20
MAX_BATCH_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """One batch that counts: where its records lie in ``data``, and what they are relative to."""

    data: bytes | NDArray[np.uint8]
    start: int
    end: int
    # Base offset, last offset delta, first timestamp, append timestamp (-1 where every record has
    # a time of its own), number of records: one row of what the kernel reads.
    facts: tuple[int, int, int, int, int]


class RecordsWalk:
    """Turns the record sets of fetches into slabs. One per consumer and thread.

    Args:
        max_slab_bytes: Decompressed bytes after which a slab is closed between two batches.
        max_batch_bytes: Cap on the decompressed size of one batch.
        check_crcs: Whether each batch's CRC-32C is checked.
        read_committed: Whether aborted transactions are left out.
    """

    def __init__(
        self,
        *,
        max_slab_bytes: int = MAX_SLAB_BYTES,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        check_crcs: bool = True,
        read_committed: bool = True,
    ) -> None:
        self.max_slab_bytes = max_slab_bytes
        self.check_crcs = check_crcs
        self.read_committed = read_committed
        self._decompressor = Decompressor(max_bytes=max_batch_bytes)

    def slabs(
        self,
        data: bytes,
        *,
        topic: str,
        partition: int,
        begin: int,
        aborted: Iterable[tuple[int, int]] = (),
    ) -> Iterator[Slab]:
        """Yield slabs that cover the fetch without a gap, in log order.

        The first begins at ``begin``, each next one where the one before ended. A slab may be
        empty: the fetch held only control records, aborted or compacted ones. Uncompressed
        batches are not copied: the slab's buffer is a view of ``data``.

        Args:
            data: The record set of one partition from one fetch response.
            topic: Kafka topic, for the slab and for messages.
            partition: Kafka partition.
            begin: Offset that was asked for; records below it are cut off.
            aborted: (producer id, first offset) of aborted transactions, from the response.

        Raises:
            CorruptBatch: A batch fails its checksum, its codec or its own positions, is larger
                than its cap, or the first one is not whole. Slabs before it have been yielded.
        """
        where = f"{topic}-{partition}"
        transactions = _Transactions(aborted) if self.read_committed else None
        pending: list[_Batch] = []
        pending_bytes = 0
        end = begin
        for header, at, stop in _headers(data, where):
            base_offset = int(header[0])
            if self.check_crcs:
                _check_crc(data, at, stop, header, where)
            next_offset = base_offset + int(header[6]) + 1
            is_wanted = transactions is None or not transactions.is_aborted(data, at, stop, header)
            is_data = not header[5] & _CONTROL
            if is_wanted and is_data and header[12] > 0 and next_offset > begin:
                batch = self._batch(data, at, stop, header, where)
                size = batch.end - batch.start
                if pending and pending_bytes + size > self.max_slab_bytes:
                    yield _slab(pending, topic, partition, begin, end)
                    begin, pending, pending_bytes = end, [], 0
                pending.append(batch)
                pending_bytes += size
            end = max(end, next_offset)
        if end > begin:
            yield _slab(pending, topic, partition, begin, end)

    def _batch(
        self, data: bytes, at: int, stop: int, header: tuple[int, ...], where: str
    ) -> _Batch:
        """Decompress one batch where needed and bound its record count by its size."""
        base_offset, attributes, num_records = header[0], header[5], header[12]
        payload: bytes | NDArray[np.uint8] = data
        start, end = at + _HEADER.size, stop
        if attributes & CODEC_MASK:
            try:
                scratch = self._decompressor.decompress(
                    attributes & CODEC_MASK, memoryview(data)[start:stop]
                )
            except DecompressionFailed as error:
                message = (
                    f"{where}: batch at offset {base_offset}: {error}; "
                    "raise the bound on batches, or skip the batch by hand"
                )
                raise CorruptBatch(message) from error
            payload, start, end = scratch.copy(), 0, len(scratch)
        if num_records * _MIN_RECORD_BYTES > end - start:
            message = (
                f"{where}: batch at offset {base_offset}: expected at least "
                f"{_MIN_RECORD_BYTES} bytes a record, came {num_records} records in {end - start}"
            )
            raise CorruptBatch(message)
        return _Batch(data=payload, start=start, end=end, facts=_facts(header))


class _Transactions:
    """Which transactional producers stand in an aborted transaction, along one fetch."""

    def __init__(self, aborted: Iterable[tuple[int, int]]) -> None:
        self._coming = sorted(aborted, key=lambda entry: entry[1], reverse=True)
        self._producers: set[int] = set()

    def is_aborted(self, data: bytes, at: int, stop: int, header: tuple[int, ...]) -> bool:
        """Return whether the batch belongs to an aborted transaction; call in log order."""
        base_offset, attributes, producer_id = header[0], header[5], header[9]
        while self._coming and self._coming[-1][1] <= base_offset:
            self._producers.add(self._coming.pop()[0])
        if producer_id not in self._producers:
            return False
        if attributes & _CONTROL and _is_abort_marker(data, at, stop, header):
            # Broker versions differ in whether a marker's transaction is still listed.
            self._producers.discard(producer_id)
            return True
        return bool(attributes & _TRANSACTIONAL)


def _headers(data: bytes, where: str) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Yield (header fields, start, end) of every whole batch; a cut-off last one is left."""
    at = 0
    while at + _LENGTH_END <= len(data):
        base_offset, length = _LENGTH.unpack_from(data, at)
        stop = at + _LENGTH_END + length
        if length < _HEADER.size - _LENGTH_END:
            message = (
                f"{where}: batch at offset {base_offset}: expected at least "
                f"{_HEADER.size - _LENGTH_END} bytes, came length {length}"
            )
            raise CorruptBatch(message)
        if stop > len(data):
            break
        header = _HEADER.unpack_from(data, at)
        if header[3] != _MAGIC:
            message = (
                f"{where}: batch at offset {base_offset}: expected record format {_MAGIC} "
                f"(Kafka 0.11 or newer), came {header[3]}: rewrite the topic with a newer producer"
            )
            raise CorruptBatch(message)
        if header[12] < 0 or header[6] < 0:
            message = f"{where}: batch at offset {base_offset}: came a negative record count"
            raise CorruptBatch(message)
        yield header, at, stop
        at = stop
    if at == 0 and data:
        # Brokers hand out the first batch whole even where it exceeds the fetch size.
        message = f"{where}: expected a whole record batch, came {len(data)} bytes of one"
        raise CorruptBatch(message)


def _facts(header: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    append_timestamp_ms = header[8] if header[5] & _LOG_APPEND_TIME else -1
    return header[0], header[6], header[7], append_timestamp_ms, header[12]


def _check_crc(data: bytes, at: int, stop: int, header: tuple[int, ...], where: str) -> None:
    crc = google_crc32c.value(data[at + _CRC_START : stop])
    if crc != header[4]:
        message = (
            f"{where}: batch at offset {header[0]}: expected CRC-32C {header[4]:#010x}, "
            f"came {crc:#010x}: bytes were changed on disk or on the way"
        )
        raise CorruptBatch(message)


def _is_abort_marker(data: bytes, at: int, stop: int, header: tuple[int, ...]) -> bool:
    batch = _Batch(data=data, start=at + _HEADER.size, end=stop, facts=_facts(header))
    marker = _slab([batch], "control", -1, header[0], header[0] + header[6] + 1)
    key = marker.key(0) if len(marker) else None
    return key is not None and len(key) >= 4 and _CONTROL_KEY.unpack_from(key)[1] == _ABORT


def _slab(batches: list[_Batch], topic: str, partition: int, begin: int, end: int) -> Slab:
    """Read the records of some batches of one partition into one slab that covers [begin, end)."""
    buffer, starts, stops = _one_buffer(batches)
    count = sum(batch.facts[4] for batch in batches)
    # (number of batches, 5)
    facts = np.array([batch.facts for batch in batches], np.int64).reshape(len(batches), 5)
    times = np.empty((2, count), np.int64)
    positions = np.empty((3, count), np.int64)
    lengths = np.empty((2, count), np.int32)
    found = read_records(buffer, starts, stops, facts, begin, times, positions, lengths)
    if found < 0:
        broken = batches[-int(found) - 1]
        message = (
            f"{topic}-{partition}: batch at offset {broken.facts[0]}: expected "
            f"{broken.facts[4]} well-formed records, came bytes that do not add up"
        )
        raise CorruptBatch(message)
    return Slab(
        topic=topic,
        partition=partition,
        begin=begin,
        end=end,
        buffer=buffer,
        offsets=times[0, :found],
        timestamps_ms=times[1, :found],
        key_starts=positions[0, :found],
        key_lengths=lengths[0, :found],
        value_starts=positions[1, :found],
        value_lengths=lengths[1, :found],
        header_starts=positions[2, :found],
    )


def _one_buffer(
    batches: list[_Batch],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return one buffer with all batches, and where each starts and ends in it."""
    starts = np.array([batch.start for batch in batches], np.int64)
    stops = np.array([batch.end for batch in batches], np.int64)
    if not batches:
        return np.empty(0, np.uint8), starts, stops
    first = batches[0].data
    if all(batch.data is first for batch in batches):
        return np.frombuffer(first, np.uint8), starts, stops
    parts = [np.frombuffer(batch.data, np.uint8)[batch.start : batch.end] for batch in batches]
    stops = np.cumsum([len(part) for part in parts], dtype=np.int64)
    starts[0] = 0
    starts[1:] = stops[:-1]
    return np.concatenate(parts), starts, stops
