"""Exposure: what the lists were like beyond whether they hit, counted as they are made.

- **coverage**: items that were in some list, of all that anybody touched or that were in a list;
- **gini**: of how often each of these was in a list, 0 = all alike, 1 = one item alone;
- **novelty**: mean of ``-log2((touches + 1) / (all touches + 1))`` of an item at that moment
  (Vargas and Castells 2011, "Rank and relevance in novelty and diversity metrics for recommender
  systems", https://doi.org/10.1145/2043932.2043955); the one added keeps untouched items finite;
- **diversity**: mean over the pairs of a list of 1 - cosine of who touched them so far (Ziegler and
  others 2005, "Improving recommendation lists through topic diversification"), over the log's first
  8,192 users: no content is needed, and the same on every data set;
- **median age**: since an item's first event, of items that have one.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evaluation.facts import Facts

LIST_LENGTH = 10
_MS_PER_HOUR = 3_600_000


@dataclass(slots=True)
class Exposure:
    """Sums over the lists of one contender."""

    num_lists: int = 0
    _shown: Counter[str] = field(default_factory=Counter)
    _novelty: float = 0.0
    _num_items: int = 0
    _diversity: float = 0.0
    _num_pairs: int = 0
    _ages_h: array[float] = field(default_factory=lambda: array("f"))

    def add(self, items: Sequence[str], now_ms: int, facts: Facts) -> None:
        """Count one list, best first, as of what is known at its moment."""
        self.num_lists += 1
        self._shown.update(items)
        all_touches = math.log2(facts.num_touches + 1)
        users = []
        for item in items:
            known = facts.items.get(item)
            self._novelty += all_touches - (math.log2(known.num_touches + 1) if known else 0.0)
            if known is not None:
                self._ages_h.append((now_ms - known.first_ms) / _MS_PER_HOUR)
            users.append(known.users if known else 0)
        self._num_items += len(items)
        counts = [each.bit_count() for each in users]
        for first in range(len(users)):
            for second in range(first):
                together = (users[first] & users[second]).bit_count()
                alike = together / math.sqrt(counts[first] * counts[second]) if together else 0.0
                self._diversity += 1.0 - alike
        self._num_pairs += len(users) * (len(users) - 1) // 2

    def summary(self, facts: Facts) -> dict[str, float | int | None]:
        """Return the figures; None where there was nothing to take a mean of.

        Args:
            facts: At the end of the log.
        """
        known = facts.items.keys() | self._shown.keys()
        exposures = np.zeros(len(known), np.int64)
        exposures[: len(self._shown)] = list(self._shown.values())
        return {
            "lists": self.num_lists,
            "coverage": _rounded(len(self._shown) / len(known) if known else None),
            "gini": _rounded(gini(exposures) if self._num_items else None),
            "novelty_bits": _rounded(_mean(self._novelty, self._num_items)),
            "diversity": _rounded(_mean(self._diversity, self._num_pairs)),
            "median_age_h": _rounded(float(np.median(self._ages_h)) if self._ages_h else None),
        }


def gini(counts: NDArray[np.int64]) -> float:
    """Return the Gini coefficient of counts that are not all 0.

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 4]))
    (0.0, 0.75)
    """
    ordered = np.sort(counts).astype(np.float64)
    places = np.arange(1, len(ordered) + 1)
    return float(((2 * places - len(ordered) - 1) * ordered).sum() / (len(ordered) * ordered.sum()))


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
