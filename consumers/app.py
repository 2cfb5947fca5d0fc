"""The worker: every part made, joined and run; the one place where settings become arguments.

Start: 1. topics; 2. kernels compiled, weights loaded; 3. catalogue and signals caught up; 4. group
joined. Stop: lists drained, partitions released (snapshot, commit, leave), everything closed.
Whatever fails ends the worker with its reason (law 9).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.broker_offsets import BrokerOffsets
from consumers.clocks import monotonic_ms, wall_ms
from consumers.configuration import make_engine, make_fusion, make_pipeline, make_snapshot_store
from consumers.dead_letters import DeadLetterProducer
from consumers.erasures import Erasures
from consumers.faust_app import App, create_app, hand_slabs_over, run_app
from consumers.frame_producer import FrameProducer
from consumers.handlers import SlabHandlers
from consumers.health import HealthServer
from consumers.leased_write import LeasedWrite
from consumers.loops import make_loops
from consumers.metering import MeteredFreshness, Metering
from consumers.metrics_registry import MetricsRegistry
from consumers.ownership import USERS, Ownership
from consumers.probes import WorkerProbes, end_process
from consumers.producer import ReliableProducer
from consumers.questions import StateQuestions
from consumers.rankers import choose_ranker
from consumers.reader import BroadcastReader
from consumers.redis_client import check_redis, connect_redis
from consumers.refresh import RefreshLoop
from consumers.refresher import Refresher
from consumers.rehearsal import rehearse
from consumers.security import faust_options, kafka_options, redis_options
from consumers.signal_publisher import SignalPublisher
from consumers.sink import RedisSink
from consumers.state_thread import WorkThread
from consumers.stats import WorkerStats
from consumers.supervision import StopBound, first_end
from consumers.told_write import ToldWrite
from consumers.topic_specs import topic_specs
from consumers.topics import ensure_topics
from consumers.warm_up import compile_kernels, freeze_garbage
from consumers.watchdog import Watchdog
from consumers.weights_watch import watch_weights
from stream.freshness import FreshnessLedger
from stream.outcomes import Refresh
from stream.refresh_queue import RefreshQueue
from stream.settings import Settings
from stream.slab import Slab

logger = logging.getLogger(__name__)

# How long a stop may spend on lists that are due.
_DRAIN_MS = 2_000


class Worker:
    """All parts of one worker, made from settings."""

    def __init__(self, settings: Settings, *, brokers: str, redis_url: str) -> None:
        """Make the parts; nothing connects before :meth:`start`."""
        self._settings = settings
        self._brokers = brokers
        topics = settings.topics
        self.state, self.scorer = WorkThread("state"), WorkThread("scorer")
        self.engine = make_engine(settings)
        self.pipeline = make_pipeline(settings, self.engine)
        kafka = self._kafka_options = kafka_options(settings.kafka_security)
        group = settings.worker.group
        self.offsets = BrokerOffsets(brokers, group=group, client_options=kafka)
        self.producer = ReliableProducer(brokers, client_options=kafka)
        self.frame_sender = ReliableProducer(brokers, client_options=kafka)
        self.frames = FrameProducer(
            self.frame_sender,
            topic=topics.item_deltas,
            source_id=lambda: self.ownership.topic_id(topics.interactions),
        )
        self.dead_letters = DeadLetterProducer(self.producer, dead_letters=topics.dead_letters)
        self.redis = connect_redis(
            redis_url,
            is_cluster=settings.sink.cluster,
            client_options=redis_options(settings.redis_security, redis_url),
        )
        self.sink = self._make_sink()
        self.publisher = SignalPublisher(self.producer, item_signals=topics.item_signals)
        self.erasures = Erasures(
            self.sink, epoch=settings.epoch, max_waiting=settings.sink.max_erasures
        )
        self.registry = MetricsRegistry()
        self.metering = Metering(self.registry, topic=topics.interactions)
        self.stop_bound = StopBound(settings.worker.stop_timeout_s)
        self.ends: dict[tuple[str, int], int] = {}
        self.ranker = choose_ranker(settings)
        self.ownership = self._make_ownership()
        self.refresh, self.stats = self._make_refresh()
        self.handlers = self._make_handlers()
        self.readers = self._make_readers()
        self.app = self._make_app()
        probes = WorkerProbes(self)
        self.watchdog = Watchdog(
            probe=probes.activities,
            end=end_process,
            limit_ms=round(settings.worker.watchdog_s * 1000),
        )
        self.health = self._make_health(probes)
        self.metering.follow(self, wall_ms=wall_ms, now_s=time.monotonic)

    def _make_sink(self) -> RedisSink:
        settings = self._settings
        return RedisSink(
            self.redis,
            epoch=settings.epoch,
            ttl_ms=settings.sink.ttl_s * 1000,
            retention_ms=settings.topics.retention_ms,
            explain=settings.explain,
            max_pipeline=settings.sink.max_batch,
        )

    def _make_handlers(self) -> SlabHandlers:
        topics = self._settings.topics
        return SlabHandlers(
            pipeline=self.pipeline,
            state=self.state,
            ownership=self.ownership,
            frames=self.frames,
            dead_letters=self.dead_letters,
            copies=self.producer,
            freshness=self.ledger,
            offer=self.refresh.mark,
            release=self.refresh.release,
            erase=self.erasures.add,
            on_fold=self.metering.on_fold,
            interactions=topics.interactions,
            item_deltas=topics.item_deltas,
            max_waiting_bytes=2 * self._settings.worker.max_slab_bytes,
        )

    def _make_readers(self) -> tuple[BroadcastReader, ...]:
        topics = self._settings.topics
        read = ((topics.items, self._on_items), (topics.item_signals, self._on_signals))
        return tuple(
            BroadcastReader(
                brokers=self._brokers,
                topics=[name],
                on_slab=each,
                max_outage_s=self._settings.worker.kafka_timeout_s,
                connection=self._kafka_options,
            )
            for name, each in read
        )

    def _make_health(self, probes: WorkerProbes) -> HealthServer:
        settings = self._settings
        return HealthServer(
            registry=self.registry,
            why_stuck=self.watchdog.why_stuck,
            why_not_ready=probes.why_not_ready,
            stats=self.stats.read,
            routes=StateQuestions.of_worker(self, settings).routes(),
            host=settings.worker.health_host,
            port=settings.worker.health_port,
        )

    def _make_ownership(self) -> Ownership:
        settings = self._settings
        return Ownership(
            engine=self.engine,
            store=make_snapshot_store(settings),
            state=self.state,
            interactions=settings.topics.interactions,
            item_deltas=settings.topics.item_deltas,
            settle=self.frames.wait_acknowledged,
            offsets=self.offsets,
            on_open=self._on_open,
            on_drop=self._on_drop,
            pending=self._pending,
            generation=lambda: self.app.consumer_generation_id,
            on_snapshot=self.metering.on_snapshot,
            on_assign=self._on_assign,
            why_over=self.why_over,
            on_pause=self.metering.on_pause,
            snapshots_timeout_s=settings.worker.snapshots_timeout_s,
        )

    def why_over(self) -> str | None:
        """Return why nothing may be written now for others to read; None while all is well."""
        is_sealed = self.ownership.is_sealed
        return "a fold failed, the worker ends" if is_sealed else self.app.session.why_over()

    def _make_refresh(self) -> tuple[RefreshLoop[Refresh], WorkerStats]:
        bounds = self._settings.refresh
        self.ledger = FreshnessLedger(max_events=bounds.max_unanswered)
        self.freshness = MeteredFreshness(self.registry)
        self.queue = RefreshQueue(
            max_users=bounds.max_dirty,
            interval_ms=bounds.interval_ms,
            max_batch=bounds.max_batch,
            max_wait_ms=bounds.max_wait_ms,
        )
        self.leased_write = LeasedWrite(ToldWrite(self.sink.write), why_over=self.why_over)
        stats = WorkerStats(
            engine=self.engine,
            queue=self.queue,
            ledger=self.ledger,
            freshness=self.freshness,
            write=self.leased_write,
            wall_ms=wall_ms,
            ranker=self.ranker,
            num_fallbacks=lambda: self.metering.num_fallbacks,
            ownership=self.ownership,
            frames=self.frames,
            lag=lambda: sum(self.lags().values()),
        )
        refresher = Refresher(
            pipeline=self.pipeline,
            ranker=self.ranker,
            fallback=make_fusion(self._settings),
            state_executor=self.state.executor,
            on_fallback=self.metering.on_fallback,
        )
        refresh = RefreshLoop(
            queue=self.queue,
            ledger=self.ledger,
            freshness=self.freshness,
            retrieve=refresher.retrieve,
            score=refresher.score,
            write=stats.write,
            state_executor=self.state.executor,
            scorer_executor=self.scorer.executor,
            monotonic_ms=monotonic_ms,
            wall_ms=wall_ms,
            on_batch=self.metering.on_batch,
        )
        return refresh, stats

    def _make_app(self) -> App:
        worker, topics = self._settings.worker, self._settings.topics
        app = create_app(
            brokers=self._brokers,
            group=worker.group,
            topics=[topics.interactions, topics.item_deltas],
            ledger=self.ownership,
            data_dir=self._settings.data_dir / "faust",
            session_timeout_s=worker.session_timeout_s,
            instance_id=worker.instance_id,
            max_slab_bytes=worker.max_slab_bytes,
            **faust_options(self._kafka_options),
        )
        hand_slabs_over(app, lambda slab: self.handlers.accept(slab))
        return app

    async def _on_items(self, slab: Slab) -> None:
        rejects = await self.state.run(self.pipeline.read_items, slab)
        if rejects:
            topic_id = (await self.offsets.topic_ids([slab.topic])).get(slab.topic)
            await self.dead_letters.send(
                rejects, topic=slab.topic, partition=slab.partition, topic_id=topic_id
            )

    async def _on_signals(self, slab: Slab) -> None:
        await self.state.run(self.pipeline.read_signals, slab)

    def _pending(self, partition: int) -> dict[str, NDArray[Any]]:
        """Return what is owed to a partition's users: lists not yet written, erasures."""
        return {
            "user_rows": self.ledger.user_rows(partition),
            "erasures": np.frombuffer(self.erasures.encode(), np.uint8),
        }

    def _on_open(self, kind: str, partition: int, pending: Mapping[str, NDArray[Any]]) -> None:
        """Take up a partition that was not in memory, and what is owed to its users."""
        if kind != USERS:
            return
        shard = self.engine.users[partition]
        self.frames.begin(partition, shard.tables.next_offset)
        self.queue.hold(partition)
        if pending:
            rows = np.array(pending["user_rows"], np.int32)
            self.ledger.owe(partition, rows, shard.tables.next_offset)
            self.refresh.mark(shard.dirty_users(rows, np.zeros(len(rows), np.uint8)))
            self.erasures.restore(pending["erasures"].tobytes())

    def _on_assign(self, kind: str, partition: int) -> None:
        """No list of a partition's users before it has caught up with its log (law 4)."""
        topics, owner = self._settings.topics, self.ownership
        key = (topics.interactions if kind == USERS else topics.item_deltas, partition)
        self.handlers.forget(*key)
        if kind == USERS and key in owner.assigned and owner.is_caught_up(*key):
            self.refresh.release(partition)
        elif kind == USERS:
            self.queue.hold(partition)

    def _on_drop(self, kind: str, partition: int) -> None:
        if kind == USERS:
            self.refresh.drop(partition)
            self.stats.drop(partition)

    async def start(self) -> None:
        """Do everything short of joining the group; the steps are the module's."""
        specs = topic_specs(self._settings.topics)
        report = await ensure_topics(self._brokers, specs, client_options=self._kafka_options)
        report.raise_if_fatal()
        for finding in report.findings:
            logger.warning("%s", finding)
        await check_redis(self.redis)
        await self.health.start()
        await self.state.run(compile_kernels)
        await self.state.run(rehearse, self._settings, self.ranker)
        topics = self._settings.topics
        await self.offsets.start([topics.interactions, topics.item_deltas])
        await self.producer.start()
        await self.frame_sender.start()
        for reader in self.readers:
            await reader.start()
        for reader in self.readers:
            await reader.catch_up()
        logger.info("catalogue caught up, %d items", len(self.engine.catalogue.items))
        freeze_garbage()

    def on_ends(self, ends: Mapping[tuple[str, int], int]) -> None:
        """Take the log ends of our partitions, asked every half second."""
        self.ends = dict(ends)
        for topic, partition in self.ownership.assigned:
            # A partition without new records catches up without a slab.
            if topic == self._settings.topics.interactions and self.ownership.is_caught_up(
                topic, partition
            ):
                self.refresh.release(partition)

    def lags(self) -> dict[tuple[str, int], int]:
        """Return how many records each partition is behind the end last seen."""
        return {
            key: max(end - (self.ownership.next_offset(*key) or 0), 0)
            for key, end in self.ends.items()
            if key in self.ownership.assigned
        }

    async def run(self, stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
        """Join the group and work until ``stop`` is set or something fails."""
        loops = make_loops(self, self._settings, wall_ms=wall_ms, monotonic_ms=monotonic_ms)
        tasks = {
            asyncio.create_task(run_app(self.app), name="faust"),
            asyncio.create_task(self.handlers.run(), name="folds"),
            asyncio.create_task(self.refresh.run(), name="refresh"),
            asyncio.create_task(self.erasures.run(), name="erasures"),
            asyncio.create_task(self.frames.watch(), name="frames"),
            asyncio.create_task(loops.run(), name="loops"),
            asyncio.create_task(self.watchdog.run(), name="watchdog"),
        }
        if (watch := watch_weights(self._settings, self.ranker)) is not None:
            tasks.add(asyncio.create_task(watch.run(), name="weights"))
        tasks |= {
            asyncio.create_task(reader.run_until_failure(), name="reader")
            for reader in self.readers
        }
        ready = asyncio.create_task(self._announce(on_ready), name="ready")
        failure = await first_end(tasks, ready, stop)
        self.stop_bound.start()
        if failure is None:
            logger.info("stopping: draining lists, releasing partitions")
            await self.refresh.drain(_DRAIN_MS)
        else:
            self.ownership.seal()  # What a failure left behind must not become durable.
            await self.app.crash(failure)
        await self.app.stop()
        for task in (*tasks, ready):
            task.cancel()
        await asyncio.gather(*tasks, ready, return_exceptions=True)
        failure = failure or self.ownership.release_failure
        if failure is not None:
            raise failure

    async def _announce(self, on_ready: Callable[[str], None]) -> None:
        """Tell that the worker holds its partitions."""
        await self.ownership.has_assignment.wait()
        on_ready(self.health.url)

    async def close(self) -> None:
        """Close every connection and thread; safe after a failure at any point."""
        self.stop_bound.start()
        await self.health.stop()
        for reader in self.readers:
            await reader.stop()
        await self.frames.stop()
        await self.frame_sender.stop()
        await self.producer.stop()
        await self.offsets.stop()
        await self.redis.aclose()
        self.scorer.close()
        self.state.close()
        self.stop_bound.cancel()
