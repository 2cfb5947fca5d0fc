"""Reciprocal-rank fusion: the ranker that needs no training, and the fallback of every other.

``value = sum over sources s of w_s / (k + rank_s)`` over the top ``depth`` of each (Cormack,
Clarke and Buettcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
Methods, 2009, https://doi.org/10.1145/1571941.1572114); weights are ours. It reads ranks alone,
so a value depends on nothing but its own candidate, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.ranking import RankerScores, RankingInputs, ScoreTerms


def fuse(
    ranks: NDArray[np.uint16], weights: Sequence[float], *, k: float = 20.0, depth: int = 100
) -> NDArray[np.float32]:
    """Fuse the ranks that sources gave.

    Args:
        ranks: uint16 (C, S), 1 = best, 0 = not proposed.
        weights: S weights, one per source.
        k: Constant of the reciprocal ranks: the smaller, the more the first places count.
        depth: Ranks beyond it count as not proposed.

    Returns:
        float32 (C,), >= 0 for weights >= 0.

    >>> fuse(np.array([[1, 0], [2, 1], [0, 0]], np.uint16), (1.0, 0.5), k=1.0)
    array([0.5      , 0.5833333, 0.       ], dtype=float32)
    """
    if ranks.shape[1] != len(weights):
        message = f"Expected {ranks.shape[1]} fusion weights, one per source; got {len(weights)}."
        raise ValueError(message)
    # One table look-up per source and candidate; index 0 and everything beyond depth is 0.
    gains = np.zeros(depth + 2, np.float64)
    gains[1 : depth + 1] = 1.0 / (k + np.arange(1, depth + 1))
    values = np.zeros(len(ranks), np.float64)
    for source, weight in enumerate(weights):
        if weight:
            values += (weight * gains)[np.minimum(ranks[:, source], depth + 1)]
    return values.astype(np.float32)


class FusionRanker:
    """Rank by reciprocal-rank fusion of the sources; implements ``models.ranking.Ranker``."""

    name = "fusion"
    sequence = 0

    def __init__(self, weights: Sequence[float], *, k: float = 20.0, depth: int = 100) -> None:
        """Make a ranker.

        Args:
            weights: S weights in the order of the sources' columns.
            k: Constant of the reciprocal ranks.
            depth: Ranks beyond it do not count.
        """
        self.weights = tuple(float(weight) for weight in weights)
        self.k = k
        self.depth = depth

    def score(self, inputs: RankingInputs) -> RankerScores:
        """Score every candidate; heads have width 0."""
        values = fuse(inputs.source_ranks, self.weights, k=self.k, depth=self.depth)
        return RankerScores(values=values, heads=np.zeros((len(values), 0), np.float32))

    def terms(self, inputs: RankingInputs, scores: RankerScores, candidate: int) -> ScoreTerms:
        """Take one score apart: a term ``w_s / (k + rank_s)`` per source, 0 where none counts."""
        ranks = inputs.source_ranks[candidate].astype(np.float64)
        counts = (ranks > 0) & (ranks <= self.depth)
        return ScoreTerms(
            names=(),
            factors=np.where(counts, 1.0 / (self.k + ranks), 0.0),
            weights=np.array(self.weights, np.float64),
        )
