"""Border types of a refresh: UserBatch in, CandidateBatch between, RecommendationBatch out.

Axis letters: B users, L history, C candidates in all, S sources, K slate, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Names of the candidate sources; the position is the column in every (C, S) array.
SOURCES = (
    "cooccurrence",
    "cooccurrence-two-way",
    "item-cf",
    "recent",
    "interest",
    "trending",
    "fresh",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserBatch:
    """Copies of what retrieval, features and reranking need of B users of one partition.

    All item rows are catalogue rows. History is ordered oldest first, newest last, right-aligned
    is not assumed: user b's entries are ``[0, history_lengths[b])``, the rest is -1 / 0.

    Attributes:
        partition: Partition of ``interactions`` that owns the users.
        next_offset: The partition's next offset at the moment of the copy.
        user_ids: B ids, bytes.
        user_rows: int32 (B,), rows in the partition's tables.
        now_ms: int64 (B,), event time at which the list is made (the partition's stream time, or
            the tested event's time in evaluation).
        events_to_ms: int64 (B,), event time of the newest event reflected; 0 without one.
        history_rows: int32 (B, L), catalogue rows, -1 empty or no longer in the catalogue.
        history_times_ms: int64 (B, L).
        history_strengths: uint8 (B, L), maximum over the actions on that item.
        history_actions: uint16 (B, L), bit ``1 << Action`` per action seen.
        history_completions: uint8 (B, L), largest watched share, 255 = whole.
        history_lengths: int32 (B,).
        session_vectors: float32 (B, D), decayed to ``now_ms``, not normalised.
        long_vectors: float32 (B, D), decayed to ``now_ms``, not normalised.
        affinity_keys: uint64 (B, A), hashed tag or author keys; 0 empty.
        affinity_weights: float32 (B, A), decayed to ``now_ms``.
        seen_words: uint64 (B, W), Bloom filter of items consumed (``state.seen``).
        num_events: int64 (B,), events applied for the user so far.
    """

    partition: int
    next_offset: int
    user_ids: tuple[bytes, ...]
    user_rows: NDArray[np.int32]
    now_ms: NDArray[np.int64]
    events_to_ms: NDArray[np.int64]
    history_rows: NDArray[np.int32]
    history_times_ms: NDArray[np.int64]
    history_strengths: NDArray[np.uint8]
    history_actions: NDArray[np.uint16]
    history_completions: NDArray[np.uint8]
    history_lengths: NDArray[np.int32]
    session_vectors: NDArray[np.float32]
    long_vectors: NDArray[np.float32]
    affinity_keys: NDArray[np.uint64]
    affinity_weights: NDArray[np.float32]
    seen_words: NDArray[np.uint64]
    num_events: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateBatch:
    """Candidates of B users, ragged, with provenance. User b owns ``[splits[b], splits[b + 1])``.

    Attributes:
        splits: int64 (B + 1,).
        item_rows: int32 (C,), catalogue rows; distinct within a user.
        scores: float32 (C, S), what each source gave; 0 where it did not propose the item.
        ranks: uint16 (C, S), 1 = the source's best; 0 where it did not propose the item.
        is_seen: bool (C,), the user consumed the item before (history or seen filter).
    """

    splits: NDArray[np.int64]
    item_rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    ranks: NDArray[np.uint16]
    is_seen: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.item_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationBatch:
    """Slates of B users, best first, ragged. User b owns ``[splits[b], splits[b + 1])``.

    Attributes:
        partition: Partition of ``interactions`` that owns the users.
        next_offset: The partition's next offset that the lists reflect.
        user_ids: B ids, bytes.
        user_rows: int32 (B,).
        events_to_ms: int64 (B,).
        now_ms: int64 (B,).
        splits: int64 (B + 1,).
        item_ids: ids of the slate items, bytes.
        item_rows: int32 (N,), catalogue rows.
        scores: float32 (N,), descending within a user before reranking moved items.
        ranks: uint16 (N, S), provenance as in CandidateBatch.
        heads: float32 (N, H), probability per action head; width 0 for fusion.
        model: Name of the ranker that scored (``fusion`` or ``network-<hash>``).
        model_sequence: Number of the weights, never falling from older to newer ones; 0 for
            fusion; part of the version.
    """

    partition: int
    next_offset: int
    user_ids: tuple[bytes, ...]
    user_rows: NDArray[np.int32]
    events_to_ms: NDArray[np.int64]
    now_ms: NDArray[np.int64]
    splits: NDArray[np.int64]
    item_ids: tuple[bytes, ...]
    item_rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    ranks: NDArray[np.uint16]
    heads: NDArray[np.float32]
    model: str
    model_sequence: int

    def __len__(self) -> int:
        return len(self.user_rows)
