"""First arrivals: of a whole log's events, those that are no repeat of one that came before.

What ``state.event_ids`` does event by event while time goes on, for who has the whole log in hand
and reads it in another order than it arrived in (``evaluate``). Absent: erases, after which the
engine counts copies of older events anew.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.event_ids import event_hash
from state.hashing import hash64


@njit(cache=True, nogil=True)
def fingerprints_of(
    buffer: NDArray[np.uint8],
    user_starts: NDArray[np.int64],
    user_lengths: NDArray[np.int32],
    event_id_starts: NDArray[np.int64],
    event_id_lengths: NDArray[np.int32],
) -> NDArray[np.uint64]:
    """Return each event's fingerprint, uint64 (2, E): hashes of users, then of their event ids."""
    found = np.empty((2, len(user_starts)), np.uint64)
    for i in range(len(user_starts)):
        found[0, i] = hash64(buffer, user_starts[i], user_lengths[i], 0)
        found[1, i] = event_hash(buffer, event_id_starts[i], event_id_lengths[i], found[0, i])
    return found


@njit(cache=True, nogil=True)
def _begins(
    users: NDArray[np.uint64],
    events: NDArray[np.uint64],
    times_ms: NDArray[np.int64],
    within_ms: int,
) -> NDArray[np.int64]:
    """Return where copies of another event begin, int64 (H,), of events sorted by all three."""
    begins = np.zeros(len(times_ms), np.int64)
    count, begin = 1, 0
    for i in range(1, len(times_ms)):
        is_alike = users[i] == users[begin] and events[i] == events[begin]
        if not is_alike or times_ms[i] - times_ms[begin] > within_ms:
            begins[count] = begin = i
            count += 1
    return begins[:count]


def first_arrivals(
    fingerprints: NDArray[np.uint64], times_ms: NDArray[np.int64], *, within_ms: int
) -> NDArray[np.bool_]:
    """Return which events are the first of their fingerprint to arrive: bool (E,).

    Copies are events of one fingerprint whose times are at most ``within_ms`` after the oldest of
    them; beyond it the engine has forgotten the id, however often it came meanwhile, and the event
    is a new one.

    >>> alike = np.zeros((2, 4), np.uint64)
    >>> first_arrivals(alike, np.array([50, 10, 10, 60]), within_ms=40).tolist()
    [True, False, False, True]

    Args:
        fingerprints: uint64 (2, E), in order of arrival.
        times_ms: int64 (E,), event times.
        within_ms: As ``UserLimits.grace_ms``.
    """
    users, events = fingerprints
    are_first = np.ones(len(times_ms), bool)
    # Nearly all differ in the second half alone: only the others are sorted by everything.
    order = np.argsort(events)
    is_as_before = events[order[1:]] == events[order[:-1]]
    alike = np.zeros(len(times_ms), bool)
    alike[order[1:][is_as_before]] = True
    alike[order[:-1][is_as_before]] = True
    arrivals = np.flatnonzero(alike)
    if len(arrivals) == 0:
        return are_first
    arrivals = arrivals[np.lexsort((times_ms[arrivals], events[arrivals], users[arrivals]))]
    begins = _begins(users[arrivals], events[arrivals], times_ms[arrivals], within_ms)
    are_first[arrivals] = False
    are_first[np.minimum.reduceat(arrivals, begins)] = True
    return are_first
