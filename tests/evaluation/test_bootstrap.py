"""The paired bootstrap: exact means, intervals that cover, users that stay whole."""

import numpy as np
import pytest

from evaluation.bootstrap import paired_bootstrap


def test_no_tests_say_nothing() -> None:
    none = np.zeros(0)
    found = paired_bootstrap(np.zeros(0, np.int64), none, none)
    assert (found.mean, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_constant_gain_has_no_spread() -> None:
    users = np.array([7, 7, 9, 2])
    found = paired_bootstrap(users, np.zeros(4), np.full(4, 0.25), resamples=200)
    assert (found.mean, found.low, found.high) == (0.25, 0.25, 0.25)
    assert found.p == 1 / 200


def test_the_same_seed_gives_the_same_interval() -> None:
    random = np.random.default_rng(0)
    users, gains = random.integers(0, 30, 200), random.random((2, 200))
    assert paired_bootstrap(users, *gains) == paired_bootstrap(users, *gains)
    assert paired_bootstrap(users, *gains) != paired_bootstrap(users, *gains, seed=1)
    swapped = paired_bootstrap(users, *gains[::-1])
    assert swapped.mean == pytest.approx(-paired_bootstrap(users, *gains).mean)


def test_a_user_is_drawn_with_all_tests() -> None:
    # One user has all the difference: half of the samples of two users miss or double it.
    users = np.array([0] * 10 + [1] * 10)
    second = np.array([1.0] * 10 + [0.0] * 10)
    found = paired_bootstrap(users, np.zeros(20), second, resamples=2_000)
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    # Drawn event by event the interval would be about .3 to .7.


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        of_user = random.normal(0.1, 0.3, 60)
        users = np.repeat(np.arange(60), 4)
        second = of_user[users] + random.normal(0.0, 0.1, 240)
        found = paired_bootstrap(users, np.zeros(240), second, resamples=300, seed=seed)
        covered += found.low <= 0.1 <= found.high
    assert 178 <= covered <= 200
