"""A histogram of durations with fixed buckets: bounded memory, exact counts, percentiles.

Buckets are exact below 256 ms and grow with the value above it, 128 per doubling, so that a
percentile is at most 0.8 % too high. Source: Gil Tene, HdrHistogram, 2012
(https://hdrhistogram.org); ours has one fixed precision and no auto-resizing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EXACT_MS = 256
_PER_DOUBLING = 128
_MAX_MS = (1 << 31) - 1  # 24.8 days; more is counted as this.
_NUM_BUCKETS = _EXACT_MS + (31 - 8) * _PER_DOUBLING


def _buckets_of(values_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket per value in ``[0, _MAX_MS]``."""
    # frexp is exact here: value = fraction * 2**exponent with fraction in [0.5, 1).
    doublings = np.maximum(np.frexp(values_ms.astype(np.float64))[1].astype(np.int64) - 8, 0)
    mantissas = values_ms >> doublings  # In [128, 256) from the first doubling on.
    return np.where(
        doublings == 0,
        values_ms,
        _EXACT_MS + (doublings - 1) * _PER_DOUBLING + mantissas - _PER_DOUBLING,
    )


def _tops() -> NDArray[np.int64]:
    """Return the largest value of every bucket, ms."""
    places = np.arange(_NUM_BUCKETS - _EXACT_MS, dtype=np.int64)
    doublings = places // _PER_DOUBLING + 1
    mantissas = places % _PER_DOUBLING + _PER_DOUBLING
    return np.concatenate([np.arange(_EXACT_MS, dtype=np.int64), (mantissas + 1 << doublings) - 1])


_TOPS_MS = _tops()


class DurationHistogram:
    """Counts of durations in ms.

    >>> histogram = DurationHistogram()
    >>> histogram.record(np.arange(1, 101))
    >>> histogram.percentile_ms(0.5), histogram.percentile_ms(0.99), histogram.max_ms
    (50, 99, 100)
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_NUM_BUCKETS, np.int64)
        self._sum_ms = 0
        self._max_ms = 0

    @property
    def count(self) -> int:
        """Number of durations recorded."""
        return int(self._counts.sum())

    @property
    def sum_ms(self) -> int:
        """Sum of all durations."""
        return self._sum_ms

    @property
    def max_ms(self) -> int:
        """Longest duration recorded; 0 without one."""
        return self._max_ms

    def record(self, values_ms: NDArray[np.int64]) -> None:
        """Add durations, int64 (n,); negative ones (clocks differ) count as 0."""
        if not len(values_ms):
            return
        values = np.clip(values_ms.astype(np.int64), 0, _MAX_MS)
        self._counts += np.bincount(_buckets_of(values), minlength=_NUM_BUCKETS)
        self._sum_ms += int(values.sum())
        self._max_ms = max(self._max_ms, int(values.max()))

    def add(self, other: DurationHistogram) -> None:
        """Add all counts of another histogram."""
        self._counts += other._counts
        self._sum_ms += other.sum_ms
        self._max_ms = max(self._max_ms, other.max_ms)

    def percentile_ms(self, share: float) -> int:
        """Return the smallest bucket top with at least ``share`` of all at or below it; 0 if empty.

        Never above :attr:`max_ms`.
        """
        total = self.count
        if not total:
            return 0
        rank = max(int(np.ceil(share * total)), 1)
        bucket = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(int(_TOPS_MS[bucket]), self._max_ms)

    def cumulative(self, bounds_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many durations are at or below each bound, int64 (n,).

        A bound inside a bucket counts the buckets that end at or below it.
        """
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._counts)])
        return sums[np.searchsorted(_TOPS_MS, bounds_ms, side="right")]
