"""The rules of the fold by example, and its vectors against sums over the log."""

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from state.user_limits import UserLimits
from tests.state.user_builders import (
    Log,
    SmallCatalogue,
    apply,
    deltas_by_id,
    users_by_id,
)
from tests.state.user_logs import IDS, LIMITS, ROOMY, check_against, check_derived, logs, make
from tests.state.user_oracle import COMMENT, LIKE, SHARE, UNLIKE, WATCH, Event, UserOracle, of


@given(log=logs(max_size=40), limits=LIMITS)
@settings(deadline=None, max_examples=60)
def test_vectors_and_affinities_equal_sums_over_the_log(log: Log, limits: UserLimits) -> None:
    # Room for all: the affinities' ties among equal weights then cannot differ by rounding.
    limits = dataclasses.replace(limits, max_users=64, max_items=64, max_affinities=16)
    catalogue = SmallCatalogue()
    embeddings, keys = {}, {}
    for row, id in enumerate(IDS):
        catalogue.ensure(
            of(id), np.zeros(1, np.int64), np.array([len(id)], np.int32), np.zeros(1, np.int64)
        )
        embeddings[id] = catalogue.embeddings[row].astype(np.float64)
        tags = catalogue.tag_keys[row].tolist()
        keys[id] = [int(catalogue.author_keys[row]), *tags]
    partition, oracle = make(limits, catalogue), UserOracle(limits, embeddings, keys)
    for offset, event in enumerate(log):
        oracle.apply(offset, event)

    apply(partition, log, 0, len(log))

    check_derived(partition, oracle, catalogue, oracle.stream_time)
    check_derived(partition, oracle, catalogue, oracle.stream_time + 77)


def test_a_full_set_of_affinities_gives_the_least_place_to_a_newcomer() -> None:
    catalogue = SmallCatalogue(num_tags=0)
    catalogue.author_keys[:3] = (11, 22, 33)
    limits = dataclasses.replace(ROOMY, max_affinities=2, long_half_life_ms=10**12)
    partition = make(limits, catalogue)
    log: Log = [
        Event(b"u", b"x", b"1", 5, COMMENT),
        Event(b"u", b"y", b"2", 5, LIKE),
        Event(b"u", b"z", b"3", 5, WATCH, 10, 10),
    ]

    apply(partition, log, 0, 3)

    users = partition.read_users(np.zeros(1, np.int32))
    assert users.affinity_keys.tolist() == [[11, 33]]
    assert users.affinity_weights[0].tolist() == pytest.approx([3.0, 2.0 + 1.0])


def test_times_at_the_extremes_neither_overflow_nor_stop() -> None:
    limits = dataclasses.replace(ROOMY, grace_ms=2**60, link_ms=2**60)
    partition, oracle = make(limits, SmallCatalogue()), UserOracle(limits)
    times = [0, 2**60, -(2**60), 2**60, 1, -1, 2**60 - 1]
    log: Log = [
        Event(b"u", f"{i % 3}".encode(), f"{i}".encode(), ts, LIKE if i % 2 else COMMENT)
        for i, ts in enumerate(times)
    ]
    for offset, event in enumerate(log):
        oracle.apply(offset, event)

    result = apply(partition, log, 0, len(log))

    assert deltas_by_id(partition, result) == oracle.deltas
    check_against(partition, oracle)
    users = partition.read_users(np.zeros(1, np.int32))
    assert np.isfinite(users.session_vectors).all()


def test_a_repeated_like_changes_nothing_but_is_applied() -> None:
    partition = make()
    log: Log = [Event(b"u", b"x", b"1", 5, LIKE), Event(b"u", b"x", b"2", 9, LIKE)]

    result = apply(partition, log, 0, 2)

    assert len(result.applied) == 2
    assert len(result.deltas) == 1
    assert users_by_id(partition)[b"u"][3] == [(b"x", 5, 2, 1 << LIKE, 0)]


def test_unlike_takes_back_what_is_left_in_the_entrys_time() -> None:
    partition = make()
    log: Log = [
        Event(b"u", b"x", b"1", 5, LIKE),
        Event(b"u", b"x", b"2", 7, COMMENT),
        Event(b"u", b"x", b"3", 9, UNLIKE),
        Event(b"u", b"x", b"4", 9, UNLIKE),
    ]

    deltas = deltas_by_id(partition, apply(partition, log, 0, 4))

    assert [row[:6] for row in deltas] == [
        (0, b"x", 5, LIKE, 1, 2),
        (1, b"x", 7, COMMENT, 1, 1),
        (2, b"x", 7, LIKE, -1, -3),
    ]


