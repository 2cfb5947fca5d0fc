"""Who proposed a candidate, what its score is made of, and what the ranker saw: plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.features import candidate_features, feature_names
from models.ranking import ExplainsScores, Ranker, RankerScores, RankingInputs
from stream.candidates import SOURCES
from stream.outcomes import Refresh


def rounded(value: float) -> float:
    """Round to six decimals: what a float32 means to a person."""
    return round(float(value), 6)


def explain_sources(refresh: Refresh, candidate: int) -> list[dict[str, Any]]:
    """Name the sources that proposed a candidate, the surest first.

    ``share_of_best`` compares with the best score that the same source gave this user.
    """
    candidates, inputs = refresh.candidates, refresh.inputs
    best = inputs.source_maxima[inputs.candidate_users[candidate]]
    found = []
    for s in np.flatnonzero(candidates.ranks[candidate]).tolist():
        score = float(candidates.scores[candidate, s])
        found.append(
            {
                "source": SOURCES[s],
                "rank": int(candidates.ranks[candidate, s]),
                "score": rounded(score),
                "share_of_best": rounded(score / float(best[s])) if best[s] > 0 else None,
            }
        )
    return sorted(found, key=lambda each: each["rank"])


def explain_score(
    refresh: Refresh, ranker: Ranker, scores: RankerScores, candidate: int
) -> dict[str, Any]:
    """Take a score apart: ``score = sum of factor x weight``, and its rank among the candidates.

    Factors are the network's probability per head, or fusion's ``1 / (k + rank)`` per source.
    """
    score = scores.values[candidate]
    answer: dict[str, Any] = {
        "score": rounded(score),
        "rank": 1 + int(np.count_nonzero(scores.values > score)),
        "num_candidates": len(scores.values),
        "terms": [],
    }
    if isinstance(ranker, ExplainsScores):
        terms = ranker.terms(refresh.inputs, scores, candidate)
        names = terms.names or SOURCES
        answer["terms"] = [
            {
                "name": name,
                "factor": rounded(factor),
                "weight": rounded(weight),
                "product": rounded(factor * weight),
            }
            for name, factor, weight in zip(
                names, terms.factors.tolist(), terms.weights.tolist(), strict=True
            )
            if terms.names or factor
        ]
    return answer


def explain_features(inputs: RankingInputs, candidate: int) -> dict[str, float]:
    """Name the columns of a candidate as the network reads them; those that are 0 left out."""
    names = feature_names(
        num_sources=inputs.source_scores.shape[1],
        num_half_lives=inputs.candidate_popularity_logs.shape[1],
    )
    values = candidate_features(inputs, candidate, candidate + 1)[0]
    found = {}
    for name, value in zip(names, values.tolist(), strict=True):
        if not value:
            continue
        words = name.split("_", 2)
        is_source = words[0] == "source" and words[1].isdigit()
        found[f"{SOURCES[int(words[1])]}_{words[2]}" if is_source else name] = rounded(value)
    return found
