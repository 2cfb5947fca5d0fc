"""Frames and signals of other versions: older ones are read, newer ones end the worker."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from consumers.configuration import make_engine, make_pipeline
from state.actions import LIKE, SKIP, WATCH
from state.deltas import DeltaRows
from state.frame_columns import FrameColumns
from state.hashing import hash64
from stream.errors import FrameHole, NewerFormat, StateMismatch
from stream.frames import READABLE, VERSION, decode_frame, encode_frames, newer_version
from stream.pipeline import Pipeline
from stream.settings import Settings
from stream.signals import VERSION as SIGNALS_VERSION
from stream.signals import decode_signals, encode_signals
from stream.slab import Slab
from tests.state.item_worlds import START_MS
from tests.stream.test_signals import make_signals, slab_of

TOPIC = "headwater-item-deltas"


def zigzag(value: int) -> bytes:
    """Pack a signed number in groups of seven bits, lowest first."""
    left, packed = value << 1 if value >= 0 else (-value << 1) - 1, b""
    while left >= 128:
        packed += bytes([left & 127 | 128])
        left >>= 7
    return packed + bytes([left])


def frame_by_hand(version: int, *, actions: tuple[int, ...], begin: int = 0) -> bytes:
    """Write a frame of one owned item, a row per action, by the table and not by our encoder."""
    rows = b""
    for index, action in enumerate(actions):
        strength = 4 if action == LIKE else 0
        rows += bytes([0 if index == 0 else 1])  # The offset, as a difference.
        rows += zigzag(START_MS if index == 0 else 1_000)
        rows += struct.pack("<HB", 0, action | 2 << 4) + zigzag(strength) + b"\x00"
    fields = (0, begin, begin + len(actions), len(actions), 0, 1, len(b"clip"))
    head = b"HWF" + bytes([version]) + struct.pack("<IqqIIII", *fields)
    return sealed(head + bytes([len(b"clip"), 1]) + b"clip" + rows)


def sealed(body: bytes) -> bytes:
    checksum = int(hash64(np.frombuffer(body, np.uint8), 0, len(body), 0))
    return body + checksum.to_bytes(8, "little")


def pipeline_of_items() -> Pipeline:
    settings = Settings(topics={"partitions": 1, "item_partitions": 1})
    engine = make_engine(settings)
    engine.open_items(0)
    return make_pipeline(settings, engine)


def fold(pipeline: Pipeline, *frames: bytes) -> None:
    pipeline.fold_item_deltas(Slab.from_values(list(frames), topic=TOPIC))


def counted(pipeline: Pipeline) -> list[float]:
    """Return the counts per action of the one item: a skip is a watch that is no touch."""
    items = pipeline.engine.items[0]
    signals = items.read_signals(items.live_rows(), as_of_ms=items.stream_time_ms)
    return [round(float(each)) for each in signals.action_counts[0]]


@pytest.mark.parametrize("version", READABLE)
def test_a_frame_of_every_version_that_may_lie_in_the_topic_counts(version: int) -> None:
    frame = frame_by_hand(version, actions=(WATCH, SKIP, LIKE))
    columns = decode_frame(frame)
    assert isinstance(columns, FrameColumns), columns
    assert columns.actions.tolist() == [WATCH, SKIP, LIKE]
    pipeline = pipeline_of_items()
    fold(pipeline, frame)
    assert counted(pipeline) == [2, 1, 0, 0, 0]
    assert pipeline.engine.items[0].counters["applied"] == 3


def test_versions_follow_one_another_in_one_log() -> None:
    """An upgrade needs no new topic: what the old worker wrote lies below what the new one did."""
    pipeline = pipeline_of_items()
    frames = [
        frame_by_hand(version, actions=(WATCH,), begin=begin)
        for begin, version in enumerate(READABLE)
    ]
    fold(pipeline, *frames, frames[0])  # What is read again counts once, of whatever version.
    assert counted(pipeline)[WATCH] == len(READABLE)


def test_what_is_written_is_of_the_newest_version_that_is_read() -> None:
    assert max(READABLE) == VERSION
    frame = frame_by_hand(VERSION, actions=(LIKE,))
    columns = decode_frame(frame)
    assert isinstance(columns, FrameColumns)
    ours = encode_frames(
        _deltas_of(columns),
        arena=np.frombuffer(b"clip", np.uint8).copy(),
        starts=np.zeros(1, np.int64),
        lengths=np.full(1, 4, np.int32),
        destinations=np.zeros(1, np.int32),
        num_destinations=1,
        source_partition=0,
        froms=np.zeros(1, np.int64),
        to=1,
    )
    assert ours == [(0, frame)]


def _deltas_of(columns: FrameColumns) -> DeltaRows:
    return DeltaRows(
        offsets=columns.offsets,
        item_rows=columns.item_refs,
        timestamps_ms=columns.timestamps_ms,
        actions=columns.actions,
        counts=columns.counts,
        strengths=columns.strengths,
        pair_splits=columns.pair_splits,
        pair_item_rows=columns.pair_refs,
        pair_lags=columns.pair_lags,
        pair_weights=columns.pair_weights,
    )


def test_a_newer_frame_ends_the_worker_and_nothing_of_it_counts() -> None:
    pipeline = pipeline_of_items()
    ours = frame_by_hand(VERSION, actions=(WATCH,))
    newer = frame_by_hand(VERSION + 1, actions=(WATCH,), begin=1)
    later = frame_by_hand(VERSION, actions=(WATCH,), begin=2)
    wanted = (
        rf"{TOPIC}/0: expected frames of version 1 or 2, found version 3 at offset 1: .*newer "
        r"Headwater.*stop all workers of this version and start the newer one; to go back, .*new "
        r"group id, data folder, item-deltas"
    )
    with pytest.raises(NewerFormat, match=wanted):
        fold(pipeline, ours, newer, later)
    assert counted(pipeline)[WATCH] == 1
    assert pipeline.engine.items[0].next_offset == 1, "a newer worker goes on at this very frame"


def test_bytes_that_are_no_frame_are_no_newer_version() -> None:
    assert (
        newer_version(b"") is newer_version(b"HWF") is newer_version(b"HWFx"[:3] + b"\x00") is None
    )
    with pytest.raises(FrameHole, match=r"offset 0: expected HWF version .*new group id"):
        fold(pipeline_of_items(), b"{}" * 40)


def test_a_frame_of_a_partition_that_there_is_not_ends_the_worker_with_a_line() -> None:
    pipeline = pipeline_of_items()
    frame = bytearray(frame_by_hand(VERSION, actions=(WATCH,)))
    frame[4] = 7
    wanted = r"item-deltas/0: offset 0: expected a source partition below 1, got 7; .* stop them"
    with pytest.raises(StateMismatch, match=wanted):
        fold(pipeline, sealed(bytes(frame[:-8])))
    assert pipeline.engine.items[0].next_offset == 0


def test_a_newer_signal_ends_the_worker_where_a_broken_one_is_left_out() -> None:
    (key, value), *rest = encode_signals(make_signals([[b"a"], [b"b"]]))
    newer = b"HWS" + bytes([SIGNALS_VERSION + 1]) + b"whatever comes then"
    wanted = (
        r"item-signals/0: expected item signals of version 1, found version 2 at offset 1: .*newer "
        r"Headwater.*to go back, name another item-signals topic"
    )
    with pytest.raises(NewerFormat, match=wanted):
        decode_signals(slab_of([(key, value), (b"x", newer), *rest]))
    assert len(decode_signals(slab_of([(key, value), (b"x", b"HWX" + newer[3:]), *rest]))) == 2
