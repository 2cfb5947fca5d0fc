"""First arrivals against a slow search among all that came before."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.first_arrivals import fingerprints_of, first_arrivals

EVENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 200)), max_size=40)


def slow(events: list[tuple[int, int, int]], within_ms: int) -> list[bool]:
    """Join copies step by step; the first to arrive of each heap stays."""
    heap_of = list(range(len(events)))
    for _ in events:
        for i, (user, event, time) in enumerate(events):
            for j, other in enumerate(events):
                if (user, event) == other[:2] and abs(time - other[2]) <= within_ms:
                    heap_of[i] = heap_of[j] = min(heap_of[i], heap_of[j])
    return [heap_of[i] == i for i in range(len(events))]


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
