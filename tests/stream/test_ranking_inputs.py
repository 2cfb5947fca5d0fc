"""Gathering equals a slow walk over users and candidates."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ranking import NO_AGE_MS, RankingInputs
from stream.candidates import CandidateBatch, UserBatch
from stream.ranking_inputs import gather
from stream.sources import RetrievalLimits, retrieve
from tests.stream import retrieval_oracles as oracle
from tests.stream.retrieval_worlds import World, make_users, make_world


def gathered(seed: int, num_items: int) -> tuple[World, UserBatch, CandidateBatch, RankingInputs]:
    world = make_world(num_items, seed=seed)
    users = make_users(world, 3, seed=seed)
    limits = RetrievalLimits(max_per_source=8, max_candidates=20, allow_repeats=True)
    candidates = retrieve(users, world, limits=limits)
    return world, users, candidates, gather(users, candidates, world)


def transition(world: World, source: int, row: int, backwards: bool) -> float:
    pairs = world.neighbour_in if backwards else world.neighbour_out
    sums = world.in_sums if backwards else world.out_sums
    for slot, other in enumerate(world.neighbour_rows[source]):
        if other == row:
            return float(pairs[source, slot] / (sums[source] + np.float32(2)))
    return 0.0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 5000), num_items=st.integers(1, 40))
def test_candidate_columns_equal_a_slow_walk(seed: int, num_items: int) -> None:
    world, users, candidates, inputs = gathered(seed, num_items)
    for b in range(len(users)):
        total = float(users.affinity_weights[b][users.affinity_keys[b] > 0].sum())
        newest = [int(users.history_rows[b, place]) for place in oracle.history(users, b)]
        for c in range(candidates.splits[b], candidates.splits[b + 1]):
            row = int(candidates.item_rows[c])
            assert inputs.candidate_users[c] == b
            assert (inputs.candidate_embeddings[c] == world.embeddings[row]).all()
            assert inputs.candidate_ages_ms[c] == max(users.now_ms[b] - world.created_at_ms[row], 0)
            assert inputs.candidate_durations_ms[c] == world.duration_ms[row]
            elapsed = int(users.now_ms[b] - world.popularity_time_ms[row])
            for h, half_life_ms in enumerate(world.limits.half_lives_ms):
                value = float(world.popularity[row, h]) * 2 ** (-elapsed / half_life_ms)
                found = inputs.candidate_popularity_logs[c, h]
                assert math.isclose(found, math.log1p(value), rel_tol=1e-5, abs_tol=1e-6)
            counts = world.action_counts[row]
            np.testing.assert_allclose(
                inputs.candidate_action_rates[c], counts / (1 + counts.sum()), rtol=1e-6
            )
            expected = [
                transition(world, newest[0], row, False) if newest else 0.0,
                transition(world, newest[1], row, False) if newest[1:] else 0.0,
                transition(world, newest[0], row, True) if newest else 0.0,
            ]
            np.testing.assert_allclose(inputs.candidate_transitions[c], expected, rtol=1e-6)
            weights = dict[int, float]()
            for key, weight in zip(users.affinity_keys[b], users.affinity_weights[b], strict=True):
                weights.setdefault(int(key), float(weight))
            weights[0] = 0.0
            share = weights.get(int(world.author_keys[row]), 0.0) / total if total else 0.0
            assert math.isclose(inputs.candidate_author_affinities[c], share, rel_tol=1e-5)
            keys = [int(world.category_keys[row]), *world.tag_keys[row].tolist()]
            share = sum(weights.get(key, 0.0) for key in keys) / total if total else 0.0
            assert math.isclose(inputs.candidate_tag_affinities[c], min(share, 1), rel_tol=1e-5)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 5000), num_items=st.integers(1, 40))
def test_history_columns_equal_a_slow_walk(seed: int, num_items: int) -> None:
    world, users, candidates, inputs = gathered(seed, num_items)
    for b in range(len(users)):
        length = int(users.history_lengths[b])
        for place in range(users.history_rows.shape[1]):
            row = int(users.history_rows[b, place])
            is_present = place < length and row >= 0
            assert inputs.history_present[b, place] == is_present
            embedding = world.embeddings[row] if is_present else np.zeros(8)
            assert (inputs.history_embeddings[b, place] == embedding).all()
            age_ms = int(users.now_ms[b] - users.history_times_ms[b, place])
            assert inputs.history_ages_ms[b, place] == (age_ms if place < length else NO_AGE_MS)
        places = {int(users.history_rows[b, p]): p for p in oracle.history(users, b)}
        for c in range(candidates.splits[b], candidates.splits[b + 1]):
            place = places.get(int(candidates.item_rows[c]))
            found = (
                inputs.candidate_history_places[c],
                inputs.candidate_history_ages_ms[c],
                inputs.candidate_history_actions[c],
            )
            if place is None:
                assert found == (-1, NO_AGE_MS, 0)
            else:
                age_ms = users.now_ms[b] - users.history_times_ms[b, place]
                assert found == (length - 1 - place, age_ms, users.history_actions[b, place])
        mine = slice(candidates.splits[b], candidates.splits[b + 1])
        expected = candidates.scores[mine].max(axis=0, initial=0.0)
        assert (inputs.source_maxima[b] == expected).all()


def test_inputs_share_no_memory_with_the_tables() -> None:
    world, users, candidates, inputs = gathered(1, 30)
    for name in RankingInputs.__dataclass_fields__:
        column = getattr(inputs, name)
        for owner in (world, users, candidates):
            for other in (getattr(owner, each) for each in dir(owner)):
                if isinstance(other, np.ndarray):
                    assert not np.shares_memory(column, other), name


def test_taken_candidates_keep_their_columns_and_users() -> None:
    _, _, candidates, inputs = gathered(2, 40)
    chosen = np.arange(0, len(candidates), 3)
    taken = inputs.take(chosen)
    assert len(taken) == len(chosen)
    assert (taken.source_ranks == inputs.source_ranks[chosen]).all()
    assert taken.num_users == inputs.num_users
    for b in range(taken.num_users):
        assert (taken.candidate_users[taken.splits[b] : taken.splits[b + 1]] == b).all()
    assert taken.source_maxima is inputs.source_maxima
