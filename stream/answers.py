"""StateAnswers: ``explain`` and ``inspect`` over one engine, in a worker and after a replay alike.

The partition of an id is murmur2 of its bytes, as everywhere; a process that does not hold it
says so. Touches state: called on the state thread only.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from models.ranking import Ranker
from state.hashing import partitions_of
from stream.errors import PartitionElsewhere
from stream.explain import Explainer
from stream.inspect_state import inspect_item, inspect_user
from stream.list_json import encode_lists
from stream.pipeline import Pipeline
from stream.rerank import RerankLimits
from stream.slates import recommendations
from stream.sources import RetrievalLimits


def partition_of_id(id: bytes, num_partitions: int) -> int:
    """Return the partition that owns an id.

    >>> partition_of_id(b"foobar", 4)
    2
    """
    buffer = np.frombuffer(id, np.uint8)
    lengths = np.array([len(id)], np.int32)
    return int(partitions_of(buffer, np.zeros(1, np.int64), lengths, num_partitions)[0])


class StateAnswers:
    """Answers questions about users and items.

    Args:
        pipeline: The ten steps over the engine that is asked.
        ranker: The worker's.
        fallback: Ranks when the ranker fails.
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
        self._engine = pipeline.engine
        self._explainer = Explainer(
            pipeline, ranker=ranker, fallback=fallback, retrieval=retrieval, reranking=reranking
        )

    def explain(self, user_id: bytes, item_id: bytes) -> dict[str, Any]:
        """Say why an item stands in a user's list, or why not; see ``stream.explain``.

        Raises:
            PartitionElsewhere: This process does not hold the user's partition.
        """
        return self._explainer.explain(self._held(user_id), user_id, item_id)

    def inspect_user(self, user_id: bytes) -> dict[str, Any]:
        """Describe a user; see ``stream.inspect_state``.

        Raises:
            PartitionElsewhere: This process does not hold the user's partition.
        """
        return inspect_user(self._engine, self._held(user_id), user_id)

    def inspect_item(self, item_id: bytes) -> dict[str, Any]:
        """Describe an item: the catalogue is in every process, an owner's counts in one."""
        partition = partition_of_id(item_id, self._engine.num_item_partitions)
        return inspect_item(self._engine, partition, item_id)

    def list_now(self, user_id: bytes) -> dict[str, Any]:
        """Return the list that would be written for a user now: items as clients read them.

        Raises:
            PartitionElsewhere: This process does not hold the user's partition.
        """
        made = self._explainer.make_list(self._held(user_id), user_id)
        ranker = made.ranker
        batch = recommendations(
            made.users,
            made.candidates,
            made.scores,
            made.slates,
            self._engine.catalogue,
            model=ranker.name,
            model_sequence=ranker.sequence,
        )
        texts, _ = encode_lists(batch)
        return {"items": json.loads(texts[0]), "model": ranker.name}

    def _held(self, user_id: bytes) -> int:
        partition = partition_of_id(user_id, self._engine.num_partitions)
        if partition not in self._engine.users:
            held = ", ".join(map(str, sorted(self._engine.users))) or "none"
            message = (
                f"user {user_id.decode(errors='replace')!r} is in partition {partition} of "
                f"interactions, this worker holds {held}: ask the worker that holds it"
            )
            raise PartitionElsewhere(message)
        return partition
