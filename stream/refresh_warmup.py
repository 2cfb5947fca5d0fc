"""Compile, or load from the cache, every kernel of retrieval, gathering and reranking."""

from __future__ import annotations

import numpy as np

from models.ranking import RankerScores
from state.catalogue import Catalogue
from state.item_columns import ItemColumns
from state.item_limits import CatalogueLimits
from stream.candidates import UserBatch
from stream.ranking_inputs import gather
from stream.rerank import RerankLimits, rerank
from stream.sources.limits import RetrievalLimits
from stream.sources.retrieval import retrieve

_DAY_MS = 86_400_000


def compile_kernels() -> None:
    """Make one list for one user over two items, so that the first real one waits for nothing.

    Called before a worker joins its group; takes a minute without numba's cache.
    """
    limits = CatalogueLimits(max_items=4, num_neighbours=2)
    catalogue = Catalogue(limits=limits)
    catalogue.put(ItemColumns.of([b"a", b"b"], created_at_ms=[1, 2]))
    users = _one_user(limits.dim)
    for half_life_ms in (None, limits.half_lives_ms[0]):
        retrieval = RetrievalLimits(trending_half_life_ms=half_life_ms)
        candidates = retrieve(users, catalogue, limits=retrieval)
    inputs = gather(users, candidates, catalogue)
    count = len(inputs)
    scores = RankerScores(values=np.ones(count, np.float32), heads=np.zeros((count, 0), np.float32))
    rerank(users, candidates, scores, catalogue, limits=RerankLimits())


def _one_user(dim: int) -> UserBatch:
    """A user who consumed the item of row 0."""
    history = (1, 1)
    return UserBatch(
        partition=0,
        next_offset=0,
        user_ids=(b"u",),
        user_rows=np.zeros(1, np.int32),
        now_ms=np.full(1, _DAY_MS, np.int64),
        events_to_ms=np.zeros(1, np.int64),
        history_rows=np.zeros(history, np.int32),
        history_times_ms=np.zeros(history, np.int64),
        history_strengths=np.ones(history, np.uint8),
        history_actions=np.ones(history, np.uint16),
        history_completions=np.zeros(history, np.uint8),
        history_lengths=np.ones(1, np.int32),
        session_vectors=np.ones((1, dim), np.float32),
        long_vectors=np.ones((1, dim), np.float32),
        affinity_keys=np.ones((1, 1), np.uint64),
        affinity_weights=np.ones((1, 1), np.float32),
        seen_words=np.zeros((1, 1), np.uint64),
        num_events=np.ones(1, np.int64),
    )
