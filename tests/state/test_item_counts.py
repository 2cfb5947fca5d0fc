from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.item_counts import ItemCounts
from state.item_limits import DAY_MS, HOUR_MS, MINUTE_MS, ItemLimits
from tests.state.item_worlds import START_MS, small_limits

HALF_LIVES = np.array([5 * MINUTE_MS, HOUR_MS, DAY_MS], np.int64)


def new_counts() -> ItemCounts:
    return ItemCounts(limits=small_limits())


def add(counts: ItemCounts, events: list[tuple[int, int]], *, action: int = 0) -> int:
    """Add (time, strength) to item row 0."""
    size = len(events)
    return counts.add(
        np.zeros(size, np.int32),
        np.array([time for time, _ in events], np.int64),
        np.full(size, action, np.uint8),
        np.ones(size, np.int8),
        np.array([strength for _, strength in events], np.int16),
    )


def read(counts: ItemCounts, as_of_ms: int) -> tuple[list[float], list[float]]:
    popularity, actions = counts.read(
        np.zeros(1, np.int32),
        as_of_ms=as_of_ms,
        half_lives_ms=HALF_LIVES,
        action_half_life_ms=DAY_MS,
    )
    return popularity[0].tolist(), actions[0].tolist()


def covered(time_ms: int, as_of_ms: int, limits: ItemLimits) -> tuple[float, float] | None:
    """Return the part of event time [start, end) whose middle stands for an event, in ms."""
    finer_ms = None
    for size_ms, number in (
        (MINUTE_MS, limits.num_minutes),
        (HOUR_MS, limits.num_hours),
        (DAY_MS, limits.num_days),
    ):
        tile = time_ms // size_ms
        if tile > as_of_ms // size_ms - number:
            end = (tile + 1) * size_ms
            return tile * size_ms, end if finer_ms is None else min(
                end, max(finer_ms, tile * size_ms)
            )
        finer_ms = (as_of_ms // size_ms - number + 1) * size_ms
    return None


@given(
    events=st.lists(st.tuples(st.integers(0, 40 * DAY_MS), st.integers(0, 3)), max_size=20),
    later_ms=st.sampled_from([0, 1, MINUTE_MS, HOUR_MS, 3 * DAY_MS, 40 * DAY_MS]),
)
@settings(max_examples=60, deadline=None)
def test_popularity_is_the_oracles_sum_over_events(
    events: list[tuple[int, int]], later_ms: int
) -> None:
    events = [(START_MS + time, strength) for time, strength in events]
    as_of_ms = max((time for time, _ in events), default=START_MS) + later_ms
    counts = new_counts()
    add(counts, events)
    expected = np.zeros(len(HALF_LIVES))
    is_newest = True
    for time_ms, strength in sorted(events, reverse=True):
        part = covered(time_ms, as_of_ms, small_limits())
        if part is not None and strength:
            ages_ms = [max(0.0, as_of_ms - sum(part) / 2)] * strength
            is_minute = time_ms // MINUTE_MS > as_of_ms // MINUTE_MS - small_limits().num_minutes
            if is_newest and is_minute:  # One unit is as old as the item's last event of any kind.
                ages_ms[0] = as_of_ms - max(time for time, _ in events)
                is_newest = False
            expected += sum(2.0 ** (-age_ms / HALF_LIVES) for age_ms in ages_ms)
    assert read(counts, as_of_ms)[0] == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6)


def touch(counts: ItemCounts, time_ms: int, *, action: int, count: int) -> None:
    """Add an event on item row 0 that brings no strength."""
    counts.add(
        np.zeros(1, np.int32),
        np.array([time_ms], np.int64),
        np.array([action], np.uint8),
        np.array([count], np.int8),
        np.zeros(1, np.int16),
    )


def test_who_comes_again_refreshes_one_unit_and_adds_none() -> None:
    counts = new_counts()
    add(counts, [(START_MS, 3)])
    as_of_ms = START_MS + 10 * MINUTE_MS
    touch(counts, as_of_ms, action=0, count=1)
    middle_ms = START_MS // MINUTE_MS * MINUTE_MS + MINUTE_MS // 2
    expected = 1 + 2 * 2.0 ** (-(as_of_ms - middle_ms) / HALF_LIVES)
    assert read(counts, as_of_ms)[0] == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize(("action", "count"), [(4, 1), (1, -1), (8, 1)])
