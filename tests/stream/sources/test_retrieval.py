"""Every source equals its oracle, alone and merged; the laws of a CandidateBatch."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.candidates import SOURCES, CandidateBatch, UserBatch
from stream.errors import ConfigurationError
from stream.sources import RetrievalLimits, SharedListCache, retrieve
from tests.stream import retrieval_oracles as oracle
from tests.stream.retrieval_worlds import (
    DAY_MS,
    HALF_LIVES_MS,
    NOW_MS,
    World,
    make_users,
    make_world,
)

EXACT = tuple(source for source in SOURCES if source != "interest")


def listed(batch: CandidateBatch, b: int, source: str) -> oracle.Ranked:
    """One source's list for one user, out of the merged candidates."""
    column = SOURCES.index(source)
    mine = np.arange(batch.splits[b], batch.splits[b + 1])
    mine = mine[batch.ranks[mine, column] > 0]
    mine = mine[np.argsort(batch.ranks[mine, column])]
    return [(int(batch.item_rows[c]), batch.scores[c, column]) for c in mine]


def take_user(users: UserBatch, b: int) -> UserBatch:
    """A batch of one user."""
    columns = {field.name: getattr(users, field.name) for field in dataclasses.fields(users)}
    for name, column in columns.items():
        if isinstance(column, np.ndarray | tuple):
            columns[name] = column[b : b + 1]
    return UserBatch(**columns)


