"""Affinities: the tags and authors that each user cares for most, as decayed weights.

A user has A places. A key that has none takes the place of the weight nearest to zero and starts
from it, so that a key's weight is never below what it earned (Space-Saving: Metwally, Agrawal,
El Abbadi 2005, here with weights that decay alike and may be negative). Derived columns, as the
interest vectors: outside the digest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.interests import decay
from state.kernels import kernel


class AffinityColumns(NamedTuple):
    """The arrays of all affinities, for kernels. N rows of capacity, A places.

    Attributes:
        keys: uint64 (N, A), hashed tag or author; 0 = empty.
        weights: float32 (N, A), decayed to the row's time.
        times_ms: int64 (N,), reference time; meaningless while all places are empty.
    """

    keys: NDArray[np.uint64]
    weights: NDArray[np.float32]
    times_ms: NDArray[np.int64]


@kernel
def advance_affinities(
    affinities: AffinityColumns, user_row: int, time_ms: int, half_life_ms: float
) -> float:
    """Decay a user's weights to an event time; return what a weight at that time counts now."""
    elapsed_ms = time_ms - affinities.times_ms[user_row]
    if elapsed_ms < 0:
        return float(decay(-elapsed_ms, half_life_ms))
    if elapsed_ms > 0:
        keep = np.float32(decay(elapsed_ms, half_life_ms))
        weights = affinities.weights[user_row]
        for place in range(len(weights)):
            weights[place] *= keep
        affinities.times_ms[user_row] = time_ms
    return 1.0


@kernel
def add_affinity(
    affinities: AffinityColumns, user_row: int, key: np.uint64, weight: np.float32
) -> None:
    """Add a weight (already decayed to the row's time) to one key; key 0 is no key.

    A weight below zero never takes a filled place.
    """
    keys = affinities.keys[user_row]
    weights = affinities.weights[user_row]
    if key == np.uint64(0) or len(keys) == 0:
        return
    target = -1
    for place in range(len(keys)):
        if keys[place] == key:
            weights[place] += weight
            return
        if keys[place] == np.uint64(0):
            target = place
            break
    if target < 0:
        if weight <= 0:
            return
        target = 0
        for place in range(1, len(keys)):
            if abs(weights[place]) < abs(weights[target]):
                target = place
        weight += abs(weights[target])
    keys[target] = key
    weights[target] = weight


@kernel
def clear_affinities(affinities: AffinityColumns, user_row: int) -> None:
    """Forget a user's affinities."""
    affinities.keys[user_row] = np.uint64(0)
    affinities.weights[user_row] = np.float32(0.0)
    affinities.times_ms[user_row] = 0


def make_affinities(*, max_affinities: int, capacity: int) -> AffinityColumns:
    """Return ``max_affinities`` empty places for each of ``capacity`` users."""
    shape = (capacity, max_affinities)
    return AffinityColumns(
        keys=np.zeros(shape, np.uint64),
        weights=np.zeros(shape, np.float32),
        times_ms=np.zeros(capacity, np.int64),
    )
