"""Steps 7 to 9 on their threads: retrieve and rerank on the state thread, score on the scorer's.

The network may fail (an exception, a NaN): the batch is then ranked by fusion, counted, and says
so. Scores travel; catalogue rows do not outlive an eviction: where the catalogue's epoch changed
between retrieval and slate, the batch is retrieved anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np

from consumers.refresh import Retrieved
from models.errors import ScoringFailed
from models.ranking import Ranker, RankerScores
from stream.candidates import RecommendationBatch
from stream.dirty_users import RefreshBatch
from stream.outcomes import Refresh
from stream.pipeline import Pipeline

logger = logging.getLogger(__name__)

_MAX_ROUNDS = 3


class Refresher:
    """What the refresh loop calls on its two threads.

    Args:
        pipeline: The ten steps; touched on the state thread only.
        ranker: Scores; called on the scorer thread only.
        fallback: Ranks when the ranker fails.
        state_executor: The state thread, for reranking.
        on_fallback: Called on the scorer thread when the ranker failed.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        ranker: Ranker,
        fallback: Ranker,
        state_executor: Executor,
        on_fallback: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipeline = pipeline
        self._ranker = ranker
        self._fallback = fallback
        self._state_executor = state_executor
        self._on_fallback = on_fallback
        self._failed_before = False

    def retrieve(self, batch: RefreshBatch) -> Retrieved[Refresh] | None:
        """Retrieve for the batch's users (state thread); None when the partition moved away."""
        shard = self._pipeline.engine.users.get(batch.partition)
        if shard is None:
            return None
        users = shard.tables.users
        is_gone = np.array(
            [
                users.row_of(user_id) != row
                for user_id, row in zip(batch.user_ids, batch.user_rows.tolist(), strict=True)
            ],
            np.bool_,
        )
        if is_gone.all():
            return Retrieved(work=None, is_gone=is_gone)
        ids = [user_id for user_id, gone in zip(batch.user_ids, is_gone, strict=True) if not gone]
        columns = self._pipeline.read_users(
            batch.partition, ids, now_ms=shard.tables.stream_time_ms
        )
        return Retrieved(work=self._pipeline.retrieve(columns), is_gone=is_gone)

    def score(self, refresh: Refresh) -> RecommendationBatch | None:
        """Score (scorer thread), then rerank (state thread); None when the partition moved away."""
        for _ in range(_MAX_ROUNDS):
            ranker, scores = self._scores(refresh)
            lists = self._state_executor.submit(self._rerank, refresh, ranker, scores).result()
            if lists is not None:
                return lists
            again = self._state_executor.submit(self._retrieve_again, refresh).result()
            if again is None:
                return None
            refresh = again
        return self._state_executor.submit(self._all_at_once, refresh).result()

    def _scores(self, refresh: Refresh) -> tuple[Ranker, RankerScores]:
        # A swap of weights between scoring and naming would give a list the wrong model.
        current = getattr(self._ranker, "current", None)
        ranker: Ranker = current() if callable(current) else self._ranker
        try:
            return ranker, self._pipeline.score(refresh, ranker)
        except ScoringFailed as error:
            if not self._failed_before:
                logger.warning("%s failed, ranking by %s: %s", ranker.name, "fusion", error)
            self._failed_before = True
            self._on_fallback()
            return self._fallback, self._pipeline.score(refresh, self._fallback)

    def _rerank(
        self, refresh: Refresh, ranker: Ranker, scores: RankerScores
    ) -> RecommendationBatch | None:
        if refresh.catalogue_epoch != self._pipeline.engine.catalogue.epoch:
            return None
        return self._pipeline.rerank(
            refresh, scores, model=ranker.name, model_sequence=ranker.sequence
        )

    def _retrieve_again(self, refresh: Refresh) -> Refresh | None:
        """Repeat step 7: the catalogue's rows changed meanwhile; None if the partition moved.

        The lists keep the offset that was read first: who was erased meanwhile reads as a cold
        user, and at a newer offset his list would pass the tombstone.
        """
        users = refresh.users
        if users.partition not in self._pipeline.engine.users:
            return None
        again = self._pipeline.read_users(
            users.partition, users.user_ids, now_ms=int(users.now_ms.max())
        )
        return self._pipeline.retrieve(replace(again, next_offset=users.next_offset))

    def _all_at_once(self, refresh: Refresh) -> RecommendationBatch | None:
        """Retrieve, rank by fusion and rerank in one go: the catalogue churns too fast."""
        again = self._retrieve_again(refresh)
        if again is None:
            return None
        scores = self._pipeline.score(again, self._fallback)
        lists = self._rerank(again, self._fallback, scores)
        assert lists is not None, "nothing else runs on the state thread meanwhile"
        return lists
