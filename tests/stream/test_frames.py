from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.deltas import DeltaRows
from state.frame_columns import FrameColumns
from state.hashing import hash64
from stream.events import Reject
from stream.frame_kernels import CHECKSUM_BYTES, HEADER_BYTES
from stream.frames import decode_frame, encode_frames
from tests.state.item_worlds import ITEMS, START_MS, Pair, Row, make_frame, source_rows


def make_deltas(rows: Sequence[Row], items: Sequence[bytes] = ITEMS) -> DeltaRows:
    pairs = [pair for row in rows for pair in row.pairs]
    numbers = {item: number for number, item in enumerate(items)}
    return DeltaRows(
        offsets=np.array([row.offset for row in rows], np.int64),
        item_rows=np.array([numbers[row.item] for row in rows], np.int32),
        timestamps_ms=np.array([row.time_ms for row in rows], np.int64),
        actions=np.array([row.action for row in rows], np.uint8),
        counts=np.array([row.count for row in rows], np.int8),
        strengths=np.array([row.strength for row in rows], np.int16),
        pair_splits=np.cumsum([0, *(len(row.pairs) for row in rows)], dtype=np.int64),
        pair_item_rows=np.array([numbers[pair.item] for pair in pairs], np.int32),
        pair_lags=np.array([pair.lag for pair in pairs], np.uint8),
        pair_weights=np.array([pair.weight for pair in pairs], np.uint8),
    )


def encode(
    rows: Sequence[Row],
    *,
    destinations: Sequence[int],
    froms: Sequence[int] | None = None,
    to: int | None = None,
    max_bytes: int = 900_000,
    items: Sequence[bytes] = ITEMS,
) -> list[tuple[int, bytes]]:
    lengths = np.array([len(item) for item in items], np.int32)
    count = max(destinations) + 1
    return encode_frames(
        make_deltas(rows, items),
        arena=np.frombuffer(b"".join(items), np.uint8).copy(),
        starts=np.cumsum(lengths, dtype=np.int64) - lengths,
        lengths=lengths,
        destinations=np.array(destinations, np.int32),
        num_destinations=count,
        source_partition=3,
        froms=np.array(froms or [0] * count, np.int64),
        to=(rows[-1].offset + 1 if rows else 0) if to is None else to,
        max_bytes=max_bytes,
    )


def decoded(frame: bytes) -> FrameColumns:
    columns = decode_frame(frame)
    assert isinstance(columns, FrameColumns), columns
    return columns


def rows_of(frame: FrameColumns) -> list[Row]:
    """Read a frame back into rows."""
    rows = []
    for index in range(len(frame)):
        begin, end = frame.pair_splits[index : index + 2].tolist()
        rows.append(
            Row(
                offset=int(frame.offsets[index]),
                item=frame.item_id(int(frame.item_refs[index])),
                time_ms=int(frame.timestamps_ms[index]),
                action=int(frame.actions[index]),
                count=int(frame.counts[index]),
                strength=int(frame.strengths[index]),
                pairs=tuple(
                    Pair(
                        frame.item_id(int(frame.pair_refs[at])),
                        lag=int(frame.pair_lags[at]),
                        weight=int(frame.pair_weights[at]),
                    )
                    for at in range(begin, end)
                ),
            )
        )
    return rows


def rows_for(rows: Sequence[Row], is_owned: Callable[[bytes], bool]) -> list[Row]:
    """Return what one destination must get: the oracle."""
    kept = []
    for row in rows:
        pairs = tuple(pair for pair in row.pairs if is_owned(row.item) or is_owned(pair.item))
        if is_owned(row.item) or pairs:
            kept.append(replace(row, pairs=pairs))
    return kept


@given(
    rows=source_rows(max_rows=15),
    destinations=st.lists(st.integers(0, 4), min_size=len(ITEMS), max_size=len(ITEMS)),
    max_bytes=st.sampled_from([1, 150, 250, 900_000]),
)
@settings(max_examples=120, deadline=None)
def test_every_destination_gets_its_rows_once_in_a_chain(
    rows: list[Row], destinations: list[int], max_bytes: int
) -> None:
    to = rows[-1].offset + 4 if rows else 9
    frames = encode(rows, destinations=destinations, to=to, max_bytes=max_bytes)
    for destination in range(max(destinations) + 1):

        def is_owned(item: bytes, destination: int = destination) -> bool:
            return destinations[ITEMS.index(item)] == destination

        mine = [decoded(frame) for owner, frame in frames if owner == destination]
        assert [row for frame in mine for row in rows_of(frame)] == rows_for(rows, is_owned)
        borders = [0, *(frame.end for frame in mine)]
        assert [frame.begin for frame in mine] == borders[:-1]
        assert not mine or borders[-1] == to
        for frame in mine:
            assert frame.source_partition == 3
            ids = [frame.item_id(ref) for ref in range(frame.num_ids)]
            assert len(set(ids)) == len(ids)
            assert frame.is_owned.tolist() == [is_owned(item) for item in ids]
            assert {*frame.item_refs.tolist(), *frame.pair_refs.tolist()} == set(range(len(ids)))
            assert len(frame) == 1 or max_bytes > 1


