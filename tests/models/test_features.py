from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import (
    NUM_HISTORY_FEATURES,
    candidate_features,
    feature_names,
    history_features,
    num_user_features,
    user_features,
)
from models.ranking import RankingInputs
from models.synthetic import random_inputs

NAMES = feature_names(num_sources=7, num_half_lives=5)


def column(inputs: RankingInputs, name: str) -> np.ndarray:
    return candidate_features(inputs, 0, len(inputs))[:, NAMES.index(name)]


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 40), max_size=5), seed=st.integers(0, 99))
def test_features_have_the_named_columns_and_a_bounded_range(counts: list[int], seed: int) -> None:
    inputs = random_inputs(num_candidates=tuple(counts), dim=4, max_history=5, seed=seed)
    features = candidate_features(inputs, 0, len(inputs))
    assert features.shape == (len(inputs), len(NAMES))
    users = user_features(inputs, np.arange(len(counts)))
    assert users.shape == (len(counts), num_user_features(num_sources=7))
    history = history_features(inputs, np.arange(len(counts)))
    assert history.shape == (len(counts), 5, NUM_HISTORY_FEATURES)
    for values in (features, users, history):
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert values.size == 0 or (values.min() >= -1.5 and values.max() <= 3.0)


def test_a_slice_is_the_same_as_the_whole() -> None:
    inputs = random_inputs(num_candidates=(20, 30), dim=4)
    whole = candidate_features(inputs, 0, 50)
    np.testing.assert_array_equal(candidate_features(inputs, 13, 37), whole[13:37])
    np.testing.assert_array_equal(
        user_features(inputs, np.array([1])), user_features(inputs, np.arange(2))[1:]
    )


def test_source_columns_by_hand() -> None:
    inputs = random_inputs(num_candidates=(3,), dim=4)
    scores, ranks = np.zeros((3, 7), np.float32), np.zeros((3, 7), np.uint16)
    scores[:, 2], ranks[:, 2] = [0.5, 0.25, 0.0], [1, 2, 0]
    maxima = np.zeros((1, 7), np.float32)
    maxima[0, 2] = 0.5
    inputs = replace(inputs, source_scores=scores, source_ranks=ranks, source_maxima=maxima)
    assert column(inputs, "source_2_score_share").tolist() == [1.0, 0.5, 0.0]
    assert column(inputs, "source_2_reciprocal").tolist() == [1.0, 0.5, 0.0]
    assert column(inputs, "source_2_fusion") == pytest.approx([1.0, 20 / 21, 0.0])
    expected = [1.0, 1 + np.log(0.5) / np.log(1000), 0.0]
    assert column(inputs, "source_2_score_log") == pytest.approx(expected, abs=1e-6)
    assert column(inputs, "sources_share") == pytest.approx([1 / 7, 1 / 7, 0.0])
    assert not column(inputs, "source_3_fusion").any()


def test_negative_source_scores_stay_in_range() -> None:
    inputs = random_inputs(num_candidates=(2,), dim=4)
    scores = np.full((2, 7), -5.0, np.float32)
    inputs = replace(inputs, source_scores=scores, source_maxima=np.zeros((1, 7), np.float32))
    features = candidate_features(inputs, 0, 2)
    assert np.isfinite(features).all()
    assert column(inputs, "source_0_score_share").tolist() == [-1.0, -1.0]


def test_own_columns_by_hand() -> None:
    inputs = random_inputs(num_candidates=(2,), dim=4)
    inputs = replace(
        inputs,
        candidate_history_places=np.array([1, -1], np.int32),
        candidate_history_ages_ms=np.array([300_000, -1], np.int64),
        candidate_history_actions=np.array([0b10_0010, 0], np.uint16),
    )
    assert column(inputs, "own").tolist() == [1.0, 0.0]
    assert column(inputs, "own_place").tolist() == [0.5, 0.0]
    assert column(inputs, "own_within_300_s") == pytest.approx([np.exp(-1), 0.0])
    assert column(inputs, "own_like").tolist() == [1.0, 0.0]
    assert column(inputs, "own_follow").tolist() == [1.0, 0.0]
    assert column(inputs, "own_watch").tolist() == [0.0, 0.0]


def test_ages_of_a_century_are_finite() -> None:
    inputs = random_inputs(num_candidates=(2,), dim=4)
    century_ms = 100 * 365 * 86_400_000
    inputs = replace(inputs, candidate_ages_ms=np.array([0, century_ms], np.int64))
    assert column(inputs, "age_within_3600_s").tolist() == [1.0, 0.0]
    assert 1.0 < column(inputs, "age_log")[1] < 2.0


def test_names_are_distinct() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_no_history_width_is_allowed() -> None:
    inputs = random_inputs(num_candidates=(2,), dim=4, max_history=0)
    assert user_features(inputs, np.arange(1)).shape == (1, 13)
    assert history_features(inputs, np.arange(1)).shape == (1, 0, NUM_HISTORY_FEATURES)
