"""RecommendationBatch from slates: what the sink writes, ids instead of rows."""

from __future__ import annotations

from models.ranking import RankerScores
from state.catalogue import Catalogue
from stream.candidates import CandidateBatch, RecommendationBatch, UserBatch
from stream.rerank import Slates


def recommendations(
    users: UserBatch,
    candidates: CandidateBatch,
    scores: RankerScores,
    slates: Slates,
    catalogue: Catalogue,
    *,
    model: str,
    model_sequence: int,
) -> RecommendationBatch:
    """Name the slates' items; scores, provenance and heads travel with them."""
    chosen = slates.candidates
    item_rows = candidates.item_rows[chosen]
    return RecommendationBatch(
        partition=users.partition,
        next_offset=users.next_offset,
        user_ids=users.user_ids,
        user_rows=users.user_rows,
        events_to_ms=users.events_to_ms,
        now_ms=users.now_ms,
        splits=slates.splits,
        item_ids=tuple(catalogue.items.ids(item_rows)),
        item_rows=item_rows,
        scores=slates.scores,
        ranks=candidates.ranks[chosen],
        heads=scores.heads[chosen],
        model=model,
        model_sequence=model_sequence,
    )
