"""The records walk against aiokafka's own reading of the same bytes, and at its edges."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.records import RecordsWalk
from stream.errors import CorruptBatch
from stream.slab import Slab
from tests.consumers.batches import (
    CODECS,
    TRANSACTIONAL,
    Record,
    marker,
    record_batch,
    rows,
    sealed,
)

BOUNDED = settings(max_examples=60, deadline=None)


def walk(data: bytes, *, begin: int = 0, aborted: Any = (), **options: Any) -> list[Slab]:
    walker = RecordsWalk(**{"max_batch_bytes": 1 << 20, **options})
    return list(walker.slabs(data, topic="t", partition=3, begin=begin, aborted=aborted))


def stock(data: bytes, *, begin: int = 0, aborted: Any = ()) -> tuple[list[Any], int]:
    """Read with aiokafka itself: (rows as in ``rows``, next fetch offset)."""
    tp = TopicPartition("t", 3)
    records = PartitionRecords(
        tp, MemoryRecords(data), list(aborted), begin, None, None, True, READ_COMMITTED
    )
    read = [(r.offset, r.timestamp, r.key, r.value, bool(r.headers)) for r in records]
    return read, records.next_fetch_offset


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """Some batches in log order with holes inside and between them."""
    base = draw(st.integers(0, 2**40))
    data = b""
    for _ in range(draw(st.integers(1, 4))):
        deltas = sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=8)))
        records = [
            Record(
                delta=delta,
                key=draw(st.none() | st.binary(max_size=200)),
                value=draw(st.none() | st.binary(max_size=200)),
                timestamp_ms=draw(st.integers(0, 2**44)),
                headers=tuple(
                    draw(
                        st.lists(
                            st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)),
                            max_size=2,
                        )
                    )
                ),
            )
            for delta in deltas
        ]
        last = draw(st.integers(deltas[-1], 45))
        data += record_batch(
            records,
            base_offset=base,
            codec=draw(st.sampled_from(sorted(CODECS))),
            append_time_ms=draw(st.none() | st.integers(0, 2**44)),
            last_delta=last,
        )
        base += last + 1 + draw(st.integers(0, 3))
    return data


@given(data=logs(), skip=st.integers(0, 60), cap=st.sampled_from([1, 300, 1 << 20]))
@BOUNDED
def test_walk_equals_aiokafka_whatever_the_batches(data: bytes, skip: int, cap: int) -> None:
    # A broker never sends a batch wholly below the asked offset (aiokafka would step back).
    num_offsets = int.from_bytes(data[23:27], "big") + 1
    begin = int.from_bytes(data[:8], "big") + skip % num_offsets
    expected, next_offset = stock(data, begin=begin)
    slabs = walk(data, begin=begin, max_slab_bytes=cap)
    assert rows(slabs) == expected
    borders = [begin] + [slab.end for slab in slabs]
    assert [slab.begin for slab in slabs] == borders[:-1]
    assert borders[-1] == max(next_offset, begin)


@given(data=logs(), at=st.integers(0, 10_000), byte=st.integers(1, 255), check=st.booleans())
@BOUNDED
def test_changed_bytes_are_a_clear_error_or_harmless(
    data: bytes, at: int, byte: int, check: bool
) -> None:
    broken = bytearray(data)
    broken[at % len(data)] ^= byte
    try:
        slabs = walk(bytes(broken), check_crcs=check)
    except CorruptBatch:
        return
    for slab in slabs:
        assert ((slab.value_starts + slab.value_lengths) <= len(slab.buffer)).all()
        assert ((slab.key_starts + slab.key_lengths) <= len(slab.buffer)).all()


@given(data=logs(), cut=st.integers(0, 10_000))
@BOUNDED
def test_cut_off_last_batch_is_left_for_the_next_fetch(data: bytes, cut: int) -> None:
    cut %= len(data)
    first_size = 12 + int.from_bytes(data[8:12], "big")
    if 0 < cut < first_size:
        with pytest.raises(CorruptBatch, match="whole record batch"):
            walk(data[:cut])
        return
    slabs = walk(data[:cut])
    assert rows(slabs) == stock(data[:cut])[0]


def test_one_changed_byte_under_the_checksum_is_corrupt() -> None:
    data = bytearray(record_batch([Record(delta=0, value=b"like")]))
    data[-3] ^= 1
    with pytest.raises(CorruptBatch, match=r"t-3: batch at offset 0: expected CRC-32C"):
        walk(bytes(data))
    assert rows(walk(bytes(data), check_crcs=False))


def test_uncompressed_records_are_not_copied() -> None:
    data = record_batch([Record(delta=0)]) + record_batch([Record(delta=0)], base_offset=1)
    (slab,) = walk(data)
    assert slab.buffer.nbytes == len(data)
    assert not slab.buffer.flags.owndata


def test_log_append_time_is_the_time_of_every_record() -> None:
    records = [Record(delta=i, timestamp_ms=9_999_999 + i) for i in range(3)]
    (slab,) = walk(record_batch(records, append_time_ms=500))
    assert slab.timestamps_ms.tolist() == [500, 500, 500]


def test_control_batch_moves_the_end_without_a_record() -> None:
    data = record_batch([Record(delta=0)], attributes=TRANSACTIONAL, producer_id=7)
    (slab,) = walk(data + marker(base_offset=1, producer_id=7, commits=True))
    assert (len(slab), slab.begin, slab.end) == (1, 0, 2)


def test_fetch_of_only_a_marker_is_an_empty_slab() -> None:
    (slab,) = walk(marker(base_offset=5, producer_id=7, commits=True), begin=5)
    assert (len(slab), slab.begin, slab.end) == (0, 5, 6)


def test_aborted_transaction_is_left_out_until_its_marker() -> None:
    def part(base: int, producer: int, value: bytes, attributes: int = TRANSACTIONAL) -> bytes:
        record = Record(delta=0, value=value)
        return record_batch([record], base_offset=base, attributes=attributes, producer_id=producer)

    data = (
        part(0, 7, b"aborted")
        + part(1, 8, b"other producer")
        + part(2, 7, b"aborted too")
        + part(3, -1, b"no transaction", attributes=0)
        + marker(base_offset=4, producer_id=7, commits=False)
        + part(5, 7, b"next transaction")
        + marker(base_offset=6, producer_id=8, commits=True)
    )
    (slab,) = walk(data, aborted=[(7, 0)])
    assert [slab.value(i) for i in range(len(slab))] == [
        b"other producer",
        b"no transaction",
        b"next transaction",
    ]
    assert slab.end == 7
    assert rows([slab]) == stock(data, aborted=[(7, 0)])[0]
    (everything,) = walk(data, read_committed=False)
    assert len(everything) == 5


def test_batch_emptied_by_compaction_moves_the_end() -> None:
    emptied = record_batch([], base_offset=10, last_delta=4, producer_id=7)
    (slab,) = walk(emptied, begin=12)
    assert (len(slab), slab.begin, slab.end) == (0, 12, 15)


def test_slab_is_closed_between_batches_at_its_bound() -> None:
    data = b"".join(
        record_batch([Record(delta=0, value=bytes(400))], base_offset=i) for i in range(5)
    )
    slabs = walk(data, max_slab_bytes=1000)
    assert [(slab.begin, slab.end) for slab in slabs] == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_batch_larger_than_its_cap_is_refused(codec: str) -> None:
    data = record_batch([Record(delta=0, value=bytes(5_000))], codec=codec)
    with pytest.raises(CorruptBatch, match="raise the bound"):
        walk(data, max_batch_bytes=1_000)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_broken_payload_under_a_right_checksum_is_corrupt(codec: str) -> None:
    data = bytearray(record_batch([Record(delta=i) for i in range(20)], codec=codec))
    data[61:] = b"\x00" * (len(data) - 61)
    with pytest.raises(CorruptBatch, match="t-3: batch at offset 0"):
        walk(sealed(data))


def test_unknown_codec_is_refused() -> None:
    data = bytearray(record_batch([Record(delta=0)]))
    data[22] = 6
    with pytest.raises(CorruptBatch, match="codec 0 to 4, came 6"):
        walk(sealed(data))


def test_old_record_format_is_refused() -> None:
    data = bytearray(record_batch([Record(delta=0)]))
    data[16] = 1
    with pytest.raises(CorruptBatch, match="record format 2"):
        walk(bytes(data))


def test_record_count_beyond_the_bytes_is_refused_before_allocating() -> None:
    data = bytearray(record_batch([Record(delta=0)]))
    data[57:61] = (2**31 - 1).to_bytes(4, "big")
    with pytest.raises(CorruptBatch, match="2147483647 records"):
        walk(sealed(data))


def test_offsets_that_do_not_ascend_are_refused() -> None:
    data = record_batch([Record(delta=5), Record(delta=5)])
    with pytest.raises(CorruptBatch, match="do not add up"):
        walk(data)


def test_empty_fetch_has_no_slab() -> None:
    assert walk(b"") == []
