from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.frame_columns import FrameColumns, HoleFound
from state.item_limits import DAY_MS, HOUR_MS, ItemLimits
from state.item_partition import ItemPartition
from state.pair_arena import GENERATION, INTERACTIONS, WORDS
from tests.state.item_worlds import (
    ITEMS,
    START_MS,
    ItemOracle,
    Pair,
    Row,
    held_pairs,
    make_frame,
    small_limits,
    source_rows,
)


def half(item: bytes) -> bool:
    """Own every second item, as one of two partitions would."""
    return ITEMS.index(item) % 2 == 0


def new_partition(*, num_sources: int = 1, limits: ItemLimits | None = None) -> ItemPartition:
    return ItemPartition(partition=0, num_sources=num_sources, limits=limits or small_limits())


def apply_all(partition: ItemPartition, frames: Sequence[FrameColumns]) -> ItemPartition:
    for frame in frames:
        partition.apply(offset=partition.next_offset, frame=frame)
    return partition


def digests(partition: ItemPartition) -> tuple[list[bytes], list[bytes]]:
    return list(partition.digest_counts()), list(partition.digest_rows())


@st.composite
def cut_frames(
    draw: st.DrawFn, rows: list[Row], *, source: int, is_owned: object = half
) -> list[FrameColumns]:
    """Cut one source's rows into frames that cover its offsets without a gap."""
    cuts = sorted(draw(st.sets(st.integers(0, len(rows)), max_size=4)) | {0, len(rows)})
    frames, begin = [], 0
    for first, last in zip(cuts, cuts[1:], strict=False):
        part = rows[first:last]
        end = part[-1].offset + 1
        frames.append(
            make_frame(part, begin=begin, end=end, source=source, is_owned=is_owned)  # type: ignore[arg-type]
        )
        begin = end
    return frames


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_interleaving_gives_the_oracles_state(data: st.DataObject) -> None:
    sources = [data.draw(source_rows()) for _ in range(3)]
    frames = [data.draw(cut_frames(rows, source=source)) for source, rows in enumerate(sources)]
    states = []
    for _ in range(2):
        order = data.draw(st.permutations([source for source in range(3) for _ in frames[source]]))
        queues = [list(each) for each in frames]
        states.append(
            apply_all(new_partition(num_sources=3), [queues[source].pop(0) for source in order])
        )
    assert digests(states[0]) == digests(states[1])
    rows = [row for each in sources for row in each]
    check_against_oracle(states[0], ItemOracle(rows, limits=states[0].limits, is_owned=half))


def check_against_oracle(partition: ItemPartition, oracle: ItemOracle) -> None:
    assert partition.counters["overflowed"] == partition.counters["evicted"] == 0
    expected = {key: dict(pairs) for key, pairs in oracle.pairs.items() if pairs}
    assert held_pairs(partition) == expected
    table, limits = partition.pairs, partition.limits
    for (window, generation), marginals in oracle.marginals.items():
        slot = window * limits.num_generations + generation % limits.num_generations
        for item, words in marginals.items():
            header = table.headers[partition.item_rows[partition.ids.row_of(item)], slot]
            assert header[GENERATION] == generation
            assert header[INTERACTIONS:WORDS].tolist() == words
    for item, tiles in oracle.tiles.items():
        row = partition.item_rows[partition.ids.row_of(item)]
        unrolled = partition.counts.unroll(np.array([row], np.int32), now_ms=oracle.now_ms)[0]
        assert unrolled.tolist() == unrolled_tiles(tiles, oracle.now_ms, limits)
        touched_ms = partition.counts.touched_ms(np.array([row], np.int32))
        assert touched_ms.tolist() == [oracle.touched_ms[item]]


