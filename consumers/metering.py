"""Metering: fills the declared metrics from the worker's parts, at once or at a scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from consumers.metrics_registry import MetricsRegistry
from consumers.refresh import BatchTimes
from stream import metrics
from stream.events import Action
from stream.freshness import Ages, FreshnessHistograms
from stream.outcomes import Folded

if TYPE_CHECKING:
    from consumers.app import Worker

_MS = 1_000.0

# Copied anew at each scrape, so that a partition that moved away is not shown twice.
_PER_PARTITION = (
    metrics.EVENTS,
    metrics.LAG,
    metrics.NEXT_OFFSET,
    metrics.DURABLE_OFFSET,
    metrics.DROPPED,
    metrics.TABLE_USED,
    metrics.TABLE_BOUND,
    metrics.SNAPSHOT_AGE,
)


class MeteredFreshness(FreshnessHistograms):
    """Freshness histograms that also fill the Prometheus ones."""

    def __init__(self, registry: MetricsRegistry) -> None:
        super().__init__()
        self._registry = registry

    def record(self, ages: Ages) -> None:
        """Add ages to both."""
        super().record(ages)
        for action in Action:
            mine = ages.ages_ms[ages.actions == action]
            if len(mine):
                self._registry.observe(metrics.FRESHNESS, mine / _MS, action=action.name.lower())


class Metering:
    """What happens is observed at once; what stands somewhere is copied at a scrape.

    Args:
        registry: Where values go.
        topic: Name of the interactions topic.
    """

    def __init__(self, registry: MetricsRegistry, *, topic: str) -> None:
        self._registry = registry
        self._topic = topic
        self.num_fallbacks = 0

    def on_fold(self, folded: Folded, seconds: float) -> None:
        """Observe one slab of interactions."""
        self._registry.observe(metrics.FOLD_SECONDS, seconds, topic=self._topic)
        self._registry.observe(metrics.SLAB_EVENTS, float(len(folded.offsets)), topic=self._topic)
        for reject in folded.rejects:
            self._registry.add(metrics.REJECTS, reason=str(reject.reason))
        if folded.num_unknown_fields:
            self._registry.add(metrics.UNKNOWN_FIELDS, folded.num_unknown_fields)

    def on_batch(self, times: BatchTimes) -> None:
        """Observe one micro-batch of refreshes."""
        self._registry.observe(metrics.REFRESH_USERS, float(times.num_users))
        for stage in ("retrieve", "score", "write"):
            seconds = getattr(times, f"{stage}_s")
            self._registry.observe(metrics.REFRESH_SECONDS, seconds, stage=stage)

    def on_fallback(self) -> None:
        """Count a batch that fusion ranked because the network failed."""
        self.num_fallbacks += 1
        self._registry.add(metrics.MODEL_FAILURES)

    def on_snapshot(self, kind: str, seconds: float) -> None:
        """Observe one snapshot."""
        self._registry.observe(metrics.SNAPSHOT_SECONDS, seconds, kind=kind)

    def on_pause(self, kind: str, seconds: float) -> None:
        """Observe how long one snapshot held the state thread."""
        self._registry.observe(metrics.SNAPSHOT_PAUSE, seconds, kind=kind)

    def on_lost(self, kind: str, count: int) -> None:
        """Count keys that Redis lost."""
        self._registry.add(metrics.LOST_KEYS, count, kind=kind)

    def follow(
        self, worker: Worker, *, wall_ms: Callable[[], int], now_s: Callable[[], float]
    ) -> None:
        """Copy the worker's own figures before every scrape."""

        def copy() -> None:
            self._copy_partitions(worker, now_s())
            self._copy_lists(worker, wall_ms())

        self._registry.before_scrape(copy)

    def _copy_partitions(self, worker: Worker, now_s: float) -> None:
        put = self._registry.set
        for metric in _PER_PARTITION:
            self._registry.forget(metric)
        lags = worker.lags()
        for (topic, partition), held in list(worker.ownership.held.items()):
            where = {"topic": topic, "partition": partition}
            put(metrics.NEXT_OFFSET, worker.ownership.next_offset(topic, partition) or 0, **where)
            put(metrics.DURABLE_OFFSET, held.durable or 0, **where)
            put(metrics.LAG, lags.get((topic, partition), 0), **where)
        for partition, shard in list(worker.engine.users.items()):
            counters = shard.tables.counters
            for verdict in ("applied", "duplicate", "late", "rejected", "filtered", "routed"):
                put(metrics.EVENTS, counters[verdict], partition=partition, verdict=verdict)
            kind = {"kind": "users", "partition": partition}
            for what in ("evicted_users", "evicted_items", "dropped_event_ids"):
                put(metrics.DROPPED, counters[what], what=what, **kind)
            self._copy_sizes(shard.tables.sizes(), kind)
        for partition, items in list(worker.engine.items.items()):
            kind = {"kind": "items", "partition": partition}
            for what in ("evicted", "overflowed"):
                put(metrics.DROPPED, items.counters[what], what=what, **kind)
            self._copy_sizes(items.sizes(), kind)
        self._copy_sizes(worker.engine.catalogue.sizes(), {"kind": "catalogue", "partition": ""})
        for (topic, partition), held in list(worker.ownership.held.items()):
            kind_name = "users" if topic == self._topic else "items"
            age_s = max(now_s - held.saved_at_s, 0.0)
            put(metrics.SNAPSHOT_AGE, age_s, kind=kind_name, partition=partition)
        for kind_name, count in worker.ownership.num_unusable.items():
            put(metrics.SNAPSHOTS_UNUSABLE, count, kind=kind_name)
        for kind_name, count in worker.ownership.faults.num_failed.items():
            put(metrics.SNAPSHOTS_FAILED, count, kind=kind_name)
        for kind_name, count in worker.ownership.lost.num_lost.items():
            put(metrics.SNAPSHOTS_LOST, count, kind=kind_name)

    def _copy_sizes(self, sizes: dict[str, tuple[int, int]], labels: dict[str, object]) -> None:
        for table, (used, bound) in sizes.items():
            self._registry.set(metrics.TABLE_USED, used, table=table, **labels)
            self._registry.set(metrics.TABLE_BOUND, bound, table=table, **labels)

    def _copy_lists(self, worker: Worker, now_ms: int) -> None:
        put = self._registry.set
        outstanding = worker.ledger.outstanding(now_ms).ages_ms
        put(metrics.UNANSWERED, len(outstanding))
        put(metrics.OLDEST_UNANSWERED, float(outstanding.max(initial=0)) / _MS)
        for topic, num_bytes in worker.handlers.waiting_bytes().items():
            put(metrics.WAITING_BYTES, num_bytes, topic=topic)
        put(metrics.UNTRACKED, worker.ledger.num_untracked)
        put(metrics.DIRTY_USERS, worker.queue.num_dirty)
        put(metrics.SHED_USERS, worker.queue.num_shed)
        put(metrics.COALESCED_USERS, worker.queue.num_coalesced)
        for kind, count in worker.sink.counts.items():
            put(metrics.SINK_REPLIES, count, kind=kind)
        put(metrics.SINK_REPLIES, worker.leased_write.num_fenced, kind="fenced")
        put(metrics.SINK_PAUSED, float(worker.refresh.is_paused))
        put(metrics.LEASE_HELD, float(worker.why_over() is None))
        put(metrics.TASKS, len(asyncio.all_tasks()))
        put(metrics.FRAMES, worker.frames.num_frames)
        put(metrics.FRAME_BYTES, worker.frames.num_bytes)
        put(metrics.DEAD_LETTERS, worker.dead_letters.num_sent)
        put(metrics.SIGNALS, worker.publisher.num_sent)
        put(metrics.SIGNALS_HELD, worker.publisher.num_held)
        self._registry.forget(metrics.MODEL)  # Weights may have been swapped.
        put(metrics.MODEL, 1.0, model=worker.ranker.name, sequence=worker.ranker.sequence)
