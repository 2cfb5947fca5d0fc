import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.signal_publisher import OwedRows, SignalPacer


def rows(*values):
    return np.array(values, np.int32)


def pacer(**options):
    return SignalPacer(**{"interval_ms": 100, "max_rows_per_s": 1_000, "max_batch": 8, **options})


def test_a_row_is_published_once_per_interval():
    """[published at 0 ---- changed at 50 ---- due at 100)."""
    p = pacer()
    assert p.admit(rows(1), 0).tolist() == [1]
    assert p.admit(rows(1), 50).tolist() == []
    assert p.admit(rows(1), 60).tolist() == []
    assert p.admit(rows(), 99).tolist() == []
    assert p.admit(rows(), 100).tolist() == [1]
    assert p.admit(rows(), 200).tolist() == []
    assert p.num_held == 1


def test_all_rows_together_are_bounded():
    p = pacer(max_rows_per_s=10, max_batch=2, interval_ms=0)
    assert p.admit(rows(1, 2, 3), 0).tolist() == [1, 2]
    assert p.admit(rows(), 50).tolist() == []
    assert p.admit(rows(), 100).tolist() == [3]


def test_nothing_saved_up_exceeds_a_batch():
    p = pacer(max_batch=3)
    assert p.allowance(0) == 3
    assert p.allowance(1_000_000) == 3


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 60), st.sets(st.integers(0, 9), max_size=6)), max_size=30))
def test_no_row_is_lost_and_none_comes_too_often(steps):
    p = pacer(max_rows_per_s=100, max_batch=4)
    now_ms = 0
    published = {}
    open_rows = set()
    for step, changed in steps:
        now_ms += step
        out = p.admit(rows(*sorted(changed)), now_ms).tolist()
        open_rows |= changed
        assert len(set(out)) == len(out) <= 4
        for row in out:
            assert now_ms >= published.get(row, -1_000) + 100
            published[row] = now_ms
            open_rows.discard(row)
    for _ in range(50):
        now_ms += 100
        open_rows -= set(p.admit(rows(), now_ms).tolist())
    assert not open_rows
    p.admit(rows(), now_ms + 1_000)
    assert not p._recent
    assert not p._is_changed


def test_what_is_owed_again_while_it_is_written_stays_owed():
    owed = OwedRows()
    owed.owe(rows(3, 5_000))
    read, tickets = owed.read(10)
    owed.owe(rows(3))
    owed.settle(read, tickets)
    assert owed.rows().tolist() == [3]
    owed.settle(*owed.read(10))
    assert owed.rows().tolist() == []


def test_no_more_is_read_than_asked_for():
    owed = OwedRows()
    owed.owe(rows(*range(10)))
    assert owed.read(4)[0].tolist() == [0, 1, 2, 3]


def test_an_owed_row_travels_with_the_snapshot_and_is_not_looked_for():
    p = pacer()
    p.similar.owe(rows(7))
    assert p.rows().tolist() == [7]
    assert p.holds(rows(6, 7)).tolist() == [False, True]
