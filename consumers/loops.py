"""What a worker does on a clock: snapshots, signals, shared lists, lag. Each loop has one job.

A loop that fails ends the worker. Intervals are settings; nothing here is on an event's way. What
others read is written only while the lease on the partitions holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from consumers.crash_points import crash_point
from consumers.group_session import GroupSession, Silence
from consumers.lost_lists import LossWatch, LostLists
from consumers.lost_views import LostSimilar, LostTombstones, SimilarView, TombstoneView
from consumers.owed_lists import OwedLists
from consumers.ownership import Ownership
from consumers.returned_lists import ReturnedLists
from consumers.signal_publisher import SignalPacer, SignalPublisher
from consumers.similar_writer import SimilarWriter, signals_tick_s, similar_to
from consumers.sink import RedisSink
from consumers.state_thread import WorkThread
from stream.candidates import RecommendationBatch
from stream.engine import Engine
from stream.errors import ServerUnreachable
from stream.pipeline import Pipeline
from stream.settings import Settings
from stream.shared_lists import trending_list
from stream.slab import Slab

if TYPE_CHECKING:
    from consumers.app import Worker

logger = logging.getLogger(__name__)

_SNAPSHOT_TICK_S = 0.1
_LAG_TICK_S = 0.5
_SILENCE_TICK_S = 0.5
# What counts of a longer pause of our own.
_SILENCE_MAX_STEP_S = 5.0
_LOST_KEYS_TICK_S = 2.0


class WorkerLoops:
    """The clocked work of one worker.

    Args:
        pipeline: Touched on the state thread only.
        state: The state thread.
        ownership: Which partitions are ours.
        publisher: Sends item signals, rate-bound.
        sink: Writes the trending list.
        similar: Writes similar items.
        ends: Asks the broker where logs end.
        on_ends: Told where the logs of our partitions end.
        wall_ms: Clock of ``generated_at``.
        monotonic_ms: Clock of intervals.
        item_deltas: Name of the topic.
        snapshot_interval_s: Between two snapshots of one partition.
        signals_interval_s: Between two signals of one item.
        signals_per_s: Signals per second and item partition at most.
        trending_interval_s: Between two writes of the trending list.
        slate_size: Items in the trending list.
        pacers: Of each item partition, made here.
        losses: Watches over what Redis holds.
        owed: Sees to users whom the refresh queue had no room for.
        session: Counts the answers of the group's coordinator.
        why_over: Says why nothing may be written for others to read.
        kafka_timeout_s: Silence of Kafka that ends the worker.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        state: WorkThread,
        ownership: Ownership,
        publisher: SignalPublisher,
        sink: RedisSink,
        similar: SimilarWriter,
        ends: Callable[[set[tuple[str, int]]], Awaitable[Mapping[tuple[str, int], int]]],
        on_ends: Callable[[Mapping[tuple[str, int], int]], None],
        wall_ms: Callable[[], int],
        monotonic_ms: Callable[[], int],
        item_deltas: str,
        snapshot_interval_s: float,
        signals_interval_s: float,
        signals_per_s: int,
        trending_interval_s: float,
        slate_size: int,
        pacers: dict[int, SignalPacer],
        losses: LossWatch,
        owed: OwedLists,
        session: GroupSession,
        why_over: Callable[[], str | None],
        kafka_timeout_s: float,
    ) -> None:
        self._session = session
        self._why_over = why_over
        self._kafka_timeout_s = kafka_timeout_s
        self._num_ends = 0
        self._pipeline = pipeline
        self._state = state
        self._ownership = ownership
        self._publisher = publisher
        self._sink = sink
        self._similar = similar
        self._ends = ends
        self._on_ends = on_ends
        self._wall_ms = wall_ms
        self._monotonic_ms = monotonic_ms
        self._item_deltas = item_deltas
        self._snapshot_interval_s = snapshot_interval_s
        self._signals_interval_s = signals_interval_s
        self._signals_per_s = signals_per_s
        self._pacers = pacers
        self._trending_interval_s = trending_interval_s
        self._slate_size = slate_size
        self._losses = losses
        self._owed = owed

    async def run(self) -> None:
        """Run all loops until one fails or the task is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._snapshots())
            group.create_task(self._signals())
            group.create_task(self._similar.run())
            group.create_task(self._trending())
            group.create_task(self._lag())
            group.create_task(self._silence())
            group.create_task(self._losses.run())
            group.create_task(self._owed.run())

    async def _snapshots(self) -> None:
        """Snapshot the partition that waits longest, one at a time: they are staggered so."""
        while True:
            await asyncio.sleep(_SNAPSHOT_TICK_S)
            await self._ownership.snapshot_due(self._snapshot_interval_s)

    async def _signals(self) -> None:
        """Publish what changed about our items to all workers."""
        while True:
            await asyncio.sleep(signals_tick_s(self._signals_interval_s))
            for topic, partition in sorted(self._ownership.assigned):
                if topic == self._item_deltas and self._why_over() is None:
                    records = await self._state.run(self._read_signals, partition)
                    await self._publisher.publish(records)
                    if records:
                        crash_point("after-signals")

    def _read_signals(self, partition: int) -> list[tuple[bytes, bytes]]:
        items = self._pipeline.engine.items.get(partition)
        if items is None:
            return []
        now_ms = self._monotonic_ms()
        pacer = self._pacers.get(partition)
        if pacer is None:
            pacer = SignalPacer(
                interval_ms=round(self._signals_interval_s * 1000),
                max_rows_per_s=self._signals_per_s,
            )
            self._pacers[partition] = pacer
        num_held = pacer.num_held

        def admit(rows: NDArray[np.int32]) -> NDArray[np.int32]:
            admitted = pacer.admit(rows, now_ms)
            pacer.similar.owe(admitted)
            return admitted

        records = self._pipeline.publish_signals(partition, pacer.allowance(now_ms), admit)
        self._publisher.num_held += pacer.num_held - num_held
        if records:
            # At once, not when they come back: `sim:` is made of them now.
            self._pipeline.read_signals(Slab.from_records(records))
        return records

    async def _trending(self) -> None:
        """Write ``rec:trending`` where item partition 0 is ours."""
        while True:
            await asyncio.sleep(self._trending_interval_s)
            is_ours = (self._item_deltas, 0) in self._ownership.assigned
            if not is_ours or self._why_over() is not None:
                continue
            batch = await self._state.run(self._make_trending)
            if batch is not None and len(batch.item_ids):
                await self._sink.write_trending(batch, generated_at_ms=self._wall_ms())

    def _make_trending(self) -> RecommendationBatch | None:
        return trending_of(self._pipeline.engine, self._slate_size)

    async def _lag(self) -> None:
        """Ask where our logs end: lag is measured against that."""
        while True:
            await asyncio.sleep(_LAG_TICK_S)
            mine = set(self._ownership.assigned)
            try:
                ends = await self._ends(mine) if mine else {}
            except ServerUnreachable as error:
                logger.warning("%s", error)  # For how long is :meth:`_silence`'s to judge.
                continue
            self._num_ends += 1
            self._on_ends(ends)

    async def _silence(self) -> None:
        """End the worker where Kafka has not answered for too long: idle, nothing else would.

        A broker that comes back in time finds everything as it was.
        """
        of_group, of_logs = (Silence(max_step_s=_SILENCE_MAX_STEP_S) for _ in range(2))
        while True:
            await asyncio.sleep(_SILENCE_TICK_S)
            now_s = self._session.now_s()
            silent_s = max(
                of_group.observe(self._session.num_answers, now_s),
                of_logs.observe(self._num_ends, now_s),
            )
            if silent_s >= self._kafka_timeout_s:
                message = (
                    f"expected an answer from Kafka within {self._kafka_timeout_s:g} s, none came "
                    "to heartbeats or questions for offsets: is it running, can this machine reach "
                    "it? Start the worker again when it is back: it goes on where it was "
                    "(HEADWATER_WORKER__KAFKA_TIMEOUT_S is the bound)"
                )
                raise ServerUnreachable(message)


def trending_of(engine: Engine, size: int) -> RecommendationBatch | None:
    """Return the trending list; None where item partition 0 moved away (state thread).

    It is of all partitions' items, so its event time is the newest of any item's signal: item
    partition 0 may have few items, or none. The version has partition 0's offset, which only
    grows, and where that stands still the time of writing.
    """
    items = engine.items.get(0)
    if items is None:
        return None
    return trending_list(
        engine.catalogue,
        next_offset=items.next_offset,
        now_ms=int(engine.catalogue.popularity_time_ms.max(initial=items.stream_time_ms)),
        size=size,
    )


def _make_losses(
    worker: Worker,
    settings: Settings,
    *,
    pacers: dict[int, SignalPacer],
    wall_ms: Callable[[], int],
) -> LossWatch:
    """Make what looks after Redis: users' lists, similar items, tombstones."""
    state, sink, topics = worker.state, worker.sink, settings.topics
    find = sink.find_missing

    def loads() -> int:
        return sink.num_script_loads

    lists = LostLists(
        engine=worker.engine,
        state=state,
        queue=worker.queue,
        owed_rows=worker.ledger.user_rows,
        mark=worker.refresh.mark,
        find_missing=find,
        is_caught_up=partial(worker.ownership.is_caught_up, topics.interactions),
        ttl_ms=settings.sink.ttl_s * 1000,
        num_script_loads=loads,
    )
    returned = ReturnedLists(
        engine=worker.engine,
        state=state,
        sink=sink,
        epoch=settings.epoch,
        retention_ms=topics.retention_ms,
        num_script_loads=loads,
    )
    tombstones = _tombstone_view(worker, settings)
    similar = _similar_view(worker, settings, pacers=pacers, wall_ms=wall_ms)
    return LossWatch(
        [
            LostTombstones(tombstones, state=state, find_missing=find, num_script_loads=loads),
            returned,
            lists,
            LostSimilar(similar, state=state, find_missing=find, num_script_loads=loads),
        ],
        on_lost=worker.metering.on_lost,
        interval_s=_LOST_KEYS_TICK_S,
        why_over=worker.why_over,
        probe=sink.probe,
        restored=worker.ownership.has_assignment,
    )


