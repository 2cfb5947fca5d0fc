"""Seeded projections: a unit vector for an item that announced none, from its id alone.

Random signs keep angles: two ids are nearly orthogonal (cosine about ``1 / sqrt(D)``), so an
interest vector tells such items apart from the first event, as feature hashing does (Achlioptas,
"Database-friendly random projections", 2003). Announced vectors of another length are brought to
D in the same way. Deterministic over machines: 64 signs per word of SplitMix64 (Steele 2014).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.hashing import hash64


@njit(cache=True, nogil=True)
def splitmix64(value: np.uint64) -> np.uint64:
    """Return the word that follows a state of SplitMix64."""
    value = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint64(value ^ (value >> np.uint64(31)))


@njit(cache=True, nogil=True)
def project_id(
    buffer: NDArray[np.uint8],
    start: int,
    length: int,
    seed: int,
    vectors: NDArray[np.float32],
    row: int,
) -> None:
    """Write the unit vector of an id into ``vectors[row]`` (float32 (N, D))."""
    dim = vectors.shape[1]
    scale = np.float32(1.0 / np.sqrt(np.float64(dim)))
    state = hash64(buffer, start, length, seed)
    signs = np.uint64(0)
    for index in range(dim):
        if index % 64 == 0:
            state = state + np.uint64(0x9E3779B97F4A7C15)
            signs = splitmix64(state)
        vectors[row, index] = scale if signs & np.uint64(1) else -scale
        signs = signs >> np.uint64(1)


@njit(cache=True, nogil=True)
def project_vector(
    values: NDArray[np.float32], seed: int, vectors: NDArray[np.float32], row: int
) -> bool:
    """Write an announced vector, brought to D and unit length, into ``vectors[row]``.

    Args:
        values: float32 (V,); taken as it is where V = D, else multiplied by seeded signs.
        seed: Seed of the signs.
        vectors: float32 (N, D), changed.
        row: Row to write.

    Returns:
        False where the vector has no direction (empty, zero, not finite); nothing is written.
    """
    dim = vectors.shape[1]
    sums = np.zeros(dim)
    if len(values) == dim:
        for index in range(dim):
            sums[index] = np.float64(values[index])
    else:
        for index in range(len(values)):
            state = splitmix64(np.uint64(seed) ^ np.uint64(index + 1) << np.uint64(20))
            signs = np.uint64(0)
            for out in range(dim):
                if out % 64 == 0:
                    state = splitmix64(state)
                    signs = state
                value = np.float64(values[index])
                sums[out] += value if signs & np.uint64(1) else -value
                signs = signs >> np.uint64(1)
    norm = 0.0
    for index in range(dim):
        norm += sums[index] * sums[index]
    norm = np.sqrt(norm)
    if not (norm > 0.0 and np.isfinite(norm)):
        return False
    for index in range(dim):
        vectors[row, index] = np.float32(sums[index] / norm)
    return True
