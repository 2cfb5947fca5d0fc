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
    for time_ms, strength in events:
        part = covered(time_ms, as_of_ms, small_limits())
        if part is not None:
            age_ms = max(0.0, as_of_ms - sum(part) / 2)
            expected += strength * 2.0 ** (-age_ms / HALF_LIVES)
    assert read(counts, as_of_ms)[0] == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6)


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
