"""First arrivals against a slow search among all that came before."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.first_arrivals import fingerprints_of, first_arrivals

EVENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 200)), max_size=40)


def slow(events: list[tuple[int, int, int]], within_ms: int) -> list[bool]:
    """Take the oldest that is left and its copies; the first of them to arrive stays."""
    are_first = [False] * len(events)
    left = set(range(len(events)))
    while left:
        user, event, oldest = events[min(left, key=lambda i: events[i][2])]
        copies = {
            i for i in left if events[i][:2] == (user, event) and events[i][2] - oldest <= within_ms
        }
        are_first[min(copies)] = True
        left -= copies
    return are_first


def test_an_id_that_comes_again_and_again_is_forgotten_all_the_same() -> None:
    alike = np.zeros((2, 5), np.uint64)
    found = first_arrivals(alike, np.array([0, 20, 40, 60, 80]), within_ms=50)
    assert found.tolist() == [True, False, False, True, False]


@given(events=EVENTS, within_ms=st.integers(0, 60))
@settings(deadline=None)
def test_first_arrivals_equal_a_slow_search(
    events: list[tuple[int, int, int]], within_ms: int
) -> None:
    # All of a log's events may collide in either half.
    fingerprints = np.array([[each[0] for each in events], [each[1] for each in events]], np.uint64)
    times_ms = np.array([each[2] for each in events], np.int64)
    found = first_arrivals(fingerprints, times_ms, within_ms=within_ms)
    assert found.tolist() == slow(events, within_ms)


def test_fingerprints_tell_users_and_event_ids_apart() -> None:
    buffer = np.frombuffer(b"abcab", np.uint8)

    def span(start: int, length: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full(n, start, np.int64), np.full(n, length, np.int32)

    users, events = (span(0, 1, 4), span(1, 1, 4))
    users[0][:] = [0, 3, 0, 1]  # a, a, a, b
    events[0][:] = [1, 4, 2, 4]  # b, b, c, b
    first, copy, other_event, other_user = fingerprints_of(buffer, *users, *events).T.tolist()
    assert first == copy
    assert first[0] == other_event[0] != other_user[0]
    assert len({first[1], other_event[1], other_user[1]}) == 3
