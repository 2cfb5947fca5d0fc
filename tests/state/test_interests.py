"""Interest vectors equal the decayed sum, whatever the order of arrival."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.interests import add_interest, clear_interests, decay, make_interests

GAINS = st.lists(
    st.tuples(st.integers(0, 5000), st.sampled_from([1.0, 2.0, -1.0, 3.0]), st.integers(0, 3)),
    max_size=20,
)
EMBEDDINGS = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)


@given(gains=GAINS)
@settings(deadline=None, max_examples=100)
def test_vectors_equal_the_decayed_sum(gains: list) -> None:
    interests = make_interests(dim=5, capacity=2)
    for time_ms, weight, item in gains:
        add_interest(interests, 1, EMBEDDINGS[item], weight, time_ms, 300.0, 4000.0)

    newest = max([0, *(time for time, _, _ in gains)])
    for vectors, half_life in ((interests[0], 300.0), (interests[1], 4000.0)):
        expected = np.zeros(5)
        for time_ms, weight, item in gains:
            expected += weight * 2.0 ** (-(newest - time_ms) / half_life) * EMBEDDINGS[item]
        np.testing.assert_allclose(vectors[1], expected, rtol=1e-4, atol=1e-4)
    assert not interests.session_vectors[0].any()
    clear_interests(interests, 1)
    assert not any(column.any() for column in interests)


def test_decay_over_an_age_is_zero_and_back_in_time_is_none() -> None:
    assert decay(2**61, 1.0) == 0.0
    assert decay(-(2**61), 1.0) == 1.0
    assert decay(300, 300.0) == 0.5
