"""RetrievalLimits: which sources run, how much each may propose, and their formulas' numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stream.candidates import SOURCES
from stream.errors import ConfigurationError

# ``CandidateBatch.ranks`` is uint16 and 0 means "not proposed".
MAX_RANK = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalLimits:
    """Bounds and rules of retrieval. The defaults are the worker's.

    Attributes:
        sources: Names from ``SOURCES`` that run; evaluation runs each alone.
        max_per_source: Candidates that one source may propose per user.
        max_candidates: Candidates per user in all; what is above leaves in the order of
            :func:`stream.sources.merge.merge`.
        allow_repeats: Whether items that the user consumed may be proposed. If not, every source
            but ``recent`` skips them; ``recent`` then is the reserve of last resort and its
            candidates carry ``is_seen``.
        min_history_strength: Weakest history entry that votes in the neighbour sources; entries
            with a ``not_interested`` never vote.
        cooccurrence_history: Newest voting entries of both co-occurrence sources.
        cooccurrence_decay: Weight per step back in the history.
        cooccurrence_smoothing: Added to both marginals: rare pairs prove little.
        two_way_weight: What a pair the other way round weighs in ``cooccurrence-two-way``, (0, 1].
        item_cf_history: Newest voting entries of ``item-cf``.
        item_cf_decay: Weight per step back in the history.
        item_cf_smoothing: Added to both items' interactions, as in co-occurrence.
        interest_session_weight: Share of the session vector in the interest query, [0, 1]; the
            rest is the long vector's.
        interest_block_items: Items per product block; bounds scratch to B x block x 4 bytes.
        trending_weights: Weight per catalogue half-life, each of the same mass; empty = their
            fourth roots.
        trending_depth: Length of the shared trending list, before a user's own are skipped.
        fresh_pool: How many of the newest live items the fresh source draws from.
        fresh_jitter: Share of a user's own deterministic shuffle in the fresh order, [0, 1]: it
            spreads the first exposures of new items over users. 0 is newest first.
        shared_bucket_ms: Lists shared by users (trending, fresh pool) are made once per so much
            event time; 1 = for every moment anew.
        fused_k: Constant of the reciprocal ranks that order and cap the candidates.
    """

    sources: tuple[str, ...] = SOURCES
    max_per_source: int = 100
    max_candidates: int = 300
    allow_repeats: bool = False
    min_history_strength: int = 1
    cooccurrence_history: int = 10
    cooccurrence_decay: float = 0.8
    cooccurrence_smoothing: float = 2.0
    two_way_weight: float = 1.0
    item_cf_history: int = 20
    item_cf_decay: float = 0.9
    item_cf_smoothing: float = 2.0
    interest_session_weight: float = 0.5
    interest_block_items: int = 4096
    trending_weights: tuple[float, ...] = ()
    trending_depth: int = 1000
    fresh_pool: int = 300
    fresh_jitter: float = 0.5
    shared_bucket_ms: int = 1000
    fused_k: float = 20.0

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a limit that cannot work."""
        unknown = sorted(set(self.sources) - set(SOURCES))
        if unknown or not self.sources:
            message = (
                f"Expected retrieval sources out of {', '.join(SOURCES)}; got {unknown or 'none'}."
            )
            raise ConfigurationError(message)
        for name in ("max_per_source", "trending_depth"):
            if not 1 <= getattr(self, name) <= MAX_RANK:
                message = f"Expected {name} in [1, {MAX_RANK}]; got {getattr(self, name)}."
                raise ConfigurationError(message)
        for name in ("max_candidates", "interest_block_items", "fresh_pool", "shared_bucket_ms"):
            if getattr(self, name) < 1:
                message = f"Expected {name} of at least 1; got {getattr(self, name)}."
                raise ConfigurationError(message)
        if self.trending_weights and not (
            min(self.trending_weights) >= 0.0 and 0.0 < sum(self.trending_weights) < math.inf
        ):
            message = (
                f"Expected trending_weights of at least 0, one above; got {self.trending_weights}."
            )
            raise ConfigurationError(message)
        if not 0.0 < self.two_way_weight <= 1.0:
            message = f"Expected two_way_weight above 0, at most 1; got {self.two_way_weight}."
            raise ConfigurationError(message)
        for name in ("interest_session_weight", "fresh_jitter"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                message = f"Expected {name} in [0, 1]; got {getattr(self, name)}."
                raise ConfigurationError(message)
