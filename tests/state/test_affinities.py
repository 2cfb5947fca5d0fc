"""Affinities against a dictionary, and what Space-Saving promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.affinities import (
    add_affinity,
    advance_affinities,
    clear_affinities,
    make_affinities,
)

GAINS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(0, 900)), max_size=40)


def weights_of(affinities) -> dict[int, float]:
    keys, weights = affinities.keys[1].tolist(), affinities.weights[1].tolist()
    return {key: weight for key, weight in zip(keys, weights, strict=True) if key}


@given(gains=GAINS, places=st.integers(1, 12))
@settings(deadline=None, max_examples=150)
def test_no_weight_is_below_what_its_key_earned(gains: list, places: int) -> None:
    affinities = make_affinities(max_affinities=places, capacity=2)
    earned: dict[int, float] = {}
    newest = 0
    for key, weight, time_ms in gains:
        keep = 2.0 ** (-max(0, time_ms - newest) / 500)
        earned = {each: value * keep for each, value in earned.items()}
        newest = max(newest, time_ms)
        share = advance_affinities(affinities, 1, time_ms, 500.0)
        assert share == pytest.approx(2.0 ** (-(newest - time_ms) / 500))
        earned[key] = earned.get(key, 0.0) + weight * share
        add_affinity(affinities, 1, np.uint64(key), np.float32(weight * share))

        kept = weights_of(affinities)
        assert len(kept) == min(places, len(earned))
        assert sum(kept.values()) == pytest.approx(sum(earned.values()), rel=1e-4)
        for each, value in kept.items():
            assert value >= earned[each] * (1 - 1e-4)
        if len(earned) <= places:
            assert kept == pytest.approx(earned, rel=1e-4)
        if len(kept) == places:
            # Whoever earned more than the least weight kept must be there.
            least = min(kept.values()) * (1 + 1e-4)
            assert all(each in kept for each, value in earned.items() if value > least)
    clear_affinities(affinities, 1)
    assert not any(column.any() for column in affinities)


def test_a_dislike_counts_but_takes_no_filled_place() -> None:
    affinities = make_affinities(max_affinities=2, capacity=2)
    for key, weight in ((1, 2.0), (2, -1.0), (3, -5.0), (1, -3.0), (0, 9.0)):
        add_affinity(affinities, 1, np.uint64(key), np.float32(weight))

    assert weights_of(affinities) == {1: -1.0, 2: -1.0}
    assert not affinities.keys[0].any()


def test_no_places_is_no_affinities() -> None:
    affinities = make_affinities(max_affinities=0, capacity=1)
    add_affinity(affinities, 0, np.uint64(7), np.float32(1.0))
