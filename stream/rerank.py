"""Step 9, rerank: from scored candidates to a slate, with a reason for everything left out.

Per user, in order:

1. judge: not live, not scored, blocked by the user and (where repeats are excluded) seen go out;
2. relevance: scores become ``(score - low) / (high - low)`` with low = min(0, smallest), less for
   the authors of blocked items;
3. pool: the best ``pool_size`` by relevance, at most ``max_per_author`` of one author;
4. pick: one after the other the largest ``relevance x author multiplier - diversity x similarity``
   (Carbonell and Goldstein, MMR, 1998, https://doi.org/10.1145/290941.291025; the author
   multiplier ``(1 - f) d^k + f`` is that of x-algorithm); at the exploration places the first
   little-known fresh item instead;
5. refill: where the supply ends early, seen items, only after all unseen and marked.

Law 6: the slate is a subset of the candidates without duplicates, and every other candidate has a
reason. Absent: any randomness; ties go to the earlier candidate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream.candidates import SOURCES
from stream.errors import ConfigurationError
from stream.rerank_picking import SlateColumns, judge_kernel, pick_kernel
from stream.rerank_pool import Contenders, RerankRules
from stream.sources.scratch import Histories

if TYPE_CHECKING:
    from models.ranking import RankerScores
    from state.catalogue import Catalogue
    from stream.candidates import CandidateBatch, UserBatch

_FRESH = SOURCES.index("fresh")


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankLimits:
    """Bounds and rules of reranking. The defaults are the worker's.

    Attributes:
        slate_size: K, items per list.
        pool_size: Candidates that compete for the slate; bounds the work of diversity.
        allow_repeats: Whether items that the user consumed may stand in the slate.
        refill_seen: Without repeats: whether seen items fill a slate that would be short.
        max_per_author: Items of one author in a slate; 0 = no cap. Unknown authors have none.
        author_decay: d of the author multiplier, (0, 1].
        author_floor: f of the author multiplier, [0, 1].
        blocked_author_factor: Factor on the relevance of items whose author made an item that
            the user is not interested in, [0, 1].
        diversity: Weight of the similarity to what is already in the slate, >= 0; 0 = none.
        exploration_places: Places (0 = first) kept for little-known fresh items.
        exploration_max_interactions: Most interactions of a little-known item.
    """

    slate_size: int = 50
    pool_size: int = 150
    allow_repeats: bool = False
    refill_seen: bool = True
    max_per_author: int = 5
    author_decay: float = 0.5
    author_floor: float = 0.25
    blocked_author_factor: float = 0.25
    diversity: float = 0.1
    exploration_places: tuple[int, ...] = (9,)
    exploration_max_interactions: float = 20.0

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a limit that cannot work."""
        if not 1 <= self.slate_size <= self.pool_size:
            message = (
                f"Expected 1 <= slate_size <= pool_size; "
                f"got slate_size {self.slate_size}, pool_size {self.pool_size}."
            )
            raise ConfigurationError(message)
        for name in ("author_decay", "author_floor", "blocked_author_factor"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                message = f"Expected {name} in [0, 1]; got {getattr(self, name)}."
                raise ConfigurationError(message)
        for name in ("max_per_author", "diversity", "exploration_max_interactions"):
            if not getattr(self, name) >= 0:
                message = f"Expected {name} of at least 0; got {getattr(self, name)}."
                raise ConfigurationError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slates:
    """Slates of B users, best first, ragged, and the fate of every candidate.

    Attributes:
        splits: int64 (B + 1,); user b owns ``[splits[b], splits[b + 1])``.
        candidates: int64 (N,), indices into the CandidateBatch, distinct.
        scores: float32 (N,), the ranker's scores.
        values: float32 (N,), what decided the place: relevance less penalties, relevance alone
            at exploration places and for refilled items.
        is_explored: bool (N,), stands there to be explored.
        is_refilled: bool (N,), seen before, stands there because the supply ended.
        reasons: uint8 (C,), :class:`Reason` of every candidate; KEPT = in the slate.
    """

    splits: NDArray[np.int64]
    candidates: NDArray[np.int64]
    scores: NDArray[np.float32]
    values: NDArray[np.float32]
    is_explored: NDArray[np.bool_]
    is_refilled: NDArray[np.bool_]
    reasons: NDArray[np.uint8]

    def __len__(self) -> int:
        """Return N, the number of slate items in all."""
        return len(self.candidates)


def rerank(
    users: UserBatch,
    candidates: CandidateBatch,
    scores: RankerScores,
    catalogue: Catalogue,
    *,
    limits: RerankLimits,
) -> Slates:
    """Make B slates of at most K items.

    Pure: nothing of the arguments changes. Users do not influence each other.

    Args:
        users: B users, as retrieval saw them.
        candidates: Their C candidates.
        scores: What the ranker gave each.
        catalogue: Of the same epoch; what died since retrieval is left out as not live.
        limits: Bounds and rules.
    """
    num_users = len(users)
    bound = min(num_users * limits.slate_size, len(candidates))
    contenders = _contenders(candidates, scores, catalogue)
    into = SlateColumns(
        splits=np.zeros(num_users + 1, np.int64),
        candidates=np.empty(bound, np.int64),
        values=np.empty(bound, np.float32),
        is_explored=np.zeros(bound, np.bool_),
        is_refilled=np.zeros(bound, np.bool_),
    )
    rules = _rules(limits)
    # (B, W): candidates of a user in ascending order of what decides, once sorted; 0 = out.
    keys = np.zeros((num_users, int(np.diff(candidates.splits).max(initial=0))), np.uint64)
    blocked_items = np.zeros(len(catalogue.is_live), np.uint8)
    judge_kernel(Histories.of(users), contenders, rules, catalogue.author_keys, blocked_items, keys)
    keys.sort(axis=1)
    pick_kernel(contenders, rules, catalogue.embeddings, keys, into)
    picked = into.candidates[: into.splits[-1]]
    return Slates(
        splits=into.splits,
        candidates=picked,
        scores=scores.values[picked],
        values=into.values[: len(picked)],
        is_explored=into.is_explored[: len(picked)],
        is_refilled=into.is_refilled[: len(picked)],
        reasons=contenders.reasons,
    )


def _contenders(
    candidates: CandidateBatch, scores: RankerScores, catalogue: Catalogue
) -> Contenders:
    rows = candidates.item_rows
    return Contenders(
        splits=candidates.splits,
        rows=rows,
        scores=scores.values,
        authors=catalogue.author_keys[rows],
        interactions=catalogue.interactions[rows],
        fresh_ranks=np.ascontiguousarray(candidates.ranks[:, _FRESH]),
        is_seen=candidates.is_seen,
        is_live=catalogue.is_live[rows],
        relevance=np.zeros(len(rows), np.float32),
        reasons=np.zeros(len(rows), np.uint8),
    )


def _rules(limits: RerankLimits) -> RerankRules:
    """Return the limits as kernels take them: one type per field, whatever was written."""
    return RerankRules(
        exploration_places=np.asarray(limits.exploration_places, np.int64),
        slate_size=limits.slate_size,
        pool_size=limits.pool_size,
        allow_repeats=limits.allow_repeats,
        refill_seen=limits.refill_seen,
        max_per_author=limits.max_per_author,
        author_decay=float(limits.author_decay),
        author_floor=float(limits.author_floor),
        blocked_author_factor=float(limits.blocked_author_factor),
        diversity=float(limits.diversity),
        max_interactions=float(limits.exploration_max_interactions),
    )
