"""Every private member of Faust and aiokafka that Headwater touches, in one file.

Pinned: faust-streaming 0.15.3, aiokafka 0.14.0, mode-streaming 0.7.1. Each use has a test in
``tests/consumers/test_faust_private.py`` that fails when an upgrade changes what is relied on.

All of it is mechanism: functions for an aiokafka consumer, :class:`SlabThread` and
:class:`SlabConsumer` for Faust's driver. What is decided is in :mod:`consumers.transport`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from types import FunctionType, MethodType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher as stock_fetcher
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.record.memory_records import MemoryRecords
from faust.transport.drivers import aiokafka as stock_driver
from faust.types import TP, ConsumerMessage, Message

from consumers.records import RecordsWalk
from stream.errors import HeadwaterError, LogGap
from stream.slab import Slab

logger = logging.getLogger(__name__)

# A leaving worker waits this long for the broker's answer; the session timeout is the fallback.
_LEAVE_TIMEOUT_S = 2.0
# One try to commit; what is not committed is only read again.
_COMMIT_TIMEOUT_S = 3.0
# Further tries of a worker that stops, after one failed so.
_LAST_COMMIT_TIMEOUT_S = 0.5


class _FetchedBytes:
    """Stands in for aiokafka's MemoryRecords: the same answers, and the bytes themselves."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.stock = MemoryRecords(data)

    def has_next(self) -> bool:
        return bool(self.stock.has_next())

    def size_in_bytes(self) -> int:
        return len(self.data)


class _SlabRecords:
    """Stands in for aiokafka's PartitionRecords: an iterator of slabs that knows its position."""

    def __init__(self, slabs: Iterator[Slab], begin: int) -> None:
        self.next_fetch_offset = begin
        self._slabs = slabs
        self._failure: HeadwaterError | None = None

    def __iter__(self) -> _SlabRecords:
        return self

    def __next__(self) -> Slab:
        if self._failure is not None:  # A second read must not look like the end of the fetch.
            raise self._failure
        try:
            slab = next(self._slabs)
        except HeadwaterError as error:
            self._failure = error
            raise
        self.next_fetch_offset = slab.end
        return slab