def _tombstone_view(worker: Worker, settings: Settings) -> TombstoneView:
    return TombstoneView(
        engine=worker.engine,
        write_tombstones=worker.sink.write_tombstones,
        num_waiting=worker.erasures.__len__,
        epoch=settings.epoch,
        retention_ms=settings.topics.retention_ms,
    )


def _similar_view(
    worker: Worker,
    settings: Settings,
    *,
    pacers: dict[int, SignalPacer],
    wall_ms: Callable[[], int],
) -> SimilarView:
    async def write(partition: int, item_ids: Sequence[bytes]) -> None:
        batch = await worker.state.run(similar_to, worker.engine, partition, item_ids)
        if batch is not None:
            await worker.sink.write_similar(batch, generated_at_ms=wall_ms())

    return SimilarView(
        engine=worker.engine,
        pacers=pacers,
        write_similar=write,
        is_caught_up=partial(worker.ownership.is_caught_up, settings.topics.item_deltas),
        ttl_ms=settings.sink.ttl_s * 1000,
    )


def make_loops(
    worker: Worker,
    settings: Settings,
    *,
    wall_ms: Callable[[], int],
    monotonic_ms: Callable[[], int],
) -> WorkerLoops:
    """Make a worker's loops over its parts."""
    pacers = worker.ownership.pacers
    return WorkerLoops(
        pipeline=worker.pipeline,
        state=worker.state,
        ownership=worker.ownership,
        publisher=worker.publisher,
        sink=worker.sink,
        similar=SimilarWriter(
            engine=worker.engine,
            state=worker.state,
            write=worker.sink.write_similar,
            pacers=pacers,
            why_over=worker.why_over,
            wall_ms=wall_ms,
            tick_s=signals_tick_s(settings.signals.interval_s),
        ),
        ends=worker.offsets.ends,
        on_ends=worker.on_ends,
        wall_ms=wall_ms,
        monotonic_ms=monotonic_ms,
        item_deltas=settings.topics.item_deltas,
        snapshot_interval_s=settings.worker.snapshot_interval_s,
        signals_interval_s=settings.signals.interval_s,
        signals_per_s=settings.signals.rows_per_s,
        trending_interval_s=settings.signals.trending_interval_s,
        slate_size=settings.ranking.slate_size,
        pacers=pacers,
        losses=_make_losses(worker, settings, pacers=pacers, wall_ms=wall_ms),
        owed=OwedLists(
            engine=worker.engine,
            state=worker.state,
            queue=worker.queue,
            ledger=worker.ledger,
            mark=worker.refresh.mark,
            is_caught_up=partial(worker.ownership.is_caught_up, settings.topics.interactions),
        ),
        session=worker.app.session,
        why_over=worker.why_over,
        kafka_timeout_s=settings.worker.kafka_timeout_s,
    )
