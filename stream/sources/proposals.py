"""Proposals: what each source gives each user, before the lists are merged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SourceList(NamedTuple):
    """One source's lists for B users, best first; views, filled in place by the source.

    Attributes:
        rows: int32 (B, M), catalogue rows, live and distinct within a user.
        scores: float32 (B, M), descending.
        counts: int32 (B,), how many of M are used.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    counts: NDArray[np.int32]


class Proposals(NamedTuple):
    """Lists of S sources for B users, best first; at most M each.

    Attributes:
        rows: int32 (S, B, M).
        scores: float32 (S, B, M).
        counts: int32 (S, B).
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    counts: NDArray[np.int32]

    @classmethod
    def empty(cls, num_sources: int, num_users: int, max_per_source: int) -> Proposals:
        """Return lists without a proposal."""
        shape = (num_sources, num_users, max_per_source)
        return cls(
            rows=np.zeros(shape, np.int32),
            scores=np.zeros(shape, np.float32),
            counts=np.zeros((num_sources, num_users), np.int32),
        )

    def of(self, source: int) -> SourceList:
        """Return one source's lists as views."""
        return SourceList(
            rows=self.rows[source], scores=self.scores[source], counts=self.counts[source]
        )
