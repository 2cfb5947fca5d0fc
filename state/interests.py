"""Interest vectors: two decayed sums of item embeddings per user, session and long.

Forward decay: with reference time ``T`` (the largest event time so far) and half-life ``h``

    v(T) = sum over events of  weight * embedding * 2 ** (-(T - t) / h)

A newer event first decays the sum to its own time; a late one adds its already-decayed weight, so
that the order of arrival does not matter (up to float rounding). Derived columns: outside the
digest, because embeddings come from the catalogue, whose order against the log is not fixed.

Source: Cormode, Shkapenyuk, Srivastava, Xu 2009, "Forward Decay".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.kernels import kernel

_LN_2 = math.log(2.0)


class InterestColumns(NamedTuple):
    """The arrays of all vectors, for kernels. N rows of capacity, D dimensions.

    Attributes:
        session_vectors: float32 (N, D), decayed to the row's time.
        long_vectors: float32 (N, D), decayed to the row's time.
        times_ms: int64 (N,), reference time; meaningless while both vectors are zero.
    """

    session_vectors: NDArray[np.float32]
    long_vectors: NDArray[np.float32]
    times_ms: NDArray[np.int64]


@kernel
def decay(elapsed_ms: int, half_life_ms: float) -> float:
    """Return ``2 ** (-elapsed / half_life)``; 1 for no or negative elapsed time.

    >>> decay(60_000, 30_000.0), decay(-5, 1.0)
    (0.25, 1.0)
    """
    if elapsed_ms <= 0:
        return 1.0
    return math.exp(-_LN_2 * (elapsed_ms / half_life_ms))


@kernel
def add_interest(
    interests: InterestColumns,
    user_row: int,
    embedding: NDArray[np.float32],
    weight: float,
    time_ms: int,
    session_half_life_ms: float,
    long_half_life_ms: float,
) -> None:
    """Add ``weight * embedding`` at an event time to both vectors of a user."""
    session = interests.session_vectors[user_row]
    long = interests.long_vectors[user_row]
    elapsed_ms = time_ms - interests.times_ms[user_row]
    if elapsed_ms >= 0:
        keep_session = np.float32(decay(elapsed_ms, session_half_life_ms))
        keep_long = np.float32(decay(elapsed_ms, long_half_life_ms))
        gain_session = np.float32(weight)
        gain_long = np.float32(weight)
        interests.times_ms[user_row] = time_ms
    else:
        keep_session = np.float32(1.0)
        keep_long = np.float32(1.0)
        gain_session = np.float32(weight * decay(-elapsed_ms, session_half_life_ms))
        gain_long = np.float32(weight * decay(-elapsed_ms, long_half_life_ms))
    for d in range(len(embedding)):
        session[d] = session[d] * keep_session + gain_session * embedding[d]
        long[d] = long[d] * keep_long + gain_long * embedding[d]


@kernel
def clear_interests(interests: InterestColumns, user_row: int) -> None:
    """Forget a user's vectors."""
    interests.session_vectors[user_row] = np.float32(0.0)
    interests.long_vectors[user_row] = np.float32(0.0)
    interests.times_ms[user_row] = 0


def make_interests(*, dim: int, capacity: int) -> InterestColumns:
    """Return zero vectors of ``dim`` dimensions (0 without a catalogue) for ``capacity`` users."""
    return InterestColumns(
        session_vectors=np.zeros((capacity, dim), np.float32),
        long_vectors=np.zeros((capacity, dim), np.float32),
        times_ms=np.zeros(capacity, np.int64),
    )
