"""Misrouted interactions: which belong elsewhere, their copies, and copies that came before.

``value.user_id`` decides the partition (Kafka's murmur2), whatever the producer's partitioner did.
A misrouted record is copied into its own partition with the header ``headwater-from`` =
``partition/offset``; there a watermark per source partition drops a copy that came before. A copy
that would have to be routed again is a reject: two workers that disagree about the number of
partitions must not play ping-pong. A copy also names the topic that its origin is a place of: a log
that was mirrored into another topic, headers and all, holds copies of other offsets; there they are
records like any other, or their watermarks would swallow the copies of that topic.

Absent on purpose: producing the copies, which the shell does and waits for before it commits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.hashing import partitions_of
from stream.dead_letters import cut_value
from stream.events import EventBatch, Reject
from stream.slab import Slab
from stream.wire import Reason

HEADER_FROM = "headwater-from"
HEADER_SOURCE = "headwater-source"
_FROM_NAME = np.frombuffer(HEADER_FROM.encode(), np.uint8)
_SOURCE_NAME = np.frombuffer(HEADER_SOURCE.encode(), np.uint8)
_ORIGIN = re.compile(rb"(0|[1-9][0-9]{0,8})/(0|[1-9][0-9]{0,17})")
# Headers of one record that are looked at; ours is the last one of a copy or among the first.
_MAX_HEADERS = 64
# Longest readable origin: nine digits, a slash, eighteen digits.
_MAX_ORIGIN_BYTES = 28
# Of a topic's id, with room.
_MAX_ID_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedCopies:
    """Misrouted records to bring to their own partitions, in log order. R = number of records.

    Attributes:
        offsets: int64 (R,), ascending: where they were found, counted ``routed`` there.
        partitions: int32 (R,), where they belong.
        keys: R user ids: the keys of the copies.
        values: R values, byte for byte as they came.
        headers: R values for the header ``HEADER_FROM``.
    """

    offsets: NDArray[np.int64]
    partitions: NDArray[np.int32]
    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]
    headers: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def empty(cls) -> RoutedCopies:
        """Make copies of no record."""
        return cls(
            offsets=np.empty(0, np.int64),
            partitions=np.empty(0, np.int32),
            keys=(),
            values=(),
            headers=(),
        )


def split_routed(
    events: EventBatch,
    slab: Slab | None,
    origins: NDArray[np.int64],
    wanted: int,
    topic_id: str | None = None,
) -> tuple[EventBatch, RoutedCopies]:
    """Part a batch into what its partition folds and what belongs to other partitions.

    1. Drop copies that came before (outside of all counters). 2. Find events of other partitions.
    3. Of those, copies are rejects, the rest is to be copied.

    Args:
        events: Decoded events of one partition.
        slab: What they were decoded from; None where every event is known to be at home (a
            replayed file, dealt out by user): nothing is parted then.
        origins: int64 (num_partitions,), next offset expected of copies from each partition; part
            of the partition's state, **moved on here**.
        wanted: The partition's next offset: events below it are left to the fold to skip, neither
            copied nor counted again.
        topic_id: Of the topic; None where it is not known.

    Returns:
        The events at home with all rejects, and the copies to make.
    """
    if slab is None or not len(events):
        return events, RoutedCopies.empty()
    keep = np.ones(len(events), np.bool_)
    is_new = events.offsets >= wanted
    num_partitions = len(origins)
    sources, source_offsets = read_origins(events.buffer, events.header_starts, topic_id)
    is_copy = (sources >= 0) & (sources < num_partitions)
    if is_copy.any():  # 1
        sources = np.where(is_copy & is_new, sources, -1)
        keep = admit_copies(sources, source_offsets, origins)
    partitions = owners(events, num_partitions)  # 2
    is_foreign = (partitions != events.partition) & is_new & keep
    if keep.all() and not is_foreign.any():
        return events, RoutedCopies.empty()
    rejected = _reject_foreign_copies(events, slab, np.flatnonzero(is_foreign & is_copy))  # 3
    own = events.select(keep & ~is_foreign, rejected=rejected)
    leaving = np.flatnonzero(is_foreign & ~is_copy)
    return own, _copies(events, slab, leaving, partitions[leaving])


def owners(events: EventBatch, num_partitions: int) -> NDArray[np.int32]:
    """Return the partition that each event's user belongs to: int32 (E,)."""
    if num_partitions == 1:
        return np.zeros(len(events), np.int32)
    owned: NDArray[np.int32] = partitions_of(
        events.buffer, events.user_starts, events.user_lengths, num_partitions
    )
    return owned


