"""One worker's ownership of user partition 0 over a real engine, without a broker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consumers.configuration import make_engine, make_pipeline
from consumers.ownership import USERS, Ownership
from consumers.snapshots import SnapshotName, SnapshotStore
from consumers.state_thread import WorkThread
from stream.pipeline import Pipeline
from stream.settings import Settings
from stream.slab import Slab
from tests.wire_logs import wire_log

TOPIC = "interactions"
LINES = wire_log(40, num_users=5)


class Logs:
    """A broker's logs: one partition from 0 to the end of ``LINES``, and what a group committed."""

    async def ends(self, partitions: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, len(LINES))

    def __init__(self, topic_id: str | None = "first") -> None:
        self.ids = {} if topic_id is None else {TOPIC: topic_id}
        self.begin = 0
        self.commits: dict[tuple[str, int], int] = {}

    async def topic_ids(self, topics: set[str]) -> dict[str, str]:
        return self.ids

    async def beginnings(self, partitions: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, self.begin)

    async def committed(self, partitions: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return {key: self.commits.get(key, 0) for key in partitions}


class Owner:
    """One worker's ownership of user partition 0, in a group at ``generation``."""

    def __init__(
        self,
        folder: Path | str,
        state: WorkThread,
        *,
        generation: int = 1,
        owes: int = 0,
        topic_id: str | None = "first",
        partitions: int = 1,
        users: Mapping[str, int] | None = None,
    ) -> None:
        topics = {"partitions": partitions, "item_partitions": 1}
        settings = Settings(topics=topics, users=dict(users or {}))
        self.generation = generation
        self.restored: list[int] = []
        self.told: list[tuple[str, int, bool, bool]] = []
        self.why_over: str | None = None
        self.snapshots: list[tuple[str, float]] = []
        self.pauses: list[tuple[str, float]] = []
        self.logs = Logs(topic_id)
        self.pipeline: Pipeline = make_pipeline(settings, make_engine(settings))
        self.store = SnapshotStore(folder, keep=4)
        self.ownership = Ownership(
            engine=self.pipeline.engine,
            store=self.store,
            state=state,
            interactions=TOPIC,
            item_deltas="item-deltas",
            settle=self._settle,
            offsets=self.logs,
            on_open=self._on_open,
            on_drop=lambda kind, partition: None,
            pending=lambda partition: {"user_rows": np.arange(owes)},
            generation=lambda: self.generation,
            on_snapshot=lambda kind, seconds: self.snapshots.append((kind, seconds)),
            on_assign=self._on_assign,
            why_over=lambda: self.why_over,
            on_pause=lambda kind, seconds: self.pauses.append((kind, seconds)),
        )

    async def _settle(self, partition: int, offset: int) -> None:
        return None

    def _on_open(self, kind: str, partition: int, pending: Mapping[str, NDArray[np.int64]]) -> None:
        self.restored = pending["user_rows"].tolist() if pending else []

    def _on_assign(self, kind: str, partition: int) -> None:
        key = (TOPIC, partition)
        is_ours = key in self.ownership.assigned
        self.told.append((kind, partition, is_ours, self.ownership.is_caught_up(*key)))

    def fold(self, count: int = len(LINES)) -> None:
        self.pipeline.fold_interactions(Slab.from_values(LINES[:count]))

    def names(self) -> list[SnapshotName]:
        return self.store.names(USERS, 0)
