"""Produce records to Kafka: the simulator's and wire logs', paced, acknowledged, counted.

Records go out in batches that are built here, so that no future exists per record. Partition =
murmur2(key) mod partitions, as Kafka's Java clients do; idempotent, ``acks=all``. Every record
handed over is either acknowledged or failed: ``produced = acknowledged + failed``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.partitioner import murmur2

from stream.errors import ServerUnreachable

logger = logging.getLogger(__name__)

# (time in ms, logical topic, key, value, whether the same event was produced before).
Record = tuple[int, str, bytes | None, bytes | None, bool]

_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
# Bytes of one batch: half of what a broker takes by default in one request (1 MiB).
_MAX_BATCH_BYTES = 512 * 1024
# Records appended before the event loop gets a turn.
_MAX_RUN = 2_000
_MAX_IN_FLIGHT = 64
# The shortest sleep of a paced producer: records due within it go out together.
_TICK_S = 0.005
_PROGRESS_S = 0.25
# How often a wait for acknowledgements looks whether the outage is too long.
_OUTAGE_POLL_S = 0.25
# Pieces of ids whose partition is remembered: the pure-Python hash costs 10 µs a key.
_MAX_CACHED_KEYS = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCount:
    """Records of one topic.

    Attributes:
        produced: Handed to the client.
        acknowledged: Stored by the broker.
        failed: Not acknowledged within the client's bound.
    """

    produced: int = 0
    acknowledged: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProduceReport:
    """What was produced so far (``on_progress``) or in all (the result).

    Attributes:
        produced: Records of the topic ``topic`` handed to the client (items not counted).
        acknowledged: Of these, stored by the broker.
        failed: Of these, not acknowledged; above 0 only when the run ended by it.
        duplicates_sent: Of those produced, repetitions of an event produced before.
        by_topic: The same by Kafka topic, items among them.
        seconds: Wall time since the first record.
        behind_s: How late the last records went out against their pace; 0 without a pace.
        next_index: Index in the source of the first record that was not acknowledged: where to
            resume.
        last_time_ms: Time of the newest record handed over; -1 for none.
        error: What ended the run; empty when the source ended or ``stop`` was set.
    """

    produced: int = 0
    acknowledged: int = 0
    failed: int = 0
    duplicates_sent: int = 0
    by_topic: Mapping[str, TopicCount] = field(default_factory=dict)
    seconds: float = 0.0
    behind_s: float = 0.0
    next_index: int = 0
    last_time_ms: int = -1
    error: str = ""


async def produce_interactions(
    source: Iterable[Sequence[Record]],
    *,
    brokers: str,
    topic: str,
    items_topic: str = "items",
    rate: float | None = None,
    speed: float | None = None,
    on_progress: Callable[[ProduceReport], None] | None = None,
    stop: asyncio.Event,
    start_index: int = 0,
    compression: str | None = None,
    max_outage_s: float = 120.0,
    client_options: Mapping[str, Any] = _NO_OPTIONS,
) -> ProduceReport:
    """Produce a source's records in order until it ends, ``stop`` is set, or a batch fails.

    Steps: 1. take the next block of the source, on a thread; 2. wait until its records are due;
    3. append them to one batch per partition; 4. send the batches, their acknowledgements bounded
    in number; 5. at the end, wait for all that are in flight.

    Args:
        source: Blocks of records (:meth:`local.simulator.Simulator.blocks`, :func:`wire_log`);
            an empty block gives ``stop`` a chance while a pipe is silent.
        brokers: Bootstrap servers, comma-separated.
        topic: Kafka topic of records whose logical topic is ``interactions``.
        items_topic: Kafka topic of those whose logical topic is ``items``.
        rate: Records per second; None for no such pace.
        speed: Times real time by the records' own times; None for no such pace.
        on_progress: Called a few times a second, and once at the end.
        stop: Set by the caller to end: what is in flight is waited for.
        start_index: Index of the source's first record (a resumed log), for ``next_index``.
        compression: ``gzip``, ``snappy``, ``lz4``, ``zstd`` or None.
        max_outage_s: How long records may wait without any acknowledgement before the run ends
            and counts them as failed; a shorter outage loses and doubles nothing.
        client_options: Security and bounds of the aiokafka producer.

    Raises:
        ServerUnreachable: No broker answered at the start.
        ValueError: Both ``rate`` and ``speed`` are given, or one of them is not above 0.
    """
    pace = _Pace(rate=rate, speed=speed)
    options = {
        "enable_idempotence": True,
        "acks": "all",
        "max_batch_size": _MAX_BATCH_BYTES,
        "compression_type": compression,
        **client_options,
    }
    producer = AIOKafkaProducer(bootstrap_servers=brokers, **options)
    try:
        await producer.start()
    except (KafkaError, OSError) as error:
        await producer.stop()
        message = (
            f"expected Kafka at {brokers}, it did not answer ({error}): is it running, is "
            "HEADWATER_KAFKA right?"
        )
        raise ServerUnreachable(message) from error
    run = _Run(
        producer,
        topics={"interactions": topic, "items": items_topic},
        counted=topic,
        next_index=start_index,
        max_outage_s=max_outage_s,
    )
    try:
        await _run(run, source, pace, stop, on_progress)
    finally:
        await (_abort(producer) if run.error else producer.stop())
    report = run.report(pace.behind_s)
    if on_progress is not None:
        on_progress(report)
    return report


async def _run(
    run: _Run,
    source: Iterable[Sequence[Record]],
    pace: _Pace,
    stop: asyncio.Event,
    on_progress: Callable[[ProduceReport], None] | None,
) -> None:
    blocks = iter(source)
    next_progress = time.monotonic() + _PROGRESS_S
    while not stop.is_set() and not run.error:
        block = await asyncio.to_thread(_next_block, blocks)  # 1
        if block is None:
            break
        begin = 0
        while begin < len(block) and not stop.is_set() and not run.error:
            end = await pace.wait_for_due(block, begin, stop)  # 2
            for record in block[begin:end]:
                await run.append(record)  # 3
            begin = end
            await run.send_all()  # 4
            if on_progress is not None and time.monotonic() >= next_progress:
                on_progress(run.report(pace.behind_s))
                next_progress = time.monotonic() + _PROGRESS_S
    await run.drain()  # 5


async def _abort(producer: AIOKafkaProducer) -> None:
    """Close without flushing: aiokafka repeats an idempotent batch for ever, so would stop()."""
    sender = producer._sender  # noqa: SLF001
    await sender.close()
    await producer.stop()


def _next_block(blocks: Iterator[Sequence[Record]]) -> Sequence[Record] | None:
    return next(blocks, None)


class _Pace:
    """Says how many records of a block are due. Without a rate and a speed, all are."""

    def __init__(self, *, rate: float | None, speed: float | None) -> None:
        for name, value in (("rate", rate), ("speed", speed)):
            if value is not None and not value > 0:
                message = f"expected a {name} above 0, got {value}"
                raise ValueError(message)
        if rate is not None and speed is not None:
            message = f"expected a rate or a speed, got both ({rate} and {speed})"
            raise ValueError(message)
        self._rate = rate
        self._speed = speed
        self._began_s = 0.0
        self._first_ms: int | None = None
        self._num_before = 0
        self.behind_s = 0.0

    async def wait_for_due(self, block: Sequence[Record], begin: int, stop: asyncio.Event) -> int:
        """Return the end of the records that are due, at least one, once one is due."""
        last = min(len(block), begin + _MAX_RUN)
        if self._rate is None and self._speed is None:
            return last
        if self._first_ms is None:
            self._first_ms, self._began_s = block[begin][0], time.monotonic()
        wait_s = self._due_s(block[begin], 0) - time.monotonic()
        self.behind_s = max(0.0, -wait_s)
        if wait_s > 0:
            try:
                await asyncio.wait_for(stop.wait(), max(wait_s, _TICK_S))
                return begin
            except TimeoutError:
                pass
        now_s = time.monotonic()
        end = begin + 1
        while end < last and self._due_s(block[end], end - begin) <= now_s:
            end += 1
        self._num_before += end - begin
        return end

    def _due_s(self, record: Record, ahead: int) -> float:
        if self._rate is not None:
            return self._began_s + (self._num_before + ahead) / self._rate
        assert self._first_ms is not None and self._speed is not None
        return self._began_s + (record[0] - self._first_ms) / 1000 / self._speed


class _Batch:
    """Records on their way to one partition."""

    __slots__ = ("builder", "count", "duplicates", "first_index", "topic")

    def __init__(self, builder: Any, topic: str, first_index: int) -> None:
        self.builder = builder
        self.topic = topic
        self.first_index = first_index
        self.count = 0
        self.duplicates = 0


class _Run:
    """Batches being filled and in flight, and the counts."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        *,
        topics: Mapping[str, str],
        counted: str,
        next_index: int,
        max_outage_s: float,
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._counted = counted
        self._num_partitions: dict[str, int] = {}
        self._partition_of: dict[str, Callable[[bytes | None], int]] = {}
        self._filling: dict[tuple[str, int], _Batch] = {}
        self._in_flight: dict[asyncio.Future[Any], _Batch] = {}
        self._counts: dict[str, list[int]] = {}
        self._index = next_index
        self._failed_index: int | None = None
        self._began_s = time.monotonic()
        self._max_outage_s = max_outage_s
        self._last_answer_s = self._began_s
        self._duplicates = 0
        self._last_time_ms = -1
        self.error = ""

    async def append(self, record: Record) -> None:
        """Add one record to its partition's batch; a full batch is sent first."""
        time_ms, logical, key, value, is_duplicate = record
        topic = self._topics.get(logical, logical)
        partition_of = self._partition_of.get(topic)
        if partition_of is None:
            partition_of = await self._open(topic)
        where = (topic, partition_of(key))
        batch = self._filling.get(where)
        if batch is None:
            batch = self._new_batch(where)
        if batch.builder.append(timestamp=None, key=key, value=value) is None:
            await self._send(where)
            batch = self._new_batch(where)
            batch.builder.append(timestamp=None, key=key, value=value)
        batch.count += 1
        batch.duplicates += is_duplicate
        self._index += 1
        self._last_time_ms = max(self._last_time_ms, time_ms)

    async def send_all(self) -> None:
        """Send every batch that has records, all partitions at once."""
        await asyncio.gather(*(self._send(where) for where in list(self._filling)))
        await self._wait_for_answers(_MAX_IN_FLIGHT)

    async def drain(self) -> None:
        """Wait until each record is acknowledged or failed."""
        await self.send_all()
        await self._wait_for_answers(0)

    async def _wait_for_answers(self, max_in_flight: int) -> None:
        while len(self._in_flight) > max_in_flight:
            await asyncio.wait(
                self._in_flight, timeout=_OUTAGE_POLL_S, return_when=asyncio.FIRST_COMPLETED
            )
            # The callbacks that count run in the loop's next turn.
            await asyncio.sleep(0)
            self._end_long_outage()

    def _end_long_outage(self) -> None:
        silent_s = time.monotonic() - self._last_answer_s
        if not self._in_flight or silent_s < self._max_outage_s:
            return
        error = TimeoutError(f"no acknowledgement for {silent_s:.0f} s")
        for future, batch in list(self._in_flight.items()):
            future.remove_done_callback(self._settle)
            self._fail(batch, error)
        self._in_flight.clear()

    def report(self, behind_s: float) -> ProduceReport:
        """Return the counts as they stand."""
        by_topic = {
            name: TopicCount(produced=produced, acknowledged=acknowledged, failed=failed)
            for name, (produced, acknowledged, failed) in sorted(self._counts.items())
        }
        counted = by_topic.get(self._counted, TopicCount())
        open_indices = [batch.first_index for batch in self._in_flight.values()]
        open_indices += [batch.first_index for batch in self._filling.values()]
        if self._failed_index is not None:
            open_indices.append(self._failed_index)
        return ProduceReport(
            produced=counted.produced,
            acknowledged=counted.acknowledged,
            failed=counted.failed,
            duplicates_sent=self._duplicates,
            by_topic=by_topic,
            seconds=time.monotonic() - self._began_s,
            behind_s=behind_s,
            next_index=min(open_indices, default=self._index),
            last_time_ms=self._last_time_ms,
            error=self.error,
        )

    async def _open(self, topic: str) -> Callable[[bytes | None], int]:
        partitions = await self._producer.partitions_for(topic)
        partition_of = self._partition_of[topic] = _partitioner(len(partitions))
        self._counts[topic] = [0, 0, 0]
        return partition_of

    def _new_batch(self, where: tuple[str, int]) -> _Batch:
        batch = _Batch(self._producer.create_batch(), where[0], self._index)
        self._filling[where] = batch
        return batch

    async def _send(self, where: tuple[str, int]) -> None:
        batch = self._filling.pop(where)
        self._counts[batch.topic][0] += batch.count
        if batch.topic == self._counted:
            self._duplicates += batch.duplicates
        while True:
            try:
                future = await self._producer.send_batch(
                    batch.builder, batch.topic, partition=where[1]
                )
                break
            except KafkaTimeoutError as error:
                # The partition's batch before this one still waits for the broker.
                self._end_long_outage()
                if self.error:
                    self._fail(batch, error)
                    return
            except KafkaError as error:
                self._fail(batch, error)
                return
        if not self._in_flight:
            self._last_answer_s = time.monotonic()
        self._in_flight[future] = batch
        future.add_done_callback(self._settle)

    def _settle(self, future: asyncio.Future[Any]) -> None:
        batch = self._in_flight.pop(future)
        self._last_answer_s = time.monotonic()
        error = future.exception() if not future.cancelled() else asyncio.CancelledError()
        if error is not None:
            self._fail(batch, error)
        else:
            self._counts[batch.topic][1] += batch.count

    def _fail(self, batch: _Batch, error: BaseException) -> None:
        self._counts[batch.topic][2] += batch.count
        earlier = self._failed_index
        self._failed_index = (
            batch.first_index if earlier is None else min(earlier, batch.first_index)
        )
        if not self.error:
            self.error = f"{batch.topic}: {error!r}"
            logger.error("producing ends: %s", self.error)


def _partitioner(num_partitions: int) -> Callable[[bytes | None], int]:
    """Return Kafka's default rule for keys; records without a key go to partition 0."""

    @lru_cache(maxsize=_MAX_CACHED_KEYS)
    def partition_of(key: bytes | None) -> int:
        if key is None:
            return 0
        hashed: int = murmur2(key)
        return (hashed & 0x7FFFFFFF) % num_partitions

    return partition_of
