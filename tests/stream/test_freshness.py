import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.events import Action
from stream.freshness import FreshnessHistograms, FreshnessLedger


def append(ledger, partition, events):
    """Append (row, offset, time, action) tuples."""
    rows, offsets, times, actions = zip(*events, strict=True)
    ledger.append(
        partition,
        user_rows=np.array(rows, np.int32),
        offsets=np.array(offsets, np.int64),
        times_ms=np.array(times, np.int64),
        actions=np.array(actions, np.uint8),
    )


def rows(*values):
    return np.array(values, np.int32)


def test_a_list_answers_the_events_below_its_offset_and_no_others():
    ledger = FreshnessLedger(max_events=10)
    append(ledger, 0, [(5, 1, 100, Action.WATCH), (5, 2, 110, Action.LIKE), (7, 3, 120, 0)])
    ages = ledger.answer(0, rows(5), 2, 150)
    assert (ages.ages_ms.tolist(), ages.actions.tolist()) == ([50], [Action.WATCH])
    assert sorted(ledger.outstanding(200).ages_ms.tolist()) == [80, 90]
    assert ledger.answer(0, rows(5), 3, 160).ages_ms.tolist() == [50]
    assert len(ledger.answer(0, rows(5), 99, 170)) == 0


def test_an_event_is_answered_once():
    ledger = FreshnessLedger(max_events=10)
    append(ledger, 0, [(5, 1, 100, 0)])
    assert len(ledger.answer(0, rows(5, 5), 9, 150)) == 1


def test_partitions_do_not_mix():
    ledger = FreshnessLedger(max_events=10)
    append(ledger, 0, [(5, 1, 100, 0)])
    append(ledger, 1, [(5, 1, 100, 0)])
    assert len(ledger.answer(1, rows(5), 9, 150)) == 1
    assert len(ledger) == 1
    assert ledger.drop(0) == 1
    assert len(ledger) == 0
    append(ledger, 0, [(5, 1, 100, 0)])
    assert len(ledger.answer(0, rows(5), 9, 150)) == 1


def test_beyond_the_bound_events_are_counted():
    ledger = FreshnessLedger(max_events=2)
    append(ledger, 0, [(1, 1, 10, 0), (2, 2, 10, 0), (3, 3, 10, 0), (4, 4, 10, 0)])
    assert (len(ledger), ledger.num_untracked) == (2, 2)
    ledger.answer(0, rows(1), 9, 20)
    append(ledger, 0, [(3, 5, 30, 0)])
    assert sorted(ledger.outstanding(40).ages_ms.tolist()) == [10, 30]


def test_users_of_events_beyond_the_bound_are_owed_a_list_until_one_covers_them():
    #   tracked: 1 at 1      untracked: 2 at 2, 3 at 3, 2 at 4
    ledger = FreshnessLedger(max_events=1)
    append(ledger, 0, [(1, 1, 10, 0), (2, 2, 10, 0), (3, 3, 10, 0), (2, 4, 10, 0)])
    assert ledger.user_rows(0).tolist() == [1, 2, 3]
    ledger.answer(0, rows(2, 3), 4, 20)
    assert ledger.user_rows(0).tolist() == [1, 2]
    ledger.answer(0, rows(2), 5, 20)
    assert ledger.user_rows(0).tolist() == [1]
    assert ledger.user_rows(1).tolist() == []


def test_who_was_owed_before_a_restart_is_owed_until_a_list_covers_what_was_restored():
    ledger = FreshnessLedger(max_events=5)
    ledger.owe(0, rows(4, 7), next_offset=20)
    assert (ledger.user_rows(0).tolist(), len(ledger)) == ([4, 7], 0)
    assert len(ledger.answer(0, rows(4), 19, 50)) == 0
    assert ledger.user_rows(0).tolist() == [4, 7]
    ledger.answer(0, rows(4, 7), 20, 50)
    assert ledger.user_rows(0).tolist() == []


def test_erased_users_and_unknown_times_are_left_out():
    ledger = FreshnessLedger(max_events=5)
    append(ledger, 0, [(-1, 1, 10, Action.ERASE), (2, 2, -1, 0), (3, 3, 10, 0)])
    assert (len(ledger), ledger.num_untracked) == (1, 0)
    assert ledger.forget(0, rows(3, 900_000)) == 1


def test_a_clock_behind_kafkas_gives_zero():
    ledger = FreshnessLedger(max_events=5)
    append(ledger, 0, [(1, 1, 100, 0)])
    assert ledger.answer(0, rows(1), 9, 90).ages_ms.tolist() == [0]


def test_histograms_keep_actions_apart():
    ledger = FreshnessLedger(max_events=5)
    append(ledger, 0, [(1, 1, 100, Action.WATCH), (1, 2, 150, Action.LIKE)])
    histograms = FreshnessHistograms()
    histograms.record(ledger.answer(0, rows(1), 9, 200))
    assert histograms.by_action[Action.WATCH].max_ms == 100
    assert histograms.by_action[Action.LIKE].max_ms == 50
    assert histograms.total().count == 2


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 1), st.lists(st.integers(-1, 4), max_size=4)),
        st.tuples(st.just("answer"), st.integers(0, 1), st.lists(st.integers(0, 5), max_size=3)),
        st.tuples(st.just("drop"), st.integers(0, 1), st.just([])),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=80)
@given(STEPS, st.data())
def test_the_ledger_equals_a_list_of_tuples(steps, data):
    ledger = FreshnessLedger(max_events=6)
    slow = []  # (partition, row, offset, time, action)
    owed = {}  # (partition, row): newest offset that no list covers, tracked or not.
    untracked = 0
    for now_ms, (step, partition, users) in enumerate(steps):
        if step == "append":
            events = [(row, now_ms * 10 + i, now_ms, row % 3 + 1) for i, row in enumerate(users)]
            if events:
                append(ledger, partition, [(r, o, t, a) for r, o, t, a in events])
            owed.update({(partition, row): offset for row, offset, _, _ in events if row >= 0})
            for row, offset, time, action in events:
                if row >= 0 and len(slow) < 6:
                    slow.append((partition, row, offset, time, action))
                elif row >= 0:
                    untracked += 1
        elif step == "answer":
            covered = data.draw(st.integers(0, (now_ms + 1) * 10))
            ages = ledger.answer(partition, rows(*users), covered, now_ms)
            hit = [e for e in slow if e[0] == partition and e[1] in users and e[2] < covered]
            slow = [e for e in slow if e not in hit]
            for row in users:
                if owed.get((partition, row), covered) < covered:
                    del owed[partition, row]
            assert sorted(zip(ages.ages_ms, ages.actions, strict=True)) == sorted(
                (now_ms - e[3], e[4]) for e in hit
            )
        else:
            ledger.drop(partition)
            slow = [e for e in slow if e[0] != partition]
            owed = {key: offset for key, offset in owed.items() if key[0] != partition}
        for number in (0, 1):
            rows_owed = sorted(row for each, row in owed if each == number)
            assert ledger.user_rows(number).tolist() == rows_owed
        assert len(ledger) == len(slow)
    assert ledger.num_untracked == untracked
    assert sorted(ledger.outstanding(99).ages_ms) == sorted(99 - e[3] for e in slow)
