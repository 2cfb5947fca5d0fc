"""Ranking metrics of the prequential protocol: ranks in, means and deciles out.

Rank = 1 + number of better scores + half the ties; a target without a score is a miss (rank 0).
Notable: metrics take ranks only, so that every source and ranker is measured by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HIT_AT = 10
DEEP_AT = 20


def rank_of(score: float, others: NDArray[np.float64] | NDArray[np.float32]) -> float:
    """Return the rank of a target among the other scored items: ties count half.

    >>> rank_of(0.5, np.array([0.9, 0.5, 0.5, 0.1]))
    3.0
    """
    better = int(np.count_nonzero(others > score))
    ties = int(np.count_nonzero(others == score))
    return 1.0 + better + ties / 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Means over tested events: HR@10, NDCG@10, MRR@20, HR@20, and how many there were."""

    hr10: float
    ndcg10: float
    mrr20: float
    hr20: float
    num_tested: int

    def as_json(self) -> dict[str, float | int]:
        """Return the names of the summary contract, rounded to six places."""
        return {
            "tested": self.num_tested,
            "hr@10": round(self.hr10, 6),
            "ndcg@10": round(self.ndcg10, 6),
            "mrr@20": round(self.mrr20, 6),
            "hr@20": round(self.hr20, 6),
        }


def gains(ranks: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return each metric's gain of every test, float64 (T,); rank 0 stands for a miss.

    NDCG with one relevant item is 1 / log2(rank + 1) (Järvelin and Kekäläinen 2002, "Cumulated
    gain-based evaluation of IR techniques").

    >>> gains(np.array([3.0, 0.0]))["ndcg@10"].tolist()
    [0.5, 0.0]
    """
    hit = (ranks > 0) & (ranks <= HIT_AT)
    deep = (ranks > 0) & (ranks <= DEEP_AT)
    safe = np.where(ranks > 0, ranks, 1.0)
    return {
        "hr@10": hit.astype(np.float64),
        "ndcg@10": np.where(hit, 1.0 / np.log2(safe + 1.0), 0.0),
        "mrr@20": np.where(deep, 1.0 / safe, 0.0),
        "hr@20": deep.astype(np.float64),
    }


def means(ranks: NDArray[np.float64]) -> Means:
    """Average over ranks; 0 stands for a miss.

    >>> means(np.array([1.0, 3.0, 0.0, 15.0])).as_json()
    {'tested': 4, 'hr@10': 0.5, 'ndcg@10': 0.375, 'mrr@20': 0.35, 'hr@20': 0.75}
    """
    if len(ranks) == 0:
        return Means(hr10=0.0, ndcg10=0.0, mrr20=0.0, hr20=0.0, num_tested=0)
    each = gains(ranks)
    return Means(
        hr10=float(each["hr@10"].mean()),
        ndcg10=float(each["ndcg@10"].mean()),
        mrr20=float(each["mrr@20"].mean()),
        hr20=float(each["hr@20"].mean()),
        num_tested=len(ranks),
    )


def by_decile(ranks: NDArray[np.float64]) -> list[dict[str, float | int]]:
    """Return the means of ten equal parts of the tested stream, in its order."""
    return [means(part).as_json() for part in np.array_split(ranks, 10)]
