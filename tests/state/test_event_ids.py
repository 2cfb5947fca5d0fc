"""EventIds against a list of what arrived: membership, expiry, bound, erase, growth."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.event_ids import (
    EventIds,
    add_event_id,
    erase_event_ids,
    expire_event_ids,
    has_event_id,
)


@dataclass
class Arrival:
    user: int
    event: int
    time: int
    is_alive: bool = True


# Few high bits: homes and tags collide all the time, also at the end of the slots.
HASHES = st.sampled_from([0, 1, 2, 1 << 32, 3 << 32, 2**64 - 1, (2**64 - 1) ^ 3, 1 << 63, 7 << 60])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), HASHES, st.integers(0, 50)),
        st.tuples(st.just("expire"), st.just(0), st.just(0), st.integers(0, 60)),
        st.tuples(st.just("erase"), st.integers(0, 3), st.just(0), st.just(0)),
        st.tuples(st.just("restore"), st.just(0), st.just(0), st.just(0)),
    ),
    max_size=80,
)


@given(steps=STEPS, bound=st.integers(1, 20))
@settings(deadline=None, max_examples=200)
def test_set_equals_a_list_of_arrivals(steps: list, bound: int) -> None:
    ids = EventIds(max_event_ids=bound, initial=1)
    arrivals: list[Arrival] = []
    newest: dict[int, int] = {}
    num_dropped = 0
    for step, user, event, time in steps:
        key = np.uint64(user), np.uint64(event)
        if step == "add":
            is_known = any((a.user, a.event) == (user, event) and a.is_alive for a in arrivals)
            assert has_event_id(ids.columns, *key) == is_known
            if is_known:
                continue
            if len(arrivals) == bound:
                num_dropped += arrivals.pop(0).is_alive
            arrivals.append(Arrival(user, event, time))
            ids.reserve(1)
            newest[user] = add_event_id(ids.columns, *key, time, newest.get(user, 0))
        elif step == "expire":
            while arrivals and (not arrivals[0].is_alive or arrivals[0].time < time):
                del arrivals[0]
            expire_event_ids(ids.columns, time)
        elif step == "erase":
            gone = [a for a in arrivals if a.user == user and a.is_alive]
            for arrival in gone:
                arrival.is_alive = False
            assert erase_event_ids(ids.columns, newest.pop(user, 0)) == len(gone)
        else:
            other = EventIds(max_event_ids=bound, initial=3)
            other.restore(ids.arrays())
            ids = other
        alive = sorted((a.user, a.event, a.time) for a in arrivals if a.is_alive)
        known = ids.canonical()
        assert list(zip(*(known[n].tolist() for n in known), strict=True)) == alive
        assert len(ids) == len(alive) <= bound
        assert ids.num_dropped == num_dropped
        assert all(has_event_id(ids.columns, np.uint64(u), np.uint64(e)) for u, e, _ in alive)


def test_a_smaller_bound_keeps_the_newest_and_counts_the_rest() -> None:
    ids = EventIds(max_event_ids=8)
    previous = 0
    for i in range(8):
        previous = add_event_id(ids.columns, np.uint64(1), np.uint64(i), i, previous)

    smaller = EventIds(max_event_ids=3)
    smaller.restore(ids.arrays())

    assert smaller.canonical()["times_ms"].tolist() == [5, 6, 7]
    assert smaller.num_dropped == 5
    assert erase_event_ids(smaller.columns, previous) == 3


def test_expiry_is_half_open() -> None:
    #  [horizon ----- kept
    ids = EventIds(max_event_ids=8)
    for time in (9, 10, 11):
        add_event_id(ids.columns, np.uint64(0), np.uint64(time), time, 0)

    expire_event_ids(ids.columns, 10)

    assert ids.canonical()["times_ms"].tolist() == [10, 11]


@pytest.mark.parametrize("count", [1, 1000, 5000])
def test_growth_keeps_every_fingerprint(count: int) -> None:
    ids = EventIds(max_event_ids=10_000, initial=4)
    for i in range(count):
        ids.reserve(1)
        add_event_id(ids.columns, np.uint64(i % 7), np.uint64(i << 32), i, 0)

    assert len(ids) == count
    assert all(
        has_event_id(ids.columns, np.uint64(i % 7), np.uint64(i << 32)) for i in range(count)
    )
