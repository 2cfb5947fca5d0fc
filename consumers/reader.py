"""BroadcastReader: every worker reads all partitions of the compacted topics, from the beginning.

Faust's GlobalTable synchronises unreliably, so this is a small reader of our own: no group, no
commits, no Python object per record (the same walk as the slab transport). It survives a broker's
outage within a bound, new partitions, a truncated or recreated topic: what is read again must be
a no-op for the application, as any re-read of a compacted topic.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumers.aiokafka_private import (
    SlabSource,
    hand_out_slabs,
    known_partitions,
    stop_consumer,
)
from consumers.records import MAX_BATCH_BYTES, MAX_SLAB_BYTES, RecordsWalk
from stream.errors import ConfigurationError, ServerUnreachable
from stream.slab import Slab

logger = logging.getLogger(__name__)

# First and longest pause between two tries to reach a broker, in seconds.
_FIRST_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 5.0
# How long one read waits for records before it looks after partitions and outages.
_POLL_MS = 200
# How often a missing topic is looked for before it counts as missing.
_MAX_TOPIC_TRIES = 20


class ReaderMetrics(Protocol):
    """What a reader reports; labels are topic names only."""

    def on_slab(self, topic: str, num_records: int, num_bytes: int) -> None:
        """One slab was handled."""

    def on_reset(self, topic: str) -> None:
        """A partition is read again from the log's start, or the log lost records unread."""

    def on_lag(self, lag: int) -> None:
        """Records between what was handled and the ends last seen, all partitions."""