def unrolled_tiles(
    tiles: dict[tuple[str, int, int], int], now_ms: int, limits: ItemLimits
) -> list[int]:
    minutes = [tiles.get(("minute", now_ms // 60_000 - age, 5), 0) for age in range(60)]
    hours = [
        tiles.get(("hour", now_ms // HOUR_MS - age, column), 0)
        for age in range(limits.num_hours)
        for column in range(6)
    ]
    days = [
        tiles.get(("day", now_ms // DAY_MS - age, column), 0)
        for age in range(limits.num_days)
        for column in range(6)
    ]
    return minutes + hours + days


@given(rows=source_rows(max_rows=10), data=st.data())
@settings(max_examples=30, deadline=None)
def test_frames_cut_anew_after_a_restart_count_once(rows: list[Row], data: st.DataObject) -> None:
    once = apply_all(new_partition(), data.draw(cut_frames(rows, source=0)))
    twice = apply_all(new_partition(), data.draw(cut_frames(rows, source=0)))
    apply_all(twice, data.draw(cut_frames(rows, source=0)))
    assert digests(once) == digests(twice)
    assert twice.counters["duplicate"] == len(rows)
    assert twice.counters["applied"] == len(rows)


def test_of_a_straddling_frame_only_rows_above_the_watermark_count() -> None:
    # [0------3)            applied before
    #     [2------5)        straddles: offsets 3 and 4 count
    partition = new_partition()
    rows = [Row(offset=offset, item=b"item-%d" % offset) for offset in range(5)]
    partition.apply(offset=0, frame=make_frame(rows[:3]))
    partition.apply(offset=1, frame=make_frame(rows[2:]))
    assert partition.watermarks.tolist() == [5]
    assert digests(partition) == digests(apply_all(new_partition(), [make_frame(rows)]))
    assert partition.counters["duplicate"] == 1


def test_behind_a_cut_head_the_first_frame_counts_and_the_next_must_follow() -> None:
    partition = new_partition(num_sources=2)
    partition.start_at(7)
    partition.apply(offset=7, frame=make_frame([Row(offset=5, item=b"a")], begin=4))
    assert partition.watermarks.tolist() == [6, -1]
    with pytest.raises(HoleFound):
        partition.apply(offset=8, frame=make_frame([Row(offset=8, item=b"a")], begin=8))


def test_a_frame_above_the_watermark_is_a_hole_and_changes_nothing() -> None:
    partition = apply_all(new_partition(), [make_frame([Row(offset=0, item=b"a")])])
    before = digests(partition)
    with pytest.raises(HoleFound, match=r"begins at or below 1, got \[2, 3\)"):
        partition.apply(offset=1, frame=make_frame([Row(offset=2, item=b"a")]))
    assert digests(partition) == before
    assert partition.next_offset == 1


def test_a_frame_of_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a source partition below 1, got 1"):
        new_partition().apply(offset=0, frame=make_frame([Row(offset=0, item=b"a")], source=1))


def test_an_offset_applied_before_changes_nothing() -> None:
    partition = apply_all(new_partition(), [make_frame([Row(offset=0, item=b"a")])])
    partition.apply(offset=0, frame=make_frame([Row(offset=1, item=b"b")]))
    assert partition.ids.row_of(b"b") == -1


def test_a_watermark_moves_over_offsets_without_rows() -> None:
    partition = new_partition()
    partition.apply(offset=0, frame=make_frame([], begin=0, end=7))
    partition.apply(offset=1, frame=make_frame([Row(offset=7, item=b"a")], begin=7))
    assert partition.watermarks.tolist() == [8]


@given(rows=source_rows(max_rows=10), data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_snapshot_goes_on_where_it_was_taken(rows: list[Row], data: st.DataObject) -> None:
    frames = data.draw(cut_frames(rows, source=0))
    split = data.draw(st.integers(0, len(frames)))
    partition = apply_all(new_partition(), frames[:split])
    partition.take_dirty(data.draw(st.integers(0, 3)))
    arrays = {name: array.copy() for name, array in partition.arrays().items()}
    other = Row(offset=0, item=b"other", time_ms=START_MS + 300 * DAY_MS, pairs=(Pair(b"x"),))
    restored = apply_all(new_partition(), [make_frame([other])])
    restored.restore(arrays)
    for each in (partition, restored):
        apply_all(each, frames[split:])
    assert digests(restored) == digests(partition)
    assert restored.counters == partition.counters
    assert restored.take_dirty(99).tolist() == partition.take_dirty(99).tolist()
    ours, theirs = partition.arrays(), restored.arrays()
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_snapshot_of_other_partitions_is_refused() -> None:
    arrays = new_partition(num_sources=2).arrays()
    with pytest.raises(ValueError, match="expected 1 source partitions"):
        new_partition().restore(arrays)


def test_dirty_items_come_oldest_first_and_once() -> None:
    partition = new_partition()
    rows = [Row(offset=0, item=b"a"), Row(offset=1, item=b"b", pairs=(Pair(b"c"),))]
    partition.apply(offset=0, frame=make_frame(rows))
    partition.apply(offset=1, frame=make_frame([Row(offset=2, item=b"a")]))
    taken = [partition.take_dirty(2).tolist(), partition.take_dirty(9).tolist()]
    names = [[partition.ids.id(int(partition.id_rows[row])) for row in rows] for rows in taken]
    assert names == [[b"a", b"b"], [b"c"]]
    partition.apply(offset=2, frame=make_frame([Row(offset=3, item=b"b")]))
    assert len(partition.take_dirty(9)) == 1


def test_items_of_others_are_neighbours_but_never_rows() -> None:
    partition = new_partition()
    rows = [Row(offset=0, item=b"item-0", pairs=(Pair(b"item-1"),))]
    partition.apply(offset=0, frame=make_frame(rows, is_owned=half))
    assert partition.describe(b"item-1") is None
    assert partition.describe(b"item-0")["neighbours"][0]["item_id"] == "item-1"  # type: ignore[index]
    assert partition.sizes()["items"] == (1, 64)
    assert partition.sizes()["ids"] == (2, 128)


def test_at_the_bound_the_items_touched_longest_ago_leave() -> None:
    limits = small_limits(max_items=8, max_ids=16)
    partition = new_partition(limits=limits)
    for number in range(40):
        row = Row(
            offset=number,
            item=b"item-%d" % number,
            time_ms=START_MS + number,
            pairs=(Pair(b"item-%d" % (number - 1)),) if number else (),
        )
        partition.apply(offset=number, frame=make_frame([row]))
        assert all(used <= bound for used, bound in partition.sizes().values())
    assert partition.describe(b"item-39") is not None
    assert partition.describe(b"item-0") is None
    assert partition.counters["evicted"] == 32
    # A pair with an item that left is gone too: its key may belong to another item by now.
    for pairs in held_pairs(partition).values():
        assert all(int(name.split(b"-")[1]) >= 30 for pair in pairs for name in pair)
    assert len(partition.take_dirty(99)) == 8


@given(numbers=st.lists(st.integers(0, 30), min_size=1, max_size=60), seed=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_evictions_never_exceed_bounds_and_repeat_exactly(numbers: list[int], seed: int) -> None:
    rows = [
        Row(
            offset=offset,
            item=b"%d" % number,
            time_ms=START_MS + (offset * 7919 + seed) % 1000,
            pairs=tuple(Pair(b"%d" % ((number + step) % 31), lag=step) for step in (1, 2, 5)),
        )
        for offset, number in enumerate(numbers)
    ]
    states = []
    for _ in range(2):
        limits = small_limits(max_items=6, max_ids=9, max_pairs=64, max_row_pairs=4)
        partition = new_partition(limits=limits)
        for begin in range(0, len(rows), 3):
            partition.apply(offset=begin, frame=make_frame(rows[begin : begin + 3]))
            assert all(used <= bound for used, bound in partition.sizes().values())
        states.append(partition)
    assert digests(states[0]) == digests(states[1])
    assert states[0].counters == states[1].counters
    known = {states[0].ids.id(row) for row in states[0].ids.live_rows().tolist()}
    for pairs in held_pairs(states[0]).values():
        assert all(name in known for pair in pairs for name in pair)


def test_a_frame_with_more_ids_than_fit_keeps_what_fits() -> None:
    partition = new_partition(limits=small_limits(max_items=2, max_ids=3))
    row = Row(offset=0, item=b"x", pairs=tuple(Pair(b"%d" % n, lag=n + 1) for n in range(6)))
    partition.apply(offset=0, frame=make_frame([row]))
    assert partition.counters["overflowed"] >= 4
    assert partition.sizes()["ids"] == (3, 3)
    assert partition.describe(b"x") is not None


def test_heavy_pairs_survive_a_stream_of_single_ones() -> None:
    limits = small_limits(max_items=600, max_ids=600, max_pairs=256, max_row_pairs=64)
    partition = new_partition(limits=limits)
    is_owned = {b"hub"}.__contains__
    for number in range(500):
        others = (b"heavy-%d" % (number % 4), b"single-%d" % number)
        pairs = tuple(Pair(other, lag=1) for other in others)
        row = Row(offset=number, item=b"hub", pairs=pairs)
        partition.apply(offset=number, frame=make_frame([row], is_owned=is_owned))
    assert partition.counters["overflowed"] > 100
    best = [each["item_id"] for each in partition.describe(b"hub")["neighbours"]]  # type: ignore[index]
    assert {f"heavy-{number}" for number in range(4)} == set(best[:4])


def test_an_item_in_no_window_any_more_leaves_the_digest() -> None:
    partition = apply_all(new_partition(), [make_frame([Row(offset=0, item=b"old")])])
    later = Row(offset=1, item=b"new", time_ms=START_MS + 200 * DAY_MS)
    partition.apply(offset=1, frame=make_frame([later]))
    assert not any(b"old" in part for part in partition.digest_counts())
    assert any(b"new" in part for part in partition.digest_counts())


def test_rows_too_old_for_every_tile_are_counted() -> None:
    rows = [Row(offset=0, item=b"a", time_ms=START_MS + 100 * DAY_MS), Row(offset=1, item=b"a")]
    partition = apply_all(new_partition(), [make_frame(rows)])
    assert partition.counters["old"] == 1


def test_the_digest_sees_every_kind_of_integer() -> None:
    base = Row(offset=0, item=b"a", pairs=(Pair(b"b"),))
    changed = [
        Row(offset=0, item=b"a", pairs=(Pair(b"b"),), strength=2),
        Row(offset=0, item=b"a", pairs=(Pair(b"b"),), count=-1),
        Row(offset=0, item=b"a", pairs=(Pair(b"b"),), action=1),
        Row(offset=0, item=b"a", pairs=(Pair(b"b", lag=2),)),
        Row(offset=0, item=b"a", pairs=(Pair(b"b", weight=99),)),
        Row(offset=0, item=b"a", pairs=(Pair(b"b"),), time_ms=START_MS + HOUR_MS),
    ]
    seen = [digests(apply_all(new_partition(), [make_frame([row])])) for row in (base, *changed)]
    assert all(one[0] != seen[0][0] for one in seen[1:])
    assert [one[1] != seen[0][1] for one in seen[1:]] == [False] * 3 + [True] * 2 + [False]


@pytest.mark.parametrize(
    "changes",
    [
        {"max_pairs": 2_048},
        {"max_pairs": 8_192},
        {"num_generations": 2},
        {"windows_ms": (2 * DAY_MS, 60 * DAY_MS)},
        {"windows_ms": (DAY_MS,), "window_weights": (1.0,), "num_generations": 8},
        {"max_items": 1, "max_ids": 2},
    ],
)
def test_a_snapshot_of_other_limits_is_refused(changes: dict[str, object]) -> None:
    """Its positions would mean other lines of memory, its generations other times."""
    rows = [Row(0, b"a", pairs=(Pair(b"b"),)), Row(1, b"b", pairs=(Pair(b"a"),))]
    arrays = apply_all(new_partition(), [make_frame(rows)]).arrays()
    with pytest.raises(ValueError, match="^expected (pairs in|at most)"):
        new_partition(limits=small_limits(**changes)).restore(arrays)