@given(rows=source_rows(max_rows=15), max_bytes=st.integers(100, 400))
@settings(max_examples=40, deadline=None)
def test_a_frame_of_several_rows_stays_within_its_bound(rows: list[Row], max_bytes: int) -> None:
    for _, frame in encode(rows, destinations=[0] * len(ITEMS), max_bytes=max_bytes):
        assert len(frame) <= max_bytes or len(decoded(frame)) == 1


def test_a_frame_begins_where_the_one_before_ended() -> None:
    rows = [Row(offset=7, item=ITEMS[0])]
    frames = encode(rows, destinations=[0, *[1] * 8], froms=[4, 6], to=12)
    assert [(owner, decoded(frame).begin, decoded(frame).end) for owner, frame in frames] == [
        (0, 4, 12)
    ]


def test_rows_emitted_before_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected rows within \[8, 9\)"):
        encode([Row(offset=7, item=ITEMS[0])], destinations=[0] * 9, froms=[8], to=9)


def test_no_rows_make_no_frames() -> None:
    assert encode([], destinations=[0] * 9) == []


def test_extreme_numbers_survive() -> None:
    rows = [
        Row(offset=0, item=ITEMS[0], time_ms=START_MS, count=-1, strength=-32_768, action=7),
        Row(offset=2**40, item=ITEMS[1], time_ms=0, count=0, strength=32_767),
        Row(offset=2**40 + 1, item=ITEMS[0], time_ms=2**45, pairs=(Pair(ITEMS[1], 255, 255),)),
    ]
    assert rows_of(decoded(encode(rows, destinations=[0] * 9)[0][1])) == rows


def test_ids_may_be_long_and_any_bytes() -> None:
    items = [b"\xff" * 255, b"\x00", "é".encode()]
    rows = [Row(offset=0, item=items[0], pairs=(Pair(items[1]), Pair(items[2], lag=2)))]
    frames = encode(rows, destinations=[0, 0, 0], items=items)
    assert rows_of(decoded(frames[0][1])) == rows


def test_more_ids_than_a_frame_can_name_make_a_second_frame() -> None:
    items = [b"%d" % number for number in range(66_000)]
    rows = [
        Row(
            offset=offset,
            item=items[offset * 6],
            pairs=tuple(Pair(items[offset * 6 + lag], lag=lag) for lag in range(1, 6)),
        )
        for offset in range(11_000)
    ]
    frames = [
        decoded(frame)
        for _, frame in encode(rows, destinations=[0] * len(items), items=items, max_bytes=10**8)
    ]
    assert [frame.num_ids for frame in frames] == [65_532, 468]
    assert [row for frame in frames for row in rows_of(frame)] == rows


def one_frame() -> bytes:
    rows = [
        Row(offset=5, item=ITEMS[0], pairs=(Pair(ITEMS[1]), Pair(ITEMS[2], lag=2))),
        Row(offset=9, item=ITEMS[3], strength=2),
    ]
    return encode(rows, destinations=[0] * 9)[0][1]


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_flipped_bit_is_found(data: st.DataObject) -> None:
    frame = bytearray(one_frame())
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert isinstance(decode_frame(bytes(frame)), Reject)


def seal(body: bytes) -> bytes:
    checksum = int(hash64(np.frombuffer(body, np.uint8), 0, len(body), 0))
    return body + checksum.to_bytes(8, "little")


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_broken_frame_with_a_good_checksum_never_reads_out_of_bounds(
    data: st.DataObject,
) -> None:
    body = bytearray(one_frame()[:-CHECKSUM_BYTES])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(4, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3))
    result = decode_frame(seal(bytes(body[: len(body) - cut])))
    if isinstance(result, FrameColumns):
        assert (result.offsets >= result.begin).all() and (result.offsets < result.end).all()
        assert result.pair_splits[-1] == len(result.pair_refs)
        refs = np.concatenate((result.item_refs, result.pair_refs))
        assert ((refs >= 0) & (refs < result.num_ids)).all()


@pytest.mark.parametrize(
    ("frame", "detail"),
    [
        (b"", "at least a header, 0 bytes"),
        (seal(b"X" * HEADER_BYTES), "expected HWF version 1 or 2"),
        (one_frame()[:-1], "checksum"),
    ],
)
def test_a_reject_says_what_was_expected(frame: bytes, detail: str) -> None:
    reject = decode_frame(frame, offset=12)
    assert isinstance(reject, Reject)
    assert detail in reject.detail
    assert (reject.offset, reject.reason) == (12, "bad_frame")


def test_a_pair_costs_four_bytes() -> None:
    def size(num_pairs: int) -> int:
        rows = [
            Row(offset=offset, item=ITEMS[0], pairs=tuple(Pair(ITEMS[1]) for _ in range(num_pairs)))
            for offset in range(100)
        ]
        return len(encode(rows, destinations=[0] * 9)[0][1])

    assert size(10) - size(9) == 400


def test_above_keeps_rows_ids_and_pairs_of_the_rest() -> None:
    rows = [
        Row(offset=offset, item=ITEMS[offset], pairs=(Pair(ITEMS[offset + 1], weight=offset),))
        for offset in range(4)
    ]
    frame = make_frame(rows, begin=0, end=9).above(2)
    assert rows_of(frame) == rows[2:]
    assert (frame.begin, frame.end) == (2, 9)
    assert frame.num_ids == 3
