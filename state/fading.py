"""Fading: what pair counts that were read a while ago weigh now.

A signal carries sums as of its moment; an item that nobody touches sends none. Read later, its
counts have aged by some generations g (a fraction), and each window's part weighs

    decay ** g, linear between whole generations, 0 from g = num_generations on

    decay 0.5, four generations:  age 0 1 2 3 4, weight 1 .5 .25 .125 0

Absent: which window holds how much of an item (``Catalogue.window_shares``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.item_limits import CatalogueLimits


class Fading(NamedTuple):
    """Weights by age of W windows, for kernels.

    Attributes:
        generations_per_ms: float64 (W,).
        weights: float64 (W, G + 1), weight at each whole generation of age; the last is 0.
    """

    generations_per_ms: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, limits: CatalogueLimits) -> Fading:
        """Tabulate what the windows' settings say."""
        generations = np.arange(limits.num_generations + 1)
        weights = np.power(limits.generation_decay, generations)
        weights[-1] = 0.0
        windows = np.array(limits.windows_ms, np.float64)
        return cls(
            generations_per_ms=limits.num_generations / windows,
            weights=np.tile(weights, (len(windows), 1)),
        )


@njit(cache=True, nogil=True)
def faded(fading: Fading, shares: NDArray[np.float32], row: int, age_ms: int) -> float:
    """Return the weight of one item's pair counts after some time.

    Args:
        fading: Weights by age.
        shares: float32 (N, W), each window's part of an item's counts; a row sums to 1.
        row: The item.
        age_ms: Time since the counts were read; before that is no age.
    """
    if age_ms <= 0:
        return 1.0
    num_windows, num_weights = fading.weights.shape
    total = 0.0
    for window in range(num_windows):
        age = age_ms * fading.generations_per_ms[window]
        if age >= num_weights - 1:
            continue
        step = np.int64(age)
        weight = fading.weights[window, step]
        weight += (age - step) * (fading.weights[window, step + 1] - weight)
        total += shares[row, window] * weight
    return total
