"""What reranking did with an item of the slate: its place, its author, what it resembles.

``value = relevance x author multiplier - diversity x similarity`` (see ``stream.rerank``): value
and place come from the slate itself, the penalties from what stands above the item.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.catalogue import Catalogue
from stream.candidates import CandidateBatch, UserBatch
from stream.explain_ranking import rounded
from stream.rerank import RerankLimits, Slates
from stream.sources.seen import NOT_INTERESTED_BIT


def explain_place(
    users: UserBatch,
    candidates: CandidateBatch,
    slates: Slates,
    catalogue: Catalogue,
    limits: RerankLimits,
    place: int,
) -> dict[str, Any]:
    """Explain place ``place`` (0 = first) of the one slate.

    ``relevance`` is the scaled score before penalties, already times ``blocked_author_factor``
    where the user is not interested in another item of the author; ``place_by_score`` is where
    the item would stand in this slate without any.
    """
    rows = candidates.item_rows[slates.candidates]
    row, above = int(rows[place]), rows[:place]
    num_same_author = same_author(catalogue, row, above)
    nearest, similarity = _nearest_above(catalogue, row, above, limits)
    multiplier = 1.0
    if num_same_author:
        spread = 1.0 - limits.author_floor
        multiplier = spread * limits.author_decay**num_same_author + limits.author_floor
    value = float(slates.values[place])
    is_explored, is_refilled = bool(slates.is_explored[place]), bool(slates.is_refilled[place])
    # Where exploration or refilling decided the place, value is the relevance alone.
    is_plain = is_explored or is_refilled
    relevance = value if is_plain else (value + limits.diversity * similarity) / multiplier
    score = slates.scores[place]
    return {
        "place": place + 1,
        "place_by_score": 1 + int(np.count_nonzero(slates.scores > score)),
        "value": rounded(value),
        "relevance": rounded(relevance),
        "blocked_author_factor": _author_factor(users, catalogue, row, limits),
        "same_author_above": num_same_author,
        "max_per_author": limits.max_per_author,
        "author_multiplier": rounded(multiplier),
        "nearest_above": nearest,
        "similarity": rounded(similarity),
        "diversity_penalty": 0.0 if is_plain else rounded(limits.diversity * similarity),
        "is_explored": is_explored,
        "is_refilled": is_refilled,
    }


def _author_factor(users: UserBatch, catalogue: Catalogue, row: int, limits: RerankLimits) -> float:
    """Return the factor on the relevance of an author whose other item the user blocked, else 1."""
    is_blocked = (users.history_actions[0] & NOT_INTERESTED_BIT).astype(bool)
    blocked = users.history_rows[0][is_blocked & (users.history_rows[0] >= 0)]
    return limits.blocked_author_factor if same_author(catalogue, row, blocked) else 1.0


def same_author(catalogue: Catalogue, row: int, rows: NDArray[np.int32]) -> int:
    """Return how many of the rows have this row's author; 0 where it is unknown."""
    author = catalogue.author_keys[row]
    return int(np.count_nonzero(catalogue.author_keys[rows] == author)) if author else 0


def _nearest_above(
    catalogue: Catalogue, row: int, above: NDArray[np.int32], limits: RerankLimits
) -> tuple[str | None, float]:
    """Return the item above that resembles this one most, and their cosine, at least 0."""
    if not len(above) or limits.diversity <= 0.0:
        return None, 0.0
    cosines = catalogue.embeddings[above] @ catalogue.embeddings[row]
    nearest = int(np.argmax(cosines))
    if cosines[nearest] <= 0.0:
        return None, 0.0
    return catalogue.items.id(int(above[nearest])).decode(errors="replace"), float(cosines[nearest])