def test_a_dislike_an_unlike_or_a_skip_refreshes_nothing(action: int, count: int) -> None:
    counts, other = new_counts(), new_counts()
    for each in (counts, other):
        add(each, [(START_MS, 3)])
    touch(counts, START_MS + MINUTE_MS, action=action, count=count)
    assert read(counts, START_MS + HOUR_MS)[0] == read(other, START_MS + HOUR_MS)[0]


def test_events_of_one_minute_are_told_apart() -> None:
    counts = ItemCounts(limits=small_limits())
    counts.add(
        np.array([0, 1], np.int32),
        np.array([START_MS, START_MS + 1_000], np.int64),
        np.zeros(2, np.uint8),
        np.ones(2, np.int8),
        np.ones(2, np.int16),
    )
    popularity, _ = counts.read(
        np.array([0, 1], np.int32),
        as_of_ms=START_MS + 2_000,
        half_lives_ms=np.array([1_000], np.int64),
        action_half_life_ms=DAY_MS,
    )
    assert popularity[:, 0].tolist() == pytest.approx([0.25, 0.5])


def test_an_older_snapshot_has_the_middle_of_the_newest_minute() -> None:
    counts, restored = new_counts(), new_counts()
    add(counts, [(START_MS, 1)])
    arrays = counts.arrays(4)
    del arrays["last_touched_ms"]
    restored.restore(arrays)
    assert restored.touched_ms(np.arange(2, dtype=np.int32)).tolist() == [
        START_MS // MINUTE_MS * MINUTE_MS + MINUTE_MS // 2,
        0,
    ]


def test_one_event_counts_once_at_any_age() -> None:
    # With an endless half-life each of the three rings in turn holds the event, never two.
    for age_ms in (0, MINUTE_MS, 59 * MINUTE_MS, 61 * MINUTE_MS, 23 * HOUR_MS, 25 * HOUR_MS):
        counts = new_counts()
        add(counts, [(START_MS, 2)])
        endless = np.array([10**15], np.int64)
        popularity, actions = counts.read(
            np.zeros(1, np.int32),
            as_of_ms=START_MS + age_ms,
            half_lives_ms=endless,
            action_half_life_ms=10**15,
        )
        assert popularity[0, 0] == pytest.approx(2.0, rel=1e-4)
        assert actions[0, 0] == pytest.approx(1.0, rel=1e-4)


def test_an_event_leaves_with_its_day() -> None:
    counts = new_counts()
    add(counts, [(START_MS, 2)])
    last_ms = (START_MS // DAY_MS + 30) * DAY_MS
    assert read(counts, last_ms - 1)[1][0] > 0.0
    assert read(counts, last_ms) == ([0.0] * 3, [0.0] * 5)


def test_what_was_taken_back_never_reads_below_zero() -> None:
    counts = new_counts()
    add(counts, [(START_MS, -3)])
    assert read(counts, START_MS)[0] == [0.0] * 3


def test_a_late_event_does_not_revive_a_tile_that_left() -> None:
    # Day ring of 30: [START .. newest] drops START; the late event is counted as old.
    counts = new_counts()
    assert add(counts, [(START_MS + 31 * DAY_MS, 1), (START_MS, 1)]) == 1


def test_unlike_takes_back_a_like() -> None:
    counts = new_counts()
    add(counts, [(START_MS, 2)], action=1)
    counts.add(
        np.zeros(1, np.int32),
        np.array([START_MS], np.int64),
        np.array([6], np.uint8),
        np.array([-1], np.int8),
        np.array([-2], np.int16),
    )
    assert read(counts, START_MS) == ([0.0] * 3, [0.0] * 5)


def test_rows_of_others_are_skipped() -> None:
    counts = new_counts()
    counts.add(
        np.array([-1], np.int32),
        np.array([START_MS], np.int64),
        np.zeros(1, np.uint8),
        np.ones(1, np.int8),
        np.ones(1, np.int16),
    )
    assert not counts.arrays(64)["tiles"].any()


def test_a_cleared_row_starts_anew() -> None:
    counts = new_counts()
    add(counts, [(START_MS, 2)])
    counts.clear(np.zeros(1, np.int32))
    assert read(counts, START_MS) == ([0.0] * 3, [0.0] * 5)
