"""Explainer: why an item stands in a user's list, or why it does not, at this moment.

Runs steps 7 to 9 of the pipeline for one user (the worker's own functions, limits and ranker) and
reads what they left behind: who proposed the item, what its score is made of, what reranking did.
For an item that no source proposed it asks the sources once more with wider bounds, to say where
it would have stood. Called on the state thread, when a person asks; absent on the way of an event.

Answers are plain values, ready for JSON. The list explained is the one that would be made now; the
list in Redis may be older (its version says).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.errors import ScoringFailed
from models.ranking import Ranker, RankerScores
from state.catalogue import Catalogue
from stream.candidates import CandidateBatch, UserBatch
from stream.explain_absence import why_no_candidate, why_not_in_slate
from stream.explain_ranking import explain_features, explain_score, explain_sources, rounded
from stream.explain_slate import explain_place
from stream.outcomes import Refresh
from stream.pipeline import Pipeline
from stream.rerank import RerankLimits, Slates, rerank
from stream.sources import RetrievalLimits, SharedListCache, retrieve

# How much wider the bounds are with which an item that no source proposed is looked for.
_WIDER = 10
_MAX_WIDE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OneList:
    """Steps 7 to 9 of one user, with everything in between. B = 1.

    Attributes:
        refresh: Candidates and a ranker's inputs.
        ranker: Who scored: the worker's, or fusion where that failed.
        scores: Its scores of the C candidates.
        slates: One slate, and the fate of every candidate.
    """

    refresh: Refresh
    ranker: Ranker
    scores: RankerScores
    slates: Slates

    @property
    def users(self) -> UserBatch:
        """The one user."""
        return self.refresh.users

    @property
    def candidates(self) -> CandidateBatch:
        """Its candidates."""
        return self.refresh.candidates


class Explainer:
    """Answers ``explain`` over a pipeline; touches state, so that only its thread may call.

    Args:
        pipeline: The ten steps.
        ranker: The worker's.
        fallback: Ranks when the ranker fails, as in the worker.
        retrieval: The pipeline's own limits of retrieval.
        reranking: The pipeline's own limits of reranking.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        ranker: Ranker,
        fallback: Ranker,
        retrieval: RetrievalLimits,
        reranking: RerankLimits,
    ) -> None:
        self._pipeline = pipeline
        self._ranker = ranker
        self._fallback = fallback
        self._retrieval = retrieval
        self._reranking = reranking
        # The pipeline's own is the pipeline's: what is trending and fresh is made anew, once per
        # second of event time in which somebody asks for what is not proposed (100 ms at 100 K
        # items, against 2 to 30 ms for all else).
        self._shared = SharedListCache(max_entries=1)

    @property
    def _catalogue(self) -> Catalogue:
        return self._pipeline.engine.catalogue

    def explain(self, partition: int, user_id: bytes, item_id: bytes) -> dict[str, Any]:
        """Explain one item in one user's list.

        Args:
            partition: The user's, held by this process.
            user_id: Known or not: an unknown user gets what everybody gets.
            item_id: Known or not.

        Returns:
            ``verdict`` (a word), ``reason`` (a sentence) and what they rest on; ``sources``,
            ``ranking``, ``features`` and ``reranking`` are empty where the item did not come so
            far.
        """
        made = self.make_list(partition, user_id)
        row = self._catalogue.items.row_of(item_id)
        found = np.flatnonzero(made.candidates.item_rows == row)  # No candidate has row -1.
        users = made.users
        answer: dict[str, Any] = {
            "user_id": user_id.decode(errors="replace"),
            "item_id": item_id.decode(errors="replace"),
            "is_known_user": bool(users.user_rows[0] >= 0),
            "partition": partition,
            "next_offset": users.next_offset,
            "as_of_ms": int(users.now_ms[0]),
            "events_to_ms": int(users.events_to_ms[0]),
            "model": made.ranker.name,
            "list": self._describe_list(made),
        }
        if len(found):
            return answer | self._explain_candidate(made, int(found[0]))
        wide = self._propose_widely(users) if row >= 0 else None
        verdict = why_no_candidate(users, row, wide, self._catalogue, self._retrieval)
        empty: dict[str, Any] = {"sources": [], "ranking": {}, "features": {}, "reranking": {}}
        return answer | verdict | empty

    def make_list(self, partition: int, user_id: bytes) -> OneList:
        """Run steps 7 to 9 for one user of a partition that this process holds."""
        shard = self._pipeline.engine.users[partition]
        users = self._pipeline.read_users(partition, [user_id], now_ms=shard.tables.stream_time_ms)
        refresh = self._pipeline.retrieve(users)
        ranker, scores = self._score(refresh)
        slates = rerank(users, refresh.candidates, scores, self._catalogue, limits=self._reranking)
        return OneList(refresh=refresh, ranker=ranker, scores=scores, slates=slates)

    def _score(self, refresh: Refresh) -> tuple[Ranker, RankerScores]:
        # As in the worker: scores and name of one set of weights, fusion where the network fails.
        current = getattr(self._ranker, "current", None)
        ranker: Ranker = current() if callable(current) else self._ranker
        try:
            return ranker, self._pipeline.score(refresh, ranker)
        except ScoringFailed:
            return self._fallback, self._pipeline.score(refresh, self._fallback)

    def _describe_list(self, made: OneList) -> dict[str, Any]:
        slates = made.slates
        scores = slates.scores[~(slates.is_explored | slates.is_refilled)]
        return {
            "size": len(slates),
            "num_candidates": len(made.candidates),
            "lowest_score": rounded(scores.min()) if len(scores) else None,
        }

    def _explain_candidate(self, made: OneList, candidate: int) -> dict[str, Any]:
        slates, catalogue = made.slates, self._catalogue
        places = np.flatnonzero(slates.candidates == candidate)
        answer: dict[str, Any] = {
            "sources": explain_sources(made.refresh, candidate),
            "ranking": explain_score(made.refresh, made.ranker, made.scores, candidate),
            "features": explain_features(made.refresh.inputs, candidate),
            "reranking": {},
        }
        if len(places):
            place = int(places[0])
            reranking = explain_place(
                made.users, made.candidates, slates, catalogue, self._reranking, place
            )
            reason = f"place {place + 1} of {len(slates)}, ranked by {made.ranker.name}"
            return answer | {"verdict": "in_list", "reason": reason, "reranking": reranking}
        return answer | why_not_in_slate(
            made.candidates,
            slates,
            answer["ranking"],
            catalogue,
            self._reranking,
            candidate=candidate,
        )

    def _propose_widely(self, users: UserBatch) -> CandidateBatch:
        """Ask every source once more, for more than the pipeline lets it propose."""
        limits = self._retrieval
        wide = replace(
            limits,
            max_per_source=min(limits.max_per_source * _WIDER, _MAX_WIDE),
            max_candidates=_MAX_WIDE * len(limits.sources),
        )
        return retrieve(users, self._catalogue, limits=wide, shared=self._shared)