class SlabSource:
    """What one aiokafka consumer needs to hand out slabs.

    Args:
        topics: Topics whose fetches become slabs; the others keep the stock path.
        walk: Turns a fetch into slabs.
        needs_seek: Whether a partition hands out slabs only after :meth:`sought`. Right after an
            assignment aiokafka already fetches from the committed offset or the log's start; that
            is not where the state is. Later, a position that it moved backwards is a LogGap.
    """

    def __init__(
        self, *, topics: Container[str], walk: RecordsWalk, needs_seek: bool = True
    ) -> None:
        self.topics = topics
        self._walk = walk
        self._needs_seek = needs_seek
        self._expected: dict[TopicPartition, int] = {}

    def sought(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Forget all positions and expect the next fetches at these offsets, and no others."""
        self._expected = dict(offsets)

    def records(self, tp: TopicPartition, data: bytes, aborted: Any, begin: int) -> _SlabRecords:
        """Return the slabs of one fetch of one partition; the walk happens while iterating."""
        return _SlabRecords(self._slabs(tp, data, aborted, begin), begin)

    def _slabs(self, tp: TopicPartition, data: bytes, aborted: Any, begin: int) -> Iterator[Slab]:
        expected = self._expected.get(tp)
        if expected is None and self._needs_seek:
            return
        if expected is not None and self._needs_seek and begin < expected:
            message = (
                f"{tp.topic}-{tp.partition}: expected to read on at offset {expected}, the log "
                f"now starts again at {begin}: the topic was recreated or cut at its end; "
                "raise the epoch setting and start from empty state"
            )
            raise LogGap(message)
        for slab in self._walk.slabs(
            data, topic=tp.topic, partition=tp.partition, begin=begin, aborted=aborted or ()
        ):
            self._expected[tp] = slab.end
            yield slab


def hand_out_slabs(consumer: AIOKafkaConsumer, source: SlabSource) -> None:
    """Make a started consumer's ``getmany`` hand out slabs for the source's topics.

    aiokafka turns a fetch response into records in ``Fetcher._proc_fetch_request``, which names
    two classes. This consumer's fetcher gets a copy of that function in which the two names mean
    our classes; nothing global is patched, other consumers keep theirs.
    """

    def partition_records(
        tp: TopicPartition, records: _FetchedBytes, aborted: Any, begin: int, *rest: Any
    ) -> Any:
        if tp.topic in source.topics:
            return source.records(tp, records.data, aborted, begin)
        return stock_fetcher.PartitionRecords(tp, records.stock, aborted, begin, *rest)

    fetcher = consumer._fetcher
    fetcher._proc_fetch_request = MethodType(
        _with_names(
            stock_fetcher.Fetcher._proc_fetch_request,
            {"MemoryRecords": _FetchedBytes, "PartitionRecords": partition_records},
        ),
        fetcher,
    )


def _with_names(function: Any, names: Mapping[str, Any]) -> FunctionType:
    """Return a copy of a function in which some global names mean something else."""
    missing = set(names) - set(function.__code__.co_names)
    if missing or function.__closure__:
        message = f"expected {function.__qualname__} to use {sorted(names)}: aiokafka changed"
        raise RuntimeError(message)
    return FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
    )


async def known_partitions(
    consumer: AIOKafkaConsumer, topics: Iterable[str]
) -> dict[str, frozenset[int]]:
    """Return the partitions of topics, none where unknown; asks the broker about new topics.

    aiokafka's public ways only answer for topics that are subscribed or assigned already.
    """
    names = set(topics)
    await consumer._client.set_topics(names)
    found = {name: consumer._client.cluster.partitions_for_topic(name) for name in names}
    return {name: frozenset(partitions or ()) for name, partitions in found.items()}


async def leave_group(consumer: AIOKafkaConsumer) -> None:
    """Leave the group at once, also as a static member; call right before the consumer stops.

    aiokafka sends none for a static member: its partitions stay orphaned for a session timeout.
    """
    coordinator = consumer._coordinator
    member_id, generation = coordinator.member_id, coordinator.generation
    await coordinator.close()
    if generation <= 0 or consumer._group_instance_id is None:
        return
    try:
        request = LeaveGroupRequest(coordinator.group_id, member_id)
        await asyncio.wait_for(coordinator._send_req(request), _LEAVE_TIMEOUT_S)
    except (KafkaError, TimeoutError) as error:
        logger.warning("the group was not told that this worker leaves: %r", error)


async def stop_consumer(consumer: AIOKafkaConsumer, stop: Callable[[], Awaitable[Any]]) -> None:
    """Stop a consumer by calling ``stop``, also while its broker is away.

    aiokafka cancels its fetches and then awaits them: one that waits for a lost broker ends the
    stop with CancelledError, and the connections stay open.
    """
    try:
        await stop()
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        await consumer._client.close()


class SlabThread(stock_driver.AIOKafkaConsumerThread):
    """Faust's consumer thread: read_committed, short waits, slabs, seeks to the state's offsets."""

    consumer: SlabConsumer
    source: SlabSource
    _is_coordinator_away = False

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust hard-codes both; aiokafka reads them when the consumer starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = self.consumer.fetch_max_wait_ms
        return consumer

    async def on_start(self) -> None:
        """Start aiokafka's consumer and make it hand out slabs, before it is subscribed."""
        await super().on_start()
        self.source = self.consumer.slab_source()
        hand_out_slabs(self._ensure_consumer(), self.source)

    async def on_thread_stop(self) -> None:
        """Leave the group, then stop."""
        if self._consumer is None:
            await super().on_thread_stop()
            return
        if self._consumer._coordinator is not None:
            await leave_group(self._consumer)
        await stop_consumer(self._consumer, super().on_thread_stop)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Hand out nothing more until the next seek, then do what Faust does."""
        self.source.sought({})
        await super().on_partitions_revoked(revoked)

    def _stopped_set(self) -> None:
        with suppress(RuntimeError):  # The thread may have ended, and closed its loop, by now.
            super()._stopped_set()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # aiokafka retries for as long as no coordinator answers: a stop would never end.
        is_hopeless = self._is_coordinator_away and self.app.should_stop
        timeout_s = _LAST_COMMIT_TIMEOUT_S if is_hopeless else _COMMIT_TIMEOUT_S
        try:
            did_commit = bool(await asyncio.wait_for(super()._commit(offsets), timeout_s))
        except TimeoutError:
            self._is_coordinator_away = True
            logger.warning("no commit within %s s: the coordinator is away", timeout_s)
            return False
        self._is_coordinator_away = False
        return did_commit

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek slab partitions to the state's next offsets, the others to committed ones."""
        wanted = self.consumer.wanted_offsets(self.assignment())
        offsets: Mapping[TP, int] = await self.call_thread(self._seek, wanted)
        return offsets

    async def _seek(self, wanted: Mapping[TP, int | None]) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        hot = {tp: wanted[TP(*tp)] for tp in assigned if TP(*tp) in wanted}
        light = assigned - set(hot)
        offsets: dict[TopicPartition, int] = {}
        if light:
            offsets.update(await consumer.seek_to_committed(*light))
        if hot:
            begins = await consumer.beginning_offsets(list(hot))
            ends = await consumer.end_offsets(list(hot))
            for tp, offset in hot.items():
                target = begins[tp] if offset is None else offset
                self.consumer.check_seek(TP(*tp), target, begins[tp], ends[tp])
                consumer.seek(tp, target)
                offsets[tp] = target
            self.source.sought({tp: offsets[tp] for tp in hot})
        return {TP(*tp): offset for tp, offset in offsets.items()}


class SlabConsumer(stock_driver.Consumer):
    """Faust's consumer with doors where its bookkeeping of offsets is: cumulative, never per ack.

    :class:`consumers.transport.Consumer` fills in the five public methods.
    """

    #: Longest wait of the broker for new records, in ms; the stock path's 1,500 would be latency.
    fetch_max_wait_ms: int

    def slab_source(self) -> SlabSource:
        """Make the source of slabs for one start of the thread."""
        raise NotImplementedError

    def is_slab_topic(self, topic: str) -> bool:
        """Return whether a topic's messages are slabs."""
        raise NotImplementedError

    def wanted_offsets(self, partitions: Iterable[TP]) -> Mapping[TP, int | None]:
        """Return where the slab partitions among these read on; None for the log's start."""
        raise NotImplementedError

    def check_seek(self, tp: TP, offset: int, begin: int, end: int) -> None:
        """Raise when a partition's log [begin, end) cannot be read on at the offset."""
        raise NotImplementedError

    def durable_offset(self, tp: TP) -> int | None:
        """Return what may be committed for a slab partition."""
        raise NotImplementedError

    async def commit_slabs(self, partitions: Iterable[TP]) -> bool:
        """Commit the durable offsets of these slab partitions where they have grown.

        Faust's own ``commit`` commits nothing on revoke: it has dropped its bookkeeping by then.
        """
        offsets = self._filter_committable_offsets(partitions)
        if not offsets:
            return True
        if not await self._commit(offsets):
            return False
        self._committed_slabs.update(offsets)
        return True

    def forget_slabs(self) -> None:
        """Drop all bookkeeping of slab partitions; the next commits are sent anew."""
        self._committed_slabs.clear()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._committed_slabs: dict[TP, int] = {}
        super().__init__(*args, **kwargs)

    def ack(self, message: Message) -> bool:
        """Count a slab as done; the offset that may be committed is the ledger's, not its own."""
        if not self.is_slab_topic(message.topic):
            return bool(super().ack(message))
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def _new_consumer_thread(self) -> SlabThread:
        return SlabThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, Slab):
            return super()._to_message(tp, record)
        timestamp_ms = int(record.timestamps_ms[-1]) if len(record) else 0
        return ConsumerMessage(
            record.topic,
            record.partition,
            record.end - 1,
            timestamp_ms / 1000.0,
            0,
            (),
            None,
            record,
            None,
            0,
            record.buffer.nbytes,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        for tp in super()._filter_tps_with_pending_acks(topics):
            if not self.is_slab_topic(tp.topic):
                yield tp
        for tp in self.assignment():
            if self.is_slab_topic(tp.topic) and (
                topics is None or tp in topics or tp.topic in topics
            ):
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        if not self.is_slab_topic(tp.topic):
            offset: int | None = super()._new_offset(tp)
            return offset
        # A stream that was not told noack() fills these.
        self._acked.pop(tp, None)
        self._acked_index.pop(tp, None)
        return self.durable_offset(tp)

    def _should_commit(self, tp: TP, offset: int) -> bool:
        if not self.is_slab_topic(tp.topic):
            return bool(super()._should_commit(tp, offset))
        # Faust's _committed_offset holds what was sought, which is ahead of what is committed.
        return offset > self._committed_slabs.get(tp, -1)

    async def _commit_offsets(
        self, offsets: Mapping[TP, int], start_new_transaction: bool = True
    ) -> bool:
        did_commit = await super()._commit_offsets(offsets, start_new_transaction)
        if did_commit:
            slabs = {tp: at for tp, at in offsets.items() if self.is_slab_topic(tp.topic)}
            self._committed_slabs.update(slabs)
        return bool(did_commit)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        if not self.is_slab_topic(tp.topic):
            await super()._add_gap(tp, offset_from, offset_to)