def test_liking_and_unliking_in_turn_makes_pairs_once() -> None:
    partition = make()
    turns = [Event(b"u", b"x", f"{i}".encode(), 5, (LIKE, UNLIKE)[i % 2]) for i in range(6)]

    deltas = deltas_by_id(
        partition, apply(partition, [Event(b"u", b"w", b"w", 5, LIKE), *turns], 0, 7)
    )

    assert [row[6] for row in deltas if row[6]] == [[(b"w", 1, 255)]]


def test_a_weak_watch_that_becomes_a_like_makes_its_pairs_then() -> None:
    partition = make()
    log: Log = [
        Event(b"u", b"w", b"1", 5, LIKE),
        Event(b"u", b"x", b"2", 6, WATCH, 1, 100),
        Event(b"u", b"x", b"3", 7, LIKE),
        Event(b"u", b"x", b"4", 8, COMMENT),
    ]

    deltas = deltas_by_id(partition, apply(partition, log, 0, 4))

    assert [[item for item, _, _ in row[6]] for row in deltas] == [[], [], [b"w"], [b"x", b"w"]]


def test_coming_back_to_an_item_pairs_it_with_itself_in_its_old_place() -> None:
    partition = make()
    log: Log = [
        Event(b"u", b"x", b"1", 5, LIKE),
        Event(b"u", b"y", b"2", 6, LIKE),
        Event(b"u", b"x", b"3", 7, COMMENT),
        Event(b"u", b"x", b"4", 8, COMMENT),
    ]

    deltas = deltas_by_id(partition, apply(partition, log, 0, 4))

    assert [[(item, lag) for item, lag, _ in row[6]] for row in deltas] == [
        [],
        [(b"x", 1)],
        [(b"y", 1), (b"x", 2)],
        [(b"x", 1), (b"y", 2)],
    ]


DAY_MS = 86_400_000
TWICE = dataclasses.replace(ROOMY, max_repeats_per_day=2, grace_ms=DAY_MS, link_ms=10 * DAY_MS)


def rows_of(log: Log) -> list[tuple[bytes, int, int, int]]:
    """Return (item, action, strength, number of pairs) of each row under two repeats a day."""
    partition = make(TWICE)
    deltas = deltas_by_id(partition, apply(partition, log, 0, len(log)))
    return [(item, action, gain, len(pairs)) for _, item, _, action, _, gain, pairs in deltas]


def whole_watches(*times_ms: int) -> Log:
    return [
        Event(b"u", b"x", b"%d" % number, ts, WATCH, 10, 10) for number, ts in enumerate(times_ms)
    ]


def test_one_who_does_the_same_again_and_again_counts_a_few_times_a_day() -> None:
    robot = whole_watches(*range(100), *range(DAY_MS, DAY_MS + 100))
    assert len(rows_of(robot)) == 1 + 2 + 2


def test_going_back_and_forth_between_two_days_gains_no_more_than_the_two_days() -> None:
    eve, morrow = DAY_MS - 1, DAY_MS
    assert len(rows_of(whole_watches(*[morrow, eve] * 20))) <= 1 + 2 + 2
    assert len(rows_of(whole_watches(*[eve, morrow] * 20))) <= 1 + 2 + 2


def test_of_two_days_far_apart_within_the_grace_each_has_its_repeats_once() -> None:
    patient = dataclasses.replace(TWICE, grace_ms=15 * DAY_MS)
    for days in range(1, 16):
        partition = make(patient)
        log = whole_watches(*[days * DAY_MS, 0] * 20)
        deltas = deltas_by_id(partition, apply(partition, log, 0, len(log)))
        assert len(deltas) <= 1 + 2 + 2, days


def test_after_a_long_absence_repeats_count_whatever_the_day() -> None:
    for days in range(1, 40):
        away = whole_watches(0, 1, 2, 3, days * DAY_MS)
        assert len(rows_of(away)) == 1 + 2 + 1, days