class BroadcastReader:
    """Hands every slab of its topics, in order per partition, to one handler.

    Steps: ``await start()`` (connects, notes the end offsets, begins to read), ``await
    catch_up()`` (returns when everything below those ends has been handled), later ``await
    stop()``. ``on_slab`` is awaited for one slab at a time: a slow handler slows the reader.

    Args:
        brokers: ``host:port``, several separated by commas.
        topics: Topics to read whole; they must exist.
        on_slab: Called with each slab on the running loop.
        metrics: Told about slabs, resets and lag; None for nobody.
        max_slab_bytes: Bound on one slab.
        max_batch_bytes: Cap on one batch's decompressed bytes.
        max_outage_s: Longest time without any answer from a broker before the reader fails.
        refresh_s: How often it looks for new partitions.
        connection: Further arguments for aiokafka's consumer (TLS, SASL).
    """

    def __init__(
        self,
        *,
        brokers: str,
        topics: Sequence[str],
        on_slab: Callable[[Slab], Awaitable[None]],
        metrics: ReaderMetrics | None = None,
        max_slab_bytes: int = MAX_SLAB_BYTES,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        max_outage_s: float = 60.0,
        refresh_s: float = 30.0,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        self._brokers = brokers
        self._topics = tuple(topics)
        self._on_slab = on_slab
        self._metrics = metrics
        self._max_outage_s = max_outage_s
        self._refresh_s = refresh_s
        self._max_slab_bytes = max_slab_bytes
        self._connection = dict(connection or {})
        # Positions are kept here: aiokafka forgets them at each new assignment.
        self._next: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._source = SlabSource(
            topics=frozenset(topics),
            walk=RecordsWalk(max_slab_bytes=max_slab_bytes, max_batch_bytes=max_batch_bytes),
            needs_seek=False,
        )
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._caught_up = asyncio.Event()
        self._refreshed_at_s = 0.0
        self._answered_at_s = 0.0
        self._answers_ms: tuple[int | None, ...] = ()

    @property
    def next_offsets(self) -> dict[tuple[str, int], int]:
        """Return (topic, partition) → offset after the last handled slab, a copy."""
        return {(tp.topic, tp.partition): offset for tp, offset in self._next.items()}

    @property
    def is_caught_up(self) -> bool:
        """Whether everything below the ends seen at the start has been handled."""
        return self._caught_up.is_set()

    async def start(self) -> None:
        """Connect, note the end offsets and begin to read in a task.

        Raises:
            ServerUnreachable: No broker answered within ``max_outage_s``.
            ConfigurationError: A topic does not exist.
        """
        assert self._consumer is None, "start() was called twice"
        self._consumer = await self._connect()
        try:
            await self._assign()
            self._ends = await self._within_outage(self._consumer.end_offsets, list(self._next))
        except BaseException:
            await stop_consumer(self._consumer, self._consumer.stop)
            self._consumer = None
            raise
        self._note_progress()
        self._task = asyncio.create_task(self._follow(), name="broadcast-reader")

    async def catch_up(self) -> None:
        """Return when everything below the ends seen at the start has been handled.

        Raises what ended the reader, where it ended.
        """
        waiter = asyncio.create_task(self._caught_up.wait())
        try:
            await asyncio.wait({waiter, self._running()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        if not self._caught_up.is_set():
            await self._running()

    async def run_until_failure(self) -> None:
        """Wait for as long as the reader follows; raises what ended it."""
        await asyncio.shield(self._running())

    async def stop(self) -> None:
        """Stop reading and disconnect; a handler that is running is cancelled."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task
        if self._consumer is not None:
            await stop_consumer(self._consumer, self._consumer.stop)
            self._consumer = None

    def _running(self) -> asyncio.Task[None]:
        assert self._task is not None, "start() comes first"
        return self._task

    async def _connect(self) -> AIOKafkaConsumer:
        async def connect() -> AIOKafkaConsumer:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._brokers,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                isolation_level="read_committed",
                max_partition_fetch_bytes=self._max_slab_bytes,
                # Following wants low latency; nothing else reads through this consumer.
                fetch_max_wait_ms=_POLL_MS,
                metadata_max_age_ms=max(1, int(self._refresh_s * 1000)),
                **self._connection,
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            return consumer

        consumer = await self._within_outage(connect)
        hand_out_slabs(consumer, self._source)
        self._answered_at_s = time.monotonic()
        return consumer

    async def _within_outage(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Call until it succeeds, with growing pauses, at most ``max_outage_s`` in all."""
        deadline_s = time.monotonic() + self._max_outage_s
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                return await call(*args)
            except KafkaError as error:
                if time.monotonic() + backoff_s > deadline_s:
                    raise self._unreachable(repr(error)) from error
                logger.warning("Kafka at %s does not answer (%r), retrying", self._brokers, error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

    def _unreachable(self, what: str) -> ServerUnreachable:
        return ServerUnreachable(
            f"expected Kafka at {self._brokers} to answer within {self._max_outage_s:.0f} s, "
            f"came {what}: start it, or correct the address; "
            "a worker started again goes on where it was"
        )

    async def _assign(self) -> None:
        """Assign all partitions there are now; known ones read on where they were."""
        assert self._consumer is not None
        self._refreshed_at_s = time.monotonic()
        partitions = await self._within_outage(known_partitions, self._consumer, self._topics)
        tries = 0
        while not all(partitions.values()) and tries < _MAX_TOPIC_TRIES:
            # A topic made a moment ago is not on every broker yet.
            tries += 1
            await asyncio.sleep(_FIRST_BACKOFF_S)
            partitions = await self._within_outage(known_partitions, self._consumer, self._topics)
        for topic in self._topics:
            if not partitions[topic]:
                message = f"expected topic {topic!r} on {self._brokers}, there is none: create it"
                raise ConfigurationError(message)
        tps = {TopicPartition(topic, p) for topic in self._topics for p in partitions[topic]}
        if tps == self._consumer.assignment():
            return
        logger.info("reading %d partitions of %s", len(tps), ", ".join(self._topics))
        self._consumer.assign(sorted(tps))
        for tp in tps:
            self._consumer.seek(tp, self._next.setdefault(tp, 0))

    async def _follow(self) -> None:
        assert self._consumer is not None
        while True:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
            for tp, slabs in fetched.items():
                for slab in slabs:
                    await self._handle(tp, slab)
            if not fetched:
                await self._step_over_nothing()
            self._check_outage(bool(fetched))
            self._note_progress()
            if time.monotonic() - self._refreshed_at_s > self._refresh_s:
                await self._assign()

    async def _handle(self, tp: TopicPartition, slab: Slab) -> None:
        wanted = self._next.get(tp, 0)
        if slab.begin < wanted or (slab.begin > wanted > 0):
            logger.warning(
                "%s-%s: expected to read on at offset %s, the log goes on at %s",
                tp.topic,
                tp.partition,
                wanted,
                slab.begin,
            )
            if self._metrics is not None:
                self._metrics.on_reset(tp.topic)
        await self._on_slab(slab)
        self._next[tp] = slab.end
        if self._metrics is not None:
            self._metrics.on_slab(tp.topic, len(slab), slab.buffer.nbytes)

    async def _step_over_nothing(self) -> None:
        """Follow positions that moved without a record: the log's start is above what we wanted."""
        assert self._consumer is not None
        for tp, offset in self._next.items():
            if offset < self._ends.get(tp, 0):
                with suppress(TimeoutError):
                    position = await asyncio.wait_for(self._consumer.position(tp), _POLL_MS / 1000)
                    self._next[tp] = max(offset, position)

    def _check_outage(self, has_records: bool) -> None:
        """Fail when no broker has answered a fetch for longer than the bound."""
        assert self._consumer is not None
        now_s = time.monotonic()
        if has_records:
            self._answered_at_s = now_s
            return
        # aiokafka notes the wall clock of each answer; only that it changed matters here.
        answers_ms = tuple(self._consumer.last_poll_timestamp(tp) for tp in self._next)
        if answers_ms != self._answers_ms:
            self._answers_ms = answers_ms
            self._answered_at_s = now_s
        if now_s - self._answered_at_s > self._max_outage_s:
            silence = f"{now_s - self._answered_at_s:.0f} s of silence"
            raise self._unreachable(silence)

    def _note_progress(self) -> None:
        assert self._consumer is not None
        if not self._caught_up.is_set():
            behind = [tp for tp, end in self._ends.items() if self._next[tp] < end]
            if not behind:
                self._caught_up.set()
                logger.info("caught up with %s", ", ".join(self._topics))
        if self._metrics is not None:
            ends = {tp: self._consumer.highwater(tp) or 0 for tp in self._next}
            lag = sum(max(0, end - self._next[tp]) for tp, end in ends.items())
            self._metrics.on_lag(lag)
