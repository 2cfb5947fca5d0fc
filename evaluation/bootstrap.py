"""Is one contender better than another? A paired bootstrap over users.

Users are drawn with replacement, each with all of its tests, because the tests of one user are not
independent (Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 8). Both
contenders answered the same tests on the same state, so that what is drawn are differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Draws made at once: bounds memory to a few MB for a million users.
_MAX_DRAWS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Second minus first of one metric.

    Attributes:
        mean: Over all tests.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p: Two-sided: how often the resampled difference had the other sign, doubled; at least
            1 / resamples.
    """

    mean: float
    low: float
    high: float
    p: float

    def as_json(self) -> dict[str, float]:
        """Return the figures, rounded to six places."""
        return {
            "difference": round(self.mean, 6),
            "low": round(self.low, 6),
            "high": round(self.high, 6),
            "p": round(self.p, 6),
        }


def paired_bootstrap(
    users: NDArray[np.int64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    resamples: int = 1_000,
    seed: int = 0,
) -> Difference:
    """Compare two contenders on the same tests.

    Args:
        users: int64 (T,), number of each test's user.
        first: float64 (T,), gain of each test.
        second: float64 (T,), the other's gain of the same tests.
        resamples: How many samples of users.
        seed: Of the draws.

    >>> same = np.array([1.0, 0.0, 0.5])
    >>> paired_bootstrap(np.array([0, 0, 1]), same, same).as_json()
    {'difference': 0.0, 'low': 0.0, 'high': 0.0, 'p': 1.0}
    """
    if len(users) == 0:
        return Difference(mean=0.0, low=0.0, high=0.0, p=1.0)
    _, numbers = np.unique(users, return_inverse=True)
    gains = np.bincount(numbers, weights=second - first)  # (U,)
    counts = np.bincount(numbers).astype(np.float64)
    random = np.random.default_rng(seed)
    means = np.empty(resamples, np.float64)
    step = max(1, _MAX_DRAWS // len(gains))
    for begin in range(0, resamples, step):
        size = min(step, resamples - begin)
        drawn = random.integers(0, len(gains), (size, len(gains)))  # (size, U)
        means[begin : begin + size] = gains[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    other = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0)) / resamples
    return Difference(
        mean=float(gains.sum() / counts.sum()),
        low=float(low),
        high=float(high),
        p=float(min(1.0, max(2.0 * other, 1.0 / resamples))),
    )
