from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.configuration import make_engine, make_pipeline
from state.signal_columns import SignalColumns
from stream.errors import StateMismatch
from stream.settings import Settings
from stream.signal_kernels import from_small_float, to_small_float
from stream.signals import decode_signals, encode_signals
from stream.slab import Slab

# A version above ours is no broken record (tests/stream/test_formats.py).
VERSION_AT = 3


def make_signals(
    neighbours: list[list[bytes]], *, half_lives: int = 3, windows: int = 2, seed: int = 0
) -> SignalColumns:
    """Make signals of items named 0, 1, ... with the given neighbours and random numbers."""
    random = np.random.default_rng(seed)
    count = len(neighbours)
    ids = [b"item-%d" % index for index in range(count)]
    names = [name for each in neighbours for name in each]
    texts = ids + names
    lengths = np.array([len(text) for text in texts], np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths

    def numbers(rows: int, columns: int) -> np.ndarray:
        return (random.random((rows, columns)) * 1000).astype(np.float32)

    return SignalColumns(
        buffer=np.frombuffer(b"".join(texts), np.uint8),
        starts=starts[:count],
        lengths=lengths[:count],
        offsets=random.integers(0, 2**50, count),
        as_of_ms=random.integers(0, 2**42, count),
        popularity=numbers(count, half_lives),
        action_counts=numbers(count, 5),
        interactions=numbers(count, windows),
        out_sums=numbers(count, windows),
        in_sums=numbers(count, windows),
        neighbour_splits=np.cumsum([0, *map(len, neighbours)], dtype=np.int64),
        neighbour_starts=starts[count:],
        neighbour_lengths=lengths[count:],
        neighbour_out=numbers(len(names), windows),
        neighbour_in=numbers(len(names), windows),
        neighbour_cf=numbers(len(names), windows),
    )


def slab_of(records: list[tuple[bytes, bytes | None]]) -> Slab:
    """Make a slab of keyed records: keys stand before values in the buffer."""
    keys = b"".join(key for key, _ in records)
    slab = Slab.from_values([value for _, value in records], topic="headwater-item-signals")
    lengths = np.array([len(key) for key, _ in records], np.int32)
    return replace(
        slab,
        buffer=np.concatenate((np.frombuffer(keys, np.uint8), slab.buffer)),
        key_starts=np.cumsum(lengths, dtype=np.int64) - lengths,
        key_lengths=lengths,
        value_starts=np.where(slab.value_starts >= 0, slab.value_starts + len(keys), -1),
    )


@given(
    neighbours=st.lists(st.lists(st.binary(min_size=1, max_size=12), max_size=5), max_size=6),
    half_lives=st.integers(0, 5),
    windows=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_signals_survive_the_wire(
    neighbours: list[list[bytes]], half_lives: int, windows: int, seed: int
) -> None:
    sent = make_signals(neighbours, half_lives=half_lives, windows=windows, seed=seed)
    records = encode_signals(sent)
    assert [key for key, _ in records] == [sent.item_id(index) for index in range(len(sent))]
    came = decode_signals(slab_of(list(records)))
    for name in ("offsets", "as_of_ms", "popularity", "action_counts"):
        assert_same(getattr(came, name), getattr(sent, name))
    if len(sent) == 0:
        return
    for name in ("interactions", "out_sums", "in_sums", "neighbour_splits"):
        np.testing.assert_array_equal(getattr(came, name), getattr(sent, name))
    for name in ("neighbour_out", "neighbour_in", "neighbour_cf"):
        np.testing.assert_allclose(getattr(came, name), getattr(sent, name), rtol=2.0**-11)
    for index in range(len(sent)):
        assert came.item_id(index) == sent.item_id(index)
    for index in range(len(sent.neighbour_starts)):
        assert came.neighbour_id(index) == sent.neighbour_id(index)


def assert_same(came: np.ndarray, sent: np.ndarray) -> None:
    if len(sent):
        np.testing.assert_array_equal(came, sent)


@given(value=st.floats(min_value=0, max_value=2.0**33, width=32))
@settings(max_examples=300, deadline=None)
def test_a_small_float_is_within_its_promise(value: float) -> None:
    small = to_small_float(np.float32(value))
    assert 0 <= small < 65_536
    assert from_small_float(small) == pytest.approx(value, rel=2.0**-11, abs=2.0**-30)


def test_small_floats_keep_zero_and_order_and_stop_at_both_ends() -> None:
    assert from_small_float(to_small_float(np.float32(0.0))) == 0.0
    assert to_small_float(np.float32(-1.0)) == 0
    assert to_small_float(np.float32(np.nan)) == 0
    assert to_small_float(np.float32(np.inf)) == 65_535
    assert to_small_float(np.float32(1e-20)) == 0
    values = [from_small_float(small) for small in range(0, 65_536, 7)]
    assert values == sorted(values)
    assert all(to_small_float(value) == 7 * place for place, value in enumerate(values))


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_broken_records_are_left_out_and_nothing_is_read_beyond(data: st.DataObject) -> None:
    records = encode_signals(make_signals([[b"a", b"bc"], [b"d"]]))
    broken = bytearray(records[0][1])
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at] = data.draw(st.integers(0, 1 if at == VERSION_AT else 255))
    cut = data.draw(st.integers(0, len(broken)))
    slab = slab_of([(b"x", bytes(broken[:cut])), records[1], (b"y", None)])
    came = decode_signals(slab, num_half_lives=3, num_windows=2)
    assert came.item_id(len(came) - 1) == b"item-1"
    ends = came.neighbour_starts + came.neighbour_lengths
    assert (ends <= len(slab.buffer)).all()


def test_records_of_other_settings_than_were_asked_for_are_left_out() -> None:
    mixed = [
        *encode_signals(make_signals([[b"a"]], windows=1)),
        *encode_signals(make_signals([[b"a"], [b"b"]], windows=2)),
    ]
    assert len(decode_signals(slab_of(list(mixed)), num_windows=2)) == 2
    assert len(decode_signals(slab_of(list(mixed)), num_windows=1)) == 1


def test_records_without_key_or_value_are_left_out() -> None:
    value = encode_signals(make_signals([[b"a"]]))[0][1]
    slab = Slab.from_values([value, None])
    assert len(decode_signals(slab)) == 0


def test_fifty_neighbours_in_two_windows_take_about_a_kilobyte() -> None:
    names = [b"video-%04d" % number for number in range(50)]
    assert len(encode_signals(make_signals([names], half_lives=5))[0][1]) == 1_238


def test_slabs_without_signals_change_nothing() -> None:
    """Somebody may take an item's key out of the topic; that is no end of a worker."""
    pipeline = make_pipeline(Settings(), make_engine(Settings()))
    pipeline.read_signals(Slab.from_records([(b"clip", None)]))
    pipeline.read_signals(Slab.from_records([(b"clip", b"not ours"), (None, b"nor this")]))
    assert len(pipeline.engine.catalogue.items) == 0


def test_signals_of_two_settings_are_refused_in_any_order_and_however_they_are_cut() -> None:
    ours = encode_signals(make_signals([[b"a"]], half_lives=5, windows=2))
    theirs = encode_signals(make_signals([[b"b"]], half_lives=5, windows=3))
    for records in (ours + theirs, theirs + ours):
        pipeline = make_pipeline(Settings(), make_engine(Settings()))
        with pytest.raises(StateMismatch, match="one number of windows, got 2 and 3. Set what"):
            pipeline.read_signals(Slab.from_records(records))


def test_signals_made_with_other_settings_are_refused_with_what_to_do() -> None:
    pipeline = make_pipeline(Settings(), make_engine(Settings()))
    records = encode_signals(make_signals([[b"a"]], half_lives=3, windows=2))
    with pytest.raises(StateMismatch) as raised:
        pipeline.read_signals(Slab.from_records(records, topic="signals"))
    assert str(raised.value).startswith(
        "signals/0: expected signals of 5 half-lives and 2 windows, got 3 and 2. Set what"
    )
    assert "HEADWATER_TOPICS__ITEM_SIGNALS" in str(raised.value)
