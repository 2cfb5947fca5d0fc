"""Reranking equals its oracle, invents nothing, loses nothing unexplained."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.ranking import RankerScores
from stream.candidates import SOURCES, CandidateBatch, UserBatch
from stream.errors import ConfigurationError
from stream.events import Action
from stream.rerank import RerankLimits, Slates, rerank
from stream.rerank_pool import Reason
from tests.stream import retrieval_oracles as oracle
from tests.stream.retrieval_worlds import World, make_users, make_world

FRESH = SOURCES.index("fresh")
PLAIN = RerankLimits(
    slate_size=5,
    pool_size=5,
    max_per_author=0,
    author_decay=1.0,
    diversity=0.0,
    exploration_places=(),
)


def make_candidates(
    world: World, rows: list[list[int]], *, seen: list[int] | None = None
) -> CandidateBatch:
    """Candidates of given rows, one list per user; no source ranks."""
    flat = np.asarray([row for mine in rows for row in mine], np.int32)
    shape = (len(flat), len(SOURCES))
    return CandidateBatch(
        splits=np.cumsum([0, *(len(mine) for mine in rows)]).astype(np.int64),
        item_rows=flat,
        scores=np.zeros(shape, np.float32),
        ranks=np.zeros(shape, np.uint16),
        is_seen=np.isin(flat, seen or []),
    )


def scored(values: list[float] | NDArray[np.float32]) -> RankerScores:
    array = np.asarray(values, np.float32)
    return RankerScores(values=array, heads=np.zeros((len(array), 0), np.float32))


def plain_world(num_items: int = 12) -> World:
    """A world in which nothing but scores matters: all live, all of unknown authors."""
    world = make_world(num_items, live=1.0)
    world.author_keys[:] = 0
    return world


def slate_rows(candidates: CandidateBatch, slates: Slates, b: int = 0) -> list[int]:
    mine = slates.candidates[slates.splits[b] : slates.splits[b + 1]]
    return [int(row) for row in candidates.item_rows[mine]]


Case = tuple[World, UserBatch, CandidateBatch, RankerScores, RerankLimits]


def cases() -> st.SearchStrategy[Case]:
    def build(
        seed: int, num_items: int, slate: int, extra: int, cap: int, diversity: float, repeats: bool
    ) -> Case:
        random = np.random.default_rng(seed)
        world = make_world(num_items, seed=seed)
        users = make_users(world, 3, seed=seed)
        rows = [
            [int(row) for row in random.permutation(num_items)[: random.integers(0, num_items + 1)]]
            for _ in range(3)
        ]
        candidates = make_candidates(world, rows)
        fresh = random.integers(0, 9, len(candidates)).astype(np.uint16)
        candidates.ranks[:, FRESH] = fresh
        candidates.is_seen[:] = random.random(len(candidates)) < 0.3
        values = random.integers(-3, 6, len(candidates)).astype(np.float32) / 4
        values[random.random(len(values)) < 0.05] = np.nan
        limits = RerankLimits(
            slate_size=slate,
            pool_size=slate + extra,
            allow_repeats=repeats,
            refill_seen=bool(seed % 3),
            max_per_author=cap,
            diversity=diversity,
            exploration_places=((), (1,), (0, 3))[seed % 3],
            exploration_max_interactions=15.0,
        )
        return world, users, candidates, scored(values), limits

    return st.builds(
        build,
        seed=st.integers(0, 10_000),
        num_items=st.integers(1, 30),
        slate=st.integers(1, 12),
        extra=st.integers(0, 8),
        cap=st.integers(0, 3),
        diversity=st.sampled_from([0.0, 0.1, 1.0]),
        repeats=st.booleans(),
    )


@settings(deadline=None, max_examples=120)
@given(case=cases())
def test_slate_equals_its_oracle(case: Case) -> None:
    world, users, candidates, scores, limits = case
    slates = rerank(users, candidates, scores, world, limits=limits)
    for b in range(len(users)):
        slate, values, reasons = oracle.rerank(world, users, candidates, scores.values, b, limits)
        mine = slice(slates.splits[b], slates.splits[b + 1])
        assert slates.candidates[mine].tolist() == slate
        assert slates.values[mine].tolist() == [float(value) for value in values]
        assert {c: Reason(slates.reasons[c]) for c in reasons} == reasons


@settings(deadline=None, max_examples=60)
@given(case=cases())
def test_reranking_invents_nothing_and_loses_nothing_unexplained(case: Case) -> None:
    world, users, candidates, scores, limits = case
    slates = rerank(users, candidates, scores, world, limits=limits)
    kept = np.flatnonzero(slates.reasons == Reason.KEPT)
    assert sorted(slates.candidates.tolist()) == kept.tolist()
    assert len(slates.reasons) == len(candidates)
    assert (slates.scores == scores.values[slates.candidates]).all()
    for b in range(len(users)):
        mine = slates.candidates[slates.splits[b] : slates.splits[b + 1]]
        assert ((mine >= candidates.splits[b]) & (mine < candidates.splits[b + 1])).all()
        assert len(mine) <= limits.slate_size
        authors = world.author_keys[candidates.item_rows[mine]]
        counts = np.unique(authors[authors > 0], return_counts=True)[1]
        assert limits.max_per_author == 0 or (counts <= limits.max_per_author).all()


@settings(deadline=None, max_examples=30)
@given(case=cases())
def test_a_user_alone_gets_the_slate_it_gets_in_a_batch(case: Case) -> None:
    world, users, candidates, scores, limits = case
    together = rerank(users, candidates, scores, world, limits=limits)
    for b in range(len(users)):
        others_out = scored(np.where(owner(candidates) == b, scores.values, np.nan))
        alone = rerank(users, candidates, others_out, world, limits=limits)
        assert slate_rows(candidates, alone, b) == slate_rows(candidates, together, b)


def owner(candidates: CandidateBatch) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(candidates.splits) - 1), np.diff(candidates.splits))


def test_best_scores_come_first() -> None:
    world = plain_world()
    candidates = make_candidates(world, [[3, 1, 4, 0, 5, 9, 2]])
    scores = scored([0.3, 0.1, 0.4, 0.1, 0.5, 0.9, 0.2])
    slates = rerank(make_users(world, histories=[[]]), candidates, scores, world, limits=PLAIN)
    assert slate_rows(candidates, slates) == [9, 5, 4, 3, 2]
    assert (slates.reasons == Reason.OVERFLOW).sum() == 2


def test_not_interested_acts_on_the_item_and_softly_on_its_author() -> None:
    world = plain_world()
    world.author_keys[[1, 2]] = 77
    users = make_users(world, histories=[[1]], actions=[[1 << Action.NOT_INTERESTED]])
    candidates = make_candidates(world, [[1, 2, 3, 4]])
    slates = rerank(users, candidates, scored([1.0, 0.9, 0.5, 0.1]), world, limits=PLAIN)
    assert slate_rows(candidates, slates) == [3, 2, 4]
    assert slates.reasons.tolist() == [Reason.BLOCKED, Reason.KEPT, Reason.KEPT, Reason.KEPT]


def test_blocked_outweighs_seen_and_is_never_refilled() -> None:
    world = plain_world()
    users = make_users(world, histories=[[1, 2]], actions=[[1 << Action.NOT_INTERESTED, 1]])
    candidates = make_candidates(world, [[1, 2]], seen=[1, 2])
    slates = rerank(users, candidates, scored([1.0, 0.5]), world, limits=PLAIN)
    assert slate_rows(candidates, slates) == [2]
    assert slates.is_refilled.tolist() == [True]


def test_seen_items_stand_only_behind_all_unseen() -> None:
    world = plain_world()
    users = make_users(world, histories=[[]])
    candidates = make_candidates(world, [[1, 2, 3, 4]], seen=[1, 3])
    scores = scored([0.9, 0.2, 0.8, 0.1])
    slates = rerank(users, candidates, scores, world, limits=PLAIN)
    assert slate_rows(candidates, slates) == [2, 4, 1, 3]
    assert slates.is_refilled.tolist() == [False, False, True, True]
    never = dataclasses.replace(PLAIN, refill_seen=False)
    slates = rerank(users, candidates, scores, world, limits=never)
    assert slate_rows(candidates, slates) == [2, 4]
    assert (slates.reasons == Reason.SEEN).sum() == 2
    welcome = dataclasses.replace(PLAIN, allow_repeats=True)
    slates = rerank(users, candidates, scores, world, limits=welcome)
    assert slate_rows(candidates, slates) == [1, 3, 2, 4]


def test_what_died_since_retrieval_is_left_out() -> None:
    world = plain_world()
    candidates = make_candidates(world, [[1, 2]])
    world.is_live[1] = False
    users = make_users(world, histories=[[]])
    slates = rerank(users, candidates, scored([1.0, 0.5]), world, limits=PLAIN)
    assert slate_rows(candidates, slates) == [2]
    assert slates.reasons[0] == Reason.NOT_LIVE


def test_a_score_that_is_no_number_is_left_out() -> None:
    world = plain_world()
    candidates = make_candidates(world, [[1, 2, 3]])
    users = make_users(world, histories=[[]])
    slates = rerank(users, candidates, scored([np.nan, 0.5, np.inf]), world, limits=PLAIN)
    assert slate_rows(candidates, slates) == [2]
    assert (slates.reasons == Reason.UNSCORED).sum() == 2


def test_author_cap_and_author_multiplier() -> None:
    world = plain_world()
    world.author_keys[[1, 2, 3]] = 7
    users = make_users(world, histories=[[]])
    candidates = make_candidates(world, [[1, 2, 3, 4, 5]])
    scores = scored([1.0, 0.9, 0.8, 0.5, 0.4])
    capped = dataclasses.replace(PLAIN, max_per_author=2)
    slates = rerank(users, candidates, scores, world, limits=capped)
    assert slate_rows(candidates, slates) == [1, 2, 4, 5]
    assert slates.reasons[2] == Reason.AUTHOR_CAP
    # (1 - f) d^k + f with d = .5, f = .25: the second of the author counts .625, the third .4375.
    spread = dataclasses.replace(PLAIN, author_decay=0.5, author_floor=0.25)
    slates = rerank(users, candidates, scores, world, limits=spread)
    assert slate_rows(candidates, slates) == [1, 2, 4, 5, 3]
    np.testing.assert_allclose(slates.values, [1.0, 0.9 * 0.625, 0.5, 0.4, 0.8 * 0.4375])


def test_diversity_puts_a_twin_behind() -> None:
    world = plain_world()
    world.embeddings[:] = 0.0
    for row, axis in ((1, 0), (2, 0), (3, 1)):
        world.embeddings[row, axis] = 1.0
    users = make_users(world, histories=[[]])
    candidates = make_candidates(world, [[1, 2, 3]])
    scores = scored([1.0, 0.9, 0.6])
    diverse = dataclasses.replace(PLAIN, diversity=0.5)
    slates = rerank(users, candidates, scores, world, limits=diverse)
    assert slate_rows(candidates, slates) == [1, 3, 2]
    np.testing.assert_allclose(slates.values, [1.0, 0.6, 0.4], rtol=1e-6)


def test_a_fresh_little_known_item_gets_its_place() -> None:
    world = plain_world()
    world.interactions[:] = 100
    world.interactions[[8, 9]] = 1
    users = make_users(world, histories=[[]])
    candidates = make_candidates(world, [[1, 2, 3, 4, 5, 6, 7, 8, 9]])
    candidates.ranks[[6, 7, 8], FRESH] = [1, 3, 2]
    explore = dataclasses.replace(PLAIN, exploration_places=(2,))
    scores = scored([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    slates = rerank(users, candidates, scores, world, limits=explore)
    assert slate_rows(candidates, slates) == [1, 2, 9, 3, 4]
    assert slates.is_explored.tolist() == [False, False, True, False, False]


def test_no_users_and_no_candidates_make_no_slates() -> None:
    world = plain_world()
    users = make_users(world, histories=[[], []])
    candidates = make_candidates(world, [[], []])
    slates = rerank(users, candidates, scored([]), world, limits=RerankLimits())
    assert slates.splits.tolist() == [0, 0, 0]
    assert len(slates) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"slate_size": 0},
        {"slate_size": 10, "pool_size": 9},
        {"author_decay": 1.1},
        {"diversity": -1.0},
        {"diversity": float("nan")},
    ],
)
def test_limits_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="Expected"):
        RerankLimits(**wrong)  # type: ignore[arg-type]
