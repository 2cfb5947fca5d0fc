"""Reciprocal-rank fusion: known values, and law 5."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.fusion import fuse


@settings(deadline=None, max_examples=60)
@given(
    ranks=st.lists(st.lists(st.integers(0, 65_535), min_size=3, max_size=3), max_size=20),
    k=st.sampled_from([1.0, 20.0, 60.0]),
    depth=st.integers(1, 200),
)
def test_fusion_equals_a_slow_sum(ranks: list[list[int]], k: float, depth: int) -> None:
    weights = (1.0, 0.5, 0.0)
    array = np.asarray(ranks, np.uint16).reshape(-1, 3)
    expected = [
        sum(
            weight / (k + rank)
            for weight, rank in zip(weights, mine, strict=True)
            if 0 < rank <= depth
        )
        for mine in ranks
    ]
    np.testing.assert_allclose(fuse(array, weights, k=k, depth=depth), expected, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), size=st.integers(1, 50))
def test_a_score_alone_is_the_score_in_a_batch(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    ranks = random.integers(0, 120, (size, 7)).astype(np.uint16)
    weights = random.random(7).tolist()
    together = fuse(ranks, weights)
    order = random.permutation(size)
    assert (fuse(ranks[order], weights) == together[order]).all()
    assert [fuse(ranks[c : c + 1], weights)[0] for c in range(size)] == together.tolist()


def test_weights_must_fit_the_sources() -> None:
    with pytest.raises(ValueError, match="Expected 2 fusion weights"):
        fuse(np.zeros((1, 2), np.uint16), (1.0,))
