"""Strategies for logs, limits and cuts of the user side, and the comparison with the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from state.user_limits import UserLimits
from state.user_partition import UserPartition
from tests.state.user_builders import Log, SmallCatalogue, users_by_id
from tests.state.user_oracle import (
    COMMENT,
    ERASE,
    FOLLOW,
    LIKE,
    NOT_INTERESTED,
    UNLIKE,
    WATCH,
    Event,
    UserOracle,
    hash_of,
)

LIMITS = st.builds(
    UserLimits,
    max_users=st.integers(1, 6),
    max_items=st.integers(1, 8),
    max_history=st.integers(1, 5),
    max_event_ids=st.integers(1, 30),
    max_erased=st.integers(1, 2),
    max_affinities=st.integers(0, 4),
    seen_bits=st.sampled_from([64, 128]),
    seen_items=st.integers(1, 3),
    grace_ms=st.sampled_from([0, 10, 100, 10_000, 15 * 86_400_000]),
    link_ms=st.sampled_from([0, 20, 10_000]),
    max_lags=st.integers(0, 4),
    pair_tau_ms=st.sampled_from([1, 50, 1000]),
    session_half_life_ms=st.sampled_from([1, 30, 1000]),
    long_half_life_ms=st.sampled_from([50, 5000]),
    max_events_per_minute=st.sampled_from([0, 0, 1, 3, 20]),
    max_repeats_per_day=st.sampled_from([0, 1, 2, 10]),
    hash_seed=st.sampled_from([0, 2**64 - 1]),
)
ROOMY = UserLimits(max_history=4, grace_ms=1000, max_lags=3, pair_tau_ms=100, link_ms=500)
IDS = [b"a", b"b", b"c", b"d\xff", b"e" * 64, b"f" * 33, b"g", b"h" * 8, b"i" * 255, b"j"]
ACTIONS = [WATCH] * 4 + [LIKE] * 3 + [COMMENT, 3, NOT_INTERESTED, FOLLOW, UNLIKE, UNLIKE, ERASE]


@st.composite
def logs(draw: Any, max_size: int = 60) -> Log:
    now, log = draw(st.sampled_from([0, 1000, 2**50])), []
    for i in range(draw(st.integers(0, max_size))):
        kind = draw(st.integers(0, 25))
        if kind < 2:
            log.append(["rejected", "routed"][kind])
            continue
        now += draw(st.sampled_from([0, 1, 1, 5, 60, 5000, 86_400_000, 9 * 86_400_000]))
        back = draw(st.sampled_from([0, 0, 0, 1, 10, 11, 100, 2000, 9 * 86_400_000]))
        log.append(
            Event(
                user=draw(st.sampled_from(IDS)),
                item=draw(st.sampled_from([*IDS, b""])),
                event_id=f"{draw(st.integers(max(0, i - 8), i))}".encode(),
                ts=max(0, now - back),
                action=draw(st.sampled_from(ACTIONS)),
                watch_ms=draw(st.sampled_from([-1, 0, 1, 19, 20, 21, 100, 10**15])),
                duration_ms=draw(st.sampled_from([-1, 0, 1, 100, 10**15])),
            )
        )
    return log


CUTS = st.lists(st.integers(0, 60), max_size=6)


def bounds_of(cuts: list[int], size: int) -> list[tuple[int, int]]:
    edges = sorted({0, size, *(min(cut, size) for cut in cuts)})
    return list(zip(edges, edges[1:], strict=False))


def make(limits: UserLimits = ROOMY, catalogue: SmallCatalogue | None = None) -> UserPartition:
    return UserPartition(partition=3, num_item_partitions=4, catalogue=catalogue, limits=limits)


def check_against(partition: UserPartition, oracle: UserOracle) -> None:
    counters = partition.counters
    verdicts = ("applied", "duplicate", "late", "rejected", "filtered", "routed")
    assert counters.pop("read") == sum(counters[name] for name in verdicts)
    assert counters == oracle.counters
    assert partition.stream_time_ms == oracle.stream_time
    assert users_by_id(partition) == {
        id: (
            user.num_events,
            user.events_to,
            user.touched,
            [(e.item, e.ts, e.strength, e.bits, e.completion) for e in user.history],
            user.young,
            user.old,
            user.num_seen,
            user.debt,
        )
        for id, user in oracle.users.items()
    }
    items = partition.items
    assert sorted(items.ids(items.live_rows())) == sorted(oracle.items)
    seed = oracle.limits.hash_seed
    expected = sorted(
        (hash_of(id.user, seed), hash_of(id.event_id, hash_of(id.user, seed)), id.ts)
        for id in oracle.event_ids
        if id.is_alive
    )
    known = partition._tables.event_ids.canonical()
    assert list(zip(*(known[n].tolist() for n in known), strict=True)) == expected
    erased = partition.erased_users()
    pairs = zip(erased["hashes"].tolist(), erased["offsets"].tolist(), strict=True)
    assert list(pairs) == [(hash_of(id, seed), at) for id, at in oracle.erased.items()]


def check_derived(
    partition: UserPartition, oracle: UserOracle, catalogue: SmallCatalogue, now: int
) -> None:
    rows = partition.users.live_rows()
    users = partition.read_users(rows, now_ms=np.full(len(rows), now, np.int64))
    dim, limits = catalogue.embeddings.shape[1], oracle.limits
    for b, id in enumerate(partition.users.ids(rows)):
        for vectors, half_life_ms in (
            (users.session_vectors, limits.session_half_life_ms),
            (users.long_vectors, limits.long_half_life_ms),
        ):
            expected = oracle.vector(id, half_life_ms, now, dim)
            np.testing.assert_allclose(vectors[b], expected, rtol=1e-4, atol=1e-4)
        user = oracle.users[id]
        keep = 2.0 ** (-max(0, now - user.affinity_time) / limits.long_half_life_ms)
        weights = {
            int(key): float(weight)
            for key, weight in zip(users.affinity_keys[b], users.affinity_weights[b], strict=True)
            if key
        }
        assert {*weights} == {*user.affinities}
        for key, weight in user.affinities.items():
            assert weights[key] == pytest.approx(weight * keep, rel=1e-4, abs=1e-4)