def test_beyond_the_cap_what_is_new_still_counts_and_pairs_no_more() -> None:
    log = [Event(b"u", b"y", b"y", 0, LIKE), *whole_watches(1, 2, 3, 4)]
    log += [Event(b"u", b"x", b"c", 5, COMMENT), Event(b"u", b"x", b"d", 6, COMMENT)]
    assert rows_of(log)[1:] == [
        (b"x", WATCH, 1, 1),
        (b"x", WATCH, 0, 2),
        (b"x", WATCH, 0, 2),
        (b"x", COMMENT, 2, 0),  # The first comment, and a greater strength.
    ]


def test_likes_given_and_taken_back_add_up_to_one_and_pair_a_few_times() -> None:
    log: Log = []
    for number in range(20):
        log.append(Event(b"u", b"x", b"l%d" % number, number, LIKE))
        log.append(Event(b"u", b"y", b"w%d" % number, number, COMMENT))
        log.append(Event(b"u", b"x", b"u%d" % number, number, UNLIKE))
    rows = [row for row in rows_of(log) if row[0] == b"x"]
    assert sum(gain for _, _, gain, _ in rows) == 0
    assert sum(num_pairs > 0 for _, _, _, num_pairs in rows) == 2


def test_an_unlike_makes_nothing_count_as_a_first_one_again() -> None:
    circle = (LIKE, UNLIKE, WATCH, SHARE, COMMENT)
    log: Log = [
        Event(b"u", b"x", b"%d" % number, number, circle[number % 5], 10, 10)
        for number in range(100)
    ]
    partition = make(TWICE)
    deltas = deltas_by_id(partition, apply(partition, log, 0, len(log)))
    counts = dict.fromkeys(circle, 0)
    for _, _, _, action, count, _, _ in deltas:
        counts[action] += count
    # The first like, two repeats (a watch, a share), the first comment, the like given last.
    assert counts == {LIKE: 0, UNLIKE: 0, WATCH: 1, SHARE: 1, COMMENT: 1}


@given(
    circle=st.lists(
        st.tuples(st.integers(WATCH, UNLIKE), st.sampled_from([1, 10])), min_size=1, max_size=8
    ),
    repeats=st.integers(0, 3),
)
def test_what_one_user_adds_to_an_item_in_a_day_is_bounded_whatever_circle_they_go(
    circle: list[tuple[int, int]], repeats: int
) -> None:
    """Counts but likes: the opening, the repeats, one first of each action, a watch after skips."""
    partition = make(dataclasses.replace(TWICE, max_repeats_per_day=repeats))
    log: Log = [
        Event(b"u", b"x", b"%d" % number, number, action, watched, 10)
        for number, (action, watched) in enumerate(circle * 12)
    ]
    deltas = deltas_by_id(partition, apply(partition, log, 0, len(log)))
    likes = sum(row[4] for row in deltas if row[3] == LIKE)
    others = [row[4] for row in deltas if row[3] != LIKE]
    [strength, bits] = users_by_id(partition)[b"u"][3][0][2:4] if deltas else [0, 0]

    assert sum(others) <= 1 + repeats + 6
    assert likes == bits >> LIKE & 1
    assert sum(row[5] for row in deltas) == strength
    assert sum(len(row[6]) for row in deltas) <= TWICE.max_lags * (1 + repeats)


@given(
    circle=st.lists(
        st.tuples(st.integers(WATCH, UNLIKE), st.sampled_from([1, 10]), st.sampled_from([0, 1])),
        min_size=1,
        max_size=6,
    ),
    repeats=st.integers(0, 3),
)
@example(circle=[(LIKE, 10, 1), (WATCH, 10, 0), (UNLIKE, 10, 0)], repeats=2)
def test_what_one_user_moves_from_one_time_of_an_item_to_another_is_bounded(
    circle: list[tuple[int, int, int]], repeats: int
) -> None:
    """A like here, a touch that moves the entry there, an unlike there: two times of one day."""
    partition = make(dataclasses.replace(TWICE, max_repeats_per_day=repeats))
    log: Log = [
        Event(b"u", b"x", b"%d" % number, 10 * later, action, watched, 10)
        for number, (action, watched, later) in enumerate(circle * 20)
    ]
    deltas = deltas_by_id(partition, apply(partition, log, 0, len(log)))

    for at in (0, 10):
        there = [row for row in deltas if row[2] == at]
        # Each repeat and each first action (six) may leave something behind it once.
        assert abs(sum(row[5] for row in there)) <= 3 * (1 + repeats + 6)
        assert abs(sum(row[4] for row in there if row[3] == LIKE)) <= 1 + repeats + 6
