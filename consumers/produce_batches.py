"""One batch per partition, built here and sent whole, so that no future exists per record."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.partitioner import murmur2

from consumers.produce_report import ProduceReport, Record, TopicCount
from stream.errors import ConfigurationError

logger = logging.getLogger(__name__)

_MAX_IN_FLIGHT = 64
# How often a wait for acknowledgements looks whether the outage is too long, in s.
_OUTAGE_POLL_S = 0.25
# How often, and how far apart in s, a topic is looked for.
_TOPIC_TRIES = 12
_TOPIC_POLL_S = 0.25
# Keys whose partition is remembered: the pure-Python hash costs 10 µs a key.
_MAX_CACHED_KEYS = 262_144


class _Batch:
    """Records on their way to one partition."""

    __slots__ = ("builder", "count", "duplicates", "first_index", "topic")

    def __init__(self, builder: Any, topic: str, first_index: int) -> None:
        self.builder = builder
        self.topic = topic
        self.first_index = first_index
        self.count = 0
        self.duplicates = 0


class BatchedRun:
    """Batches being filled and in flight, and the counts.

    Args:
        producer: Started producer; the caller stops it.
        topics: Kafka topic by logical topic; a logical topic without an entry is its own name.
        counted: Kafka topic whose counts stand at the top of the report.
        next_index: Index of the source's first record of the counted topic.
        max_outage_s: How long batches may be in flight without any acknowledgement.

    Attributes:
        error: What ended the run; empty while all is well.
    """

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
        self._index += topic == self._counted
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
        await self._find(topic)
        partitions = await self._producer.partitions_for(topic)
        partition_of = self._partition_of[topic] = _partitioner(len(partitions))
        self._counts[topic] = [0, 0, 0]
        return partition_of

    async def _find(self, topic: str) -> None:
        """Raise ConfigurationError where there is no such topic.

        aiokafka would ask for it ten times a second for as long as a request may take, and say so
        each time. A topic that was made just now may not be known to the broker yet.
        """
        for _ in range(_TOPIC_TRIES):
            there = await self._producer.client.fetch_all_metadata()
            if topic in there.topics():
                return
            await asyncio.sleep(_TOPIC_POLL_S)
        message = (
            f"expected the topic {topic}, Kafka has none of that name: start a worker, which makes "
            "all topics, or create it"
        )
        raise ConfigurationError(message)

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