def encode_origin(partition: int, offset: int) -> bytes:
    """Encode where a copy comes from.

    >>> encode_origin(3, 1024)
    b'3/1024'
    """
    return b"%d/%d" % (partition, offset)


def decode_origin(header: bytes) -> tuple[int, int] | None:
    """Decode a header's value to (partition, offset); None where it is not ours.

    >>> decode_origin(b"3/1024"), decode_origin(b"03/1024"), decode_origin(b"here")
    ((3, 1024), None, None)
    """
    match = _ORIGIN.fullmatch(header)
    return (int(match[1]), int(match[2])) if match else None


def read_origins(
    buffer: NDArray[np.uint8], header_starts: NDArray[np.int64], topic_id: str | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Read the origin of each record out of its Kafka headers.

    Args:
        buffer: uint8, holds the headers (record format v2).
        header_starts: int64 (E,), as in a slab; -1 where a record has none.
        topic_id: Of the topic that they stand in; None where it is not known.

    Returns:
        int32 (E,) source partitions and int64 (E,) source offsets; both -1 where a record has no
        readable ``headwater-from``, or names another topic beside it. Of several the last one
        counts.
    """
    partitions = np.full(len(header_starts), -1, np.int32)
    offsets = np.full(len(header_starts), -1, np.int64)
    with_headers = np.flatnonzero(header_starts >= 0)
    if not len(with_headers):
        return partitions, offsets
    starts, lengths = _find_headers(
        buffer, header_starts[with_headers], _FROM_NAME, _MAX_ORIGIN_BYTES
    )
    # A Python loop over records that carry our header: copies are few, or soon will be.
    found = lengths > 0
    copies = with_headers[found]
    sources = _texts_of(buffer, header_starts[copies], _SOURCE_NAME, _MAX_ID_BYTES)
    for index, start, length, source in zip(
        copies.tolist(), starts[found].tolist(), lengths[found].tolist(), sources, strict=True
    ):
        is_ours = topic_id is None or source in (b"", topic_id.encode())
        origin = decode_origin(buffer[start : start + length].tobytes())
        if origin is not None and is_ours:
            partitions[index], offsets[index] = origin
    return partitions, offsets


def _texts_of(
    buffer: NDArray[np.uint8],
    header_starts: NDArray[np.int64],
    name: NDArray[np.uint8],
    max_bytes: int,
) -> list[bytes]:
    """Return the value of a header of each record; empty where it has none."""
    starts, lengths = _find_headers(buffer, header_starts, name, max_bytes)
    spans = zip(starts.tolist(), lengths.tolist(), strict=True)
    return [buffer[start : start + length].tobytes() for start, length in spans]


@njit(cache=True, nogil=True)
def admit_copies(
    sources: NDArray[np.int32], source_offsets: NDArray[np.int64], origins: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which records to keep: no copies, or copies that did not come before.

    Args:
        sources: int32 (E,), source partitions; -1 is no copy.
        source_offsets: int64 (E,), meant where the source is not -1.
        origins: int64 (num_partitions,), next offset expected of each source; moved on.

    Returns:
        bool (E,).
    """
    keep = np.ones(len(sources), np.bool_)
    for index in range(len(sources)):
        source = sources[index]
        if source < 0:
            continue
        keep[index] = source_offsets[index] >= origins[source]
        if keep[index]:
            origins[source] = source_offsets[index] + 1
    return keep


def compile_kernels() -> None:
    """Compile (or load from the cache) the kernels; called before a worker joins its group."""
    none = np.full(1, -1, np.int64)
    for buffer in (np.zeros(1, np.uint8), np.frombuffer(b"\0", np.uint8)):
        _find_headers(buffer, none, _FROM_NAME, _MAX_ORIGIN_BYTES)
        partitions_of(buffer, np.zeros(1, np.int64), np.ones(1, np.int32), 2)
    admit_copies(none.astype(np.int32), none, np.zeros(1, np.int64))


def _reject_foreign_copies(
    events: EventBatch, slab: Slab, indices: NDArray[np.int64]
) -> tuple[Reject, ...]:
    """Return the batch's rejects and those of copies that belong to yet another partition."""
    if not len(indices):
        return events.rejected
    records = np.searchsorted(slab.offsets, events.offsets[indices])
    detail = (
        f"a copy routed to partition {events.partition} belongs elsewhere: do all workers and the "
        "topic agree about the number of partitions?"
    )
    more = [
        Reject(
            offset=int(slab.offsets[record]),
            reason=Reason.MISROUTED,
            detail=detail,
            value=cut_value(slab.value(record)),
        )
        for record in records.tolist()
    ]
    return tuple(sorted([*events.rejected, *more], key=lambda reject: reject.offset))


def _copies(
    events: EventBatch, slab: Slab, indices: NDArray[np.int64], partitions: NDArray[np.int32]
) -> RoutedCopies:
    offsets = events.offsets[indices]
    records = np.searchsorted(slab.offsets, offsets)
    return RoutedCopies(
        offsets=offsets,
        partitions=partitions,
        keys=tuple(events.user_id(index).encode() for index in indices.tolist()),
        values=tuple(slab.value(record) or b"" for record in records.tolist()),
        headers=tuple(encode_origin(events.partition, offset) for offset in offsets.tolist()),
    )


@njit(cache=True, nogil=True)
def _read_varint(buffer: NDArray[np.uint8], position: int) -> tuple[int, np.int64]:
    """Read a zigzag varint of at most five bytes; return the position after it, -1 if broken."""
    word, shift = np.uint64(0), np.uint64(0)
    for index in range(position, min(position + 5, len(buffer))):
        byte = np.uint64(buffer[index])
        word |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            sign = -np.int64(word & np.uint64(1))
            return index + 1, np.int64(word >> np.uint64(1)) ^ sign
        shift += np.uint64(7)
    return -1, np.int64(0)


@njit(cache=True, nogil=True)
def _find_headers(
    buffer: NDArray[np.uint8],
    header_starts: NDArray[np.int64],
    wanted: NDArray[np.uint8],
    max_bytes: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the value span of one header per record; length 0 where it has none or a longer one."""
    starts = np.zeros(len(header_starts), np.int64)
    lengths = np.zeros(len(header_starts), np.int64)
    for record in range(len(header_starts)):
        if header_starts[record] < 0:
            continue
        position, count = _read_varint(buffer, header_starts[record])
        for _ in range(min(count, _MAX_HEADERS)):
            if position < 0:
                break
            name, name_length = _read_varint(buffer, position)
            if name < 0 or name_length < 0 or name + name_length > len(buffer):
                break
            value, value_length = _read_varint(buffer, name + name_length)
            position = value + max(value_length, 0)
            if value < 0 or position > len(buffer):
                break
            is_ours = name_length == len(wanted)
            for index in range(len(wanted)):
                is_ours = is_ours and buffer[name + index] == wanted[index]
            if is_ours and 0 < value_length <= max_bytes:
                starts[record], lengths[record] = value, value_length
    return starts, lengths
