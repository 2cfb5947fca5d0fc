"""Compile, or load from the cache, every kernel of retrieval, gathering and reranking."""

from __future__ import annotations

import numpy as np

from models.ranking import RankerScores
from state.catalogue import Catalogue
from state.item_columns import ItemColumns
from state.item_limits import CatalogueLimits
from stream.candidates import UserBatch
from stream.list_json import encode_lists
from stream.ranking_inputs import gather
from stream.rerank import RerankLimits, rerank
from stream.slates import recommendations
from stream.sources.limits import RetrievalLimits
from stream.sources.retrieval import retrieve

_DAY_MS = 86_400_000


def compile_kernels() -> None:
    """Make lists for one user and for two over two items, so that no real one waits.

    A part of a table with one row is contiguous, of one with two it is not: two types to a kernel.

    Called before a worker joins its group; takes a minute without numba's cache.
    """
    limits = CatalogueLimits(max_items=4, num_neighbours=2)
    catalogue = Catalogue(limits=limits)
    catalogue.put(ItemColumns.of([b"a", b"b"], created_at_ms=[1, 2]))
    for num_users in (1, 2):
        users = _same_users(num_users, limits.dim)
        candidates = retrieve(users, catalogue, limits=RetrievalLimits())
        inputs = gather(users, candidates, catalogue)
        count = len(inputs)
        scores = RankerScores(
            values=np.ones(count, np.float32), heads=np.zeros((count, 0), np.float32)
        )
        slates = rerank(users, candidates, scores, catalogue, limits=RerankLimits())
        lists = recommendations(
            users, candidates, scores, slates, catalogue, model="warm-up", model_sequence=0
        )
        encode_lists(lists)


def _same_users(count: int, dim: int) -> UserBatch:
    """So many users who consumed the item of row 0."""
    history = (count, 1)
    return UserBatch(
        partition=0,
        next_offset=0,
        user_ids=(b"u",) * count,
        user_rows=np.zeros(count, np.int32),
        now_ms=np.full(count, _DAY_MS, np.int64),
        events_to_ms=np.zeros(count, np.int64),
        history_rows=np.zeros(history, np.int32),
        history_times_ms=np.zeros(history, np.int64),
        history_strengths=np.ones(history, np.uint8),
        history_actions=np.ones(history, np.uint16),
        history_completions=np.zeros(history, np.uint8),
        history_lengths=np.ones(count, np.int32),
        session_vectors=np.ones((count, dim), np.float32),
        long_vectors=np.ones((count, dim), np.float32),
        affinity_keys=np.ones((count, 1), np.uint64),
        affinity_weights=np.ones((count, 1), np.float32),
        seen_words=np.zeros((count, 1), np.uint64),
        num_events=np.ones(count, np.int64),
    )