def cases() -> st.SearchStrategy[tuple[World, UserBatch, RetrievalLimits]]:
    def build(
        seed: int, num_items: int, live: float, repeats: bool, most: int, depth: int, jitter: float
    ) -> tuple[World, UserBatch, RetrievalLimits]:
        world = make_world(num_items, seed=seed, live=live)
        consumed = [[seed % num_items, (seed + 3) % num_items], [], [0], []]
        users = make_users(world, 4, seed=seed, max_history=12, consumed=consumed)
        limits = RetrievalLimits(
            max_per_source=most,
            max_candidates=10_000,
            allow_repeats=repeats,
            cooccurrence_history=3,
            two_way_weight=(1.0, 0.3)[seed // 2 % 2],
            item_cf_history=5,
            trending_depth=depth,
            fresh_pool=depth,
            fresh_jitter=jitter,
            shared_bucket_ms=1 if seed % 2 else 1000,
        )
        return world, users, limits

    return st.builds(
        build,
        seed=st.integers(0, 10_000),
        num_items=st.integers(1, 40),
        live=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
        repeats=st.booleans(),
        most=st.integers(1, 12),
        depth=st.integers(1, 30),
        jitter=st.sampled_from([0.0, 0.5, 1.0]),
    )


@settings(deadline=None, max_examples=40)
@given(case=cases())
@pytest.mark.parametrize("source", EXACT)
def test_source_alone_equals_its_oracle(
    source: str, case: tuple[World, UserBatch, RetrievalLimits]
) -> None:
    world, users, limits = case
    batch = retrieve(users, world, limits=dataclasses.replace(limits, sources=(source,)))
    for b in range(len(users)):
        expected = oracle.propose(world, users, b, limits, source)
        assert listed(batch, b, source) == expected


@settings(deadline=None, max_examples=40)
@given(case=cases(), weight=st.sampled_from([0.0, 0.3, 1.0]), block=st.sampled_from([1, 7, 4096]))
def test_interest_lists_the_nearest_live_items(
    case: tuple[World, UserBatch, RetrievalLimits], weight: float, block: int
) -> None:
    world, users, limits = case
    limits = dataclasses.replace(
        limits, sources=("interest",), interest_session_weight=weight, interest_block_items=block
    )
    batch = retrieve(users, world, limits=limits)
    for b in range(len(users)):
        assert_nearest(world, users, b, limits, listed(batch, b, "interest"))


def assert_nearest(
    world: World, users: UserBatch, b: int, limits: RetrievalLimits, found: oracle.Ranked
) -> None:
    """A float32 product may order near ties in its own way: scores are compared, not rows."""
    cosines = oracle.interest_scores(world, users, b, limits)
    expected = sorted((score for score in cosines.values() if score > 1e-6), reverse=True)
    expected = expected[: limits.max_per_source]
    assert len(found) >= len(expected)
    assert len({row for row, _ in found}) == len(found) <= limits.max_per_source
    np.testing.assert_allclose([score for _, score in found][: len(expected)], expected, atol=2e-6)
    np.testing.assert_allclose([s for _, s in found], [cosines[row] for row, _ in found], atol=2e-6)


@pytest.mark.parametrize("live", [1.0, 0.5])
def test_sampled_floors_lose_nothing(live: float) -> None:
    world = make_world(2000, seed=3, live=live)
    users = make_users(world, 6, seed=3)
    limits = RetrievalLimits(sources=("interest",), max_per_source=10, interest_block_items=300)
    batch = retrieve(users, world, limits=limits)
    for b in range(6):
        assert_nearest(world, users, b, limits, listed(batch, b, "interest"))


def test_a_floor_that_was_too_high_is_taken_back() -> None:
    # The nearest 200 items are all seen: nothing above any sampled floor is left.
    world = make_world(2000, seed=4, live=1.0)
    world.embeddings[:] = -world.embeddings[0] * 0.1
    world.embeddings[:200] = world.embeddings[0] * -10
    world.embeddings[200:220] = world.embeddings[0] * 0.5
    users = make_users(world, 1, seed=4, max_history=200, histories=[list(range(200))])
    users.session_vectors[:] = users.long_vectors[:] = world.embeddings[0]
    limits = RetrievalLimits(sources=("interest",), max_per_source=10)
    batch = retrieve(users, world, limits=limits)
    rows = [row for row, _ in listed(batch, 0, "interest")]
    assert len(rows) == 10
    assert all(200 <= row < 220 for row in rows)


@settings(deadline=None, max_examples=40)
@given(case=cases(), most=st.integers(1, 30), k=st.sampled_from([1.0, 20.0]))
def test_merge_orders_and_caps_by_one_rule(
    case: tuple[World, UserBatch, RetrievalLimits], most: int, k: float
) -> None:
    world, users, limits = case
    limits = dataclasses.replace(limits, sources=EXACT, max_candidates=most, fused_k=k)
    batch = retrieve(users, world, limits=limits)
    for b in range(len(users)):
        lists = {source: oracle.propose(world, users, b, limits, source) for source in EXACT}
        expected = oracle.merged(world, users, b, limits, lists)
        mine = slice(batch.splits[b], batch.splits[b + 1])
        assert batch.item_rows[mine].tolist() == expected
        for c, row in enumerate(expected, start=int(batch.splits[b])):
            assert batch.is_seen[c] == oracle.has_seen(world, users, b, row)
            for column, source in enumerate(SOURCES):
                rows = [each for each, _ in lists.get(source, [])]
                rank = rows.index(row) + 1 if row in rows else 0
                assert batch.ranks[c, column] == rank
                assert batch.scores[c, column] == (lists[source][rank - 1][1] if rank else 0)


@settings(deadline=None, max_examples=25)
@given(case=cases())
def test_candidates_are_live_distinct_and_proposed(
    case: tuple[World, UserBatch, RetrievalLimits],
) -> None:
    world, users, limits = case
    batch = retrieve(users, world, limits=dataclasses.replace(limits, max_candidates=20))
    assert world.is_live[batch.item_rows].all()
    assert (batch.ranks > 0).any(axis=1).all()
    assert ((batch.ranks > 0) == (batch.scores != 0)).all()
    for b in range(len(users)):
        mine = batch.item_rows[batch.splits[b] : batch.splits[b + 1]]
        assert len(set(mine.tolist())) == len(mine) <= 20


@settings(deadline=None, max_examples=25)
@given(case=cases())
def test_a_user_alone_gets_what_it_gets_in_a_batch(
    case: tuple[World, UserBatch, RetrievalLimits],
) -> None:
    world, users, limits = case
    limits = dataclasses.replace(limits, sources=EXACT)
    batch = retrieve(users, world, limits=limits)
    for b in range(len(users)):
        alone = retrieve(take_user(users, b), world, limits=limits)
        mine = slice(batch.splits[b], batch.splits[b + 1])
        assert alone.item_rows.tolist() == batch.item_rows[mine].tolist()
        assert (alone.scores == batch.scores[mine]).all()


def test_retrieval_changes_nothing() -> None:
    world, limits = make_world(40), RetrievalLimits()
    users = make_users(world)
    before = {k: v.copy() for k, v in vars(world).items() if isinstance(v, np.ndarray)}
    first = retrieve(users, world, limits=limits)
    second = retrieve(users, world, limits=limits)
    assert first.item_rows.tolist() == second.item_rows.tolist()
    assert all((getattr(world, name) == array).all() for name, array in before.items())


def test_rows_do_not_decide_between_equals() -> None:
    # The same items under other row numbers, as another worker may have them: the same lists.
    world = make_world(40, seed=9)
    order = np.random.default_rng(0).permutation(40)
    place = np.argsort(order).astype(np.int32)
    columns = {k: v[order] for k, v in vars(world).items() if isinstance(v, np.ndarray)}
    known = columns["neighbour_rows"] >= 0
    columns["neighbour_rows"][known] = place[columns["neighbour_rows"][known]]
    other = World(**columns)
    users = make_users(world, seed=9)
    rows = users.history_rows.copy()
    rows[rows >= 0] = place[rows[rows >= 0]]
    limits = RetrievalLimits(sources=EXACT, max_per_source=6, max_candidates=15)
    batch = retrieve(users, world, limits=limits)
    moved = retrieve(dataclasses.replace(users, history_rows=rows), other, limits=limits)
    assert order[moved.item_rows].tolist() == batch.item_rows.tolist()


def test_a_cold_user_gets_trending_and_fresh() -> None:
    world = make_world(60, live=1.0)
    users = make_users(world, histories=[[]])
    users.session_vectors[:] = users.long_vectors[:] = 0.0
    batch = retrieve(users, world, limits=RetrievalLimits())
    proposers = (batch.ranks > 0).any(axis=0)
    assert [SOURCES[s] for s in np.flatnonzero(proposers)] == ["trending", "fresh"]
    assert len(batch) > 20


def test_an_item_from_the_future_is_not_fresh() -> None:
    world = make_world(30, live=1.0)
    world.created_at_ms[:] = NOW_MS - 1
    world.created_at_ms[7] = NOW_MS + 1
    users = make_users(world, histories=[[]])
    limits = RetrievalLimits(sources=("fresh",), shared_bucket_ms=DAY_MS)
    assert 7 not in retrieve(users, world, limits=limits).item_rows
    later = dataclasses.replace(users, now_ms=users.now_ms + 1)
    assert 7 in retrieve(later, world, limits=limits).item_rows


def test_one_half_life_can_be_chosen() -> None:
    world = make_world(40, live=1.0)
    users = make_users(world, histories=[[]])
    for chosen in range(len(HALF_LIVES_MS)):
        weights = tuple(float(place == chosen) for place in range(len(HALF_LIVES_MS)))
        limits = RetrievalLimits(
            sources=("trending",), trending_weights=weights, shared_bucket_ms=1
        )
        found = listed(retrieve(users, world, limits=limits), 0, "trending")
        expected = oracle.trending(world, users, 0, limits)
        assert [row for row, _ in found] == [row for row, _ in expected]
        tiny = np.finfo(np.float32).tiny
        np.testing.assert_allclose(
            [score for _, score in found],
            [max(score, tiny) for _, score in expected],
            rtol=1e-6,
        )


def test_shared_lists_are_made_once_per_bucket_and_never_outlive_an_item() -> None:
    world, cache = make_world(30, live=1.0), SharedListCache(max_entries=2)
    users = make_users(world, histories=[[]])
    limits = RetrievalLimits(sources=("trending", "fresh"), fresh_pool=100)
    first = retrieve(users, world, limits=limits, shared=cache)
    lists = next(iter(cache.entries.values()))
    world.is_live[first.item_rows[0]] = False
    second = retrieve(users, world, limits=limits, shared=cache)
    assert next(iter(cache.entries.values())) is lists
    assert set(second.item_rows) == set(first.item_rows[1:])
    for step in range(1, 5):
        later = dataclasses.replace(users, now_ms=users.now_ms + step * 1000)
        retrieve(later, world, limits=limits, shared=cache)
    assert len(cache.entries) == 2


def test_users_of_several_moments_each_get_their_own() -> None:
    world = make_world(40, seed=5, live=1.0)
    users = make_users(world, 4, seed=5)
    users = dataclasses.replace(users, now_ms=users.now_ms - np.array([0, 5, 1, 0]) * DAY_MS)
    limits = RetrievalLimits(sources=EXACT, shared_bucket_ms=1)
    batch = retrieve(users, world, limits=limits)
    for b in range(4):
        for source in ("trending", "fresh"):
            assert listed(batch, b, source) == oracle.propose(world, users, b, limits, source)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sources": ("trendy",)},
        {"sources": ()},
        {"max_per_source": 0},
        {"max_per_source": 65_536},
        {"max_candidates": 0},
        {"fresh_jitter": 1.5},
        {"two_way_weight": 0.0},
        {"two_way_weight": math.nan},
        {"trending_weights": (0.0, 0.0)},
        {"trending_weights": (1.0, -1.0)},
        {"trending_weights": (1.0, math.nan)},
    ],
)
def test_limits_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="Expected"):
        RetrievalLimits(**wrong)  # type: ignore[arg-type]


def test_trending_weights_must_fit_the_catalogue() -> None:
    world = make_world(5)
    with pytest.raises(ConfigurationError, match="half-life"):
        retrieve(make_users(world), world, limits=RetrievalLimits(trending_weights=(1.0,)))


def test_trending_counts_an_event_at_every_scale_with_the_same_mass() -> None:
    world = make_world(3, live=1.0)
    half_lives = world.limits.half_lives_ms
    world.popularity[:] = 0.0
    world.popularity_time_ms[:] = NOW_MS
    world.popularity[0, 0] = 1.0  # One event just now, by the shortest half-life.
    world.popularity[1, -1] = 2 * half_lives[-1] / half_lives[0]  # Twice as much by the longest.
    equal = (1.0,) * len(half_lives)
    limits = RetrievalLimits(sources=("trending",), shared_bucket_ms=1, trending_weights=equal)
    users = make_users(world, histories=[[]])
    found = listed(retrieve(users, world, limits=limits), 0, "trending")
    assert [row for row, _ in found] == [1, 0]
    per_hour = math.log(2.0) / half_lives[0] * 3_600_000
    np.testing.assert_allclose([each for _, each in found], [2 * per_hour, per_hour], rtol=1e-6)
