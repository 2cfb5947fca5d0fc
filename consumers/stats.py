"""The worker's figures as one dictionary: what ``/stats`` answers, the demo shows, tests read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.frame_producer import FrameProducer
from consumers.ownership import Ownership
from consumers.refresh import Write
from consumers.sink_replies import Reply, WriteReport
from models.ranking import Ranker
from stream.candidates import RecommendationBatch
from stream.engine import Engine
from stream.freshness import Ages, FreshnessHistograms, FreshnessLedger
from stream.histogram import DurationHistogram
from stream.refresh_queue import RefreshQueue


class WorkerStats:
    """Reads the worker's parts when asked; remembers little itself.

    Args:
        engine: Counters and table sizes.
        queue: Dirty users.
        ledger: Unanswered events.
        freshness: Ages of answered events.
        wall_ms: Clock of ages.
        write: The sink's; :meth:`write` passes through and counts.
        ranker: Whose name is shown.
        num_fallbacks: Batches that fusion ranked because the network failed.
        ownership: Which partitions are held, and their offsets.
        frames: Up to where derived rows are acknowledged.
        lag: Records behind the log's ends last seen, both topics.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        queue: RefreshQueue,
        ledger: FreshnessLedger,
        freshness: FreshnessHistograms,
        write: Write,
        wall_ms: Callable[[], int],
        ranker: Ranker,
        num_fallbacks: Callable[[], int],
        ownership: Ownership,
        frames: FrameProducer,
        lag: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._write = write
        self._queue = queue
        self._ledger = ledger
        self._freshness = freshness
        self._wall_ms = wall_ms
        self._ranker = ranker
        self._with_list: dict[int, NDArray[np.bool_]] = {}
        self.num_lists = 0
        self._started_s = time.monotonic()
        self._first_list_s: float | None = None
        self._num_fallbacks = num_fallbacks
        self._ownership = ownership
        self._frames = frames
        self._lag = lag

    def drop(self, partition: int) -> None:
        """Forget whose lists were written of a partition that moved away."""
        self._with_list.pop(partition, None)

    async def write(self, batch: RecommendationBatch, *, generated_at_ms: int) -> WriteReport:
        """Write lists through the sink; count those accepted and their users."""
        report = await self._write(batch, generated_at_ms=generated_at_ms)
        accepted = batch.user_rows[report.replies == Reply.ACCEPTED]
        self.num_lists += len(accepted)
        self._note(batch.partition, accepted)
        if self._first_list_s is None and len(accepted):
            self._first_list_s = round(time.monotonic() - self._started_s, 3)
        return report

    def _note(self, partition: int, rows: NDArray[np.int32]) -> None:
        """Remember who has a list: one byte per user row."""
        known = self._with_list.get(partition, np.zeros(0, np.bool_))
        top = int(rows.max(initial=-1))
        if top >= len(known):
            grown = np.zeros(max(top + 1, 2 * len(known), 1024), np.bool_)
            grown[: len(known)] = known
            known = grown
        known[rows] = True
        self._with_list[partition] = known

    def read(self) -> dict[str, Any]:
        """Return all figures (event loop). Counters are those of the partitions held now."""
        return {
            **self._engine.counters(),
            "lists_written": self.num_lists,
            "users_with_list": sum(int(rows.sum()) for rows in self._with_list.values()),
            "first_list_s": self._first_list_s,
            "freshness_ms": self._freshness_ms(),
            "lag": self._lag(),
            "positions": self._positions(),
            "dirty": self._queue.num_dirty,
            "shed": self._queue.num_shed,
            "fallbacks": self._num_fallbacks(),
            "tables": self._engine.sizes(),
            "tasks": len(asyncio.all_tasks()),
            "model": self._ranker.name,
            "users": self._engine.num_users,
            "items": self._engine.num_items,
        }

    def _positions(self) -> dict[str, dict[str, int | None]]:
        """Return offsets per partition held: state's next, durable, derived rows acknowledged."""
        found: dict[str, dict[str, int | None]] = {}
        for topic, partition in sorted(self._ownership.assigned):
            offsets = {
                "next": self._ownership.next_offset(topic, partition),
                "durable": self._ownership.durable_offset(topic, partition),
            }
            if self._ownership.is_users(topic):
                offsets["acknowledged"] = self._frames.acknowledged(partition)
            found[f"{topic}/{partition}"] = offsets
        return found

    def _freshness_ms(self) -> dict[str, float]:
        """Return percentiles over answered and unanswered events; the latter count their age."""
        outstanding: Ages = self._ledger.outstanding(self._wall_ms())
        total: DurationHistogram = self._freshness.total()
        total.record(outstanding.ages_ms)
        return {
            "p50": total.percentile_ms(0.5),
            "p99": total.percentile_ms(0.99),
            "max": total.max_ms,
            "answered": total.count - len(outstanding),
            "outstanding": len(outstanding),
            "untracked": self._ledger.num_untracked,
        }
