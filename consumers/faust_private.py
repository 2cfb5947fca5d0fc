"""Every private member of Faust that Headwater touches, in one file.

Pinned: faust-streaming 0.15.3, mode-streaming 0.7.1. Each use has a test in
``tests/consumers/test_faust_private.py`` that fails when an upgrade changes what is relied on.

All of it is mechanism: :class:`SlabThread` and :class:`SlabConsumer` for Faust's driver. What is
decided is in :mod:`consumers.transport`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.exceptions import ConsumerNotStarted
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as stock_driver
from faust.types import TP, ConsumerMessage, Message

from consumers.aiokafka_private import (
    SlabSource,
    assignment_of,
    follow_session,
    hand_out_slabs,
    leave_group,
    read_late_failures,
    stop_consumer,
)
from consumers.crash_points import crash_point
from consumers.group_session import GroupSession
from stream.slab import Slab

logger = logging.getLogger(__name__)

# One try to commit; what is not committed is only read again.
_COMMIT_TIMEOUT_S = 3.0
# Further tries of a worker that stops, after one failed so.
_LAST_COMMIT_TIMEOUT_S = 0.5


class NoTables(TableManager):
    """Faust's tables, of which there are none: nothing is waited for before the group is joined.

    The stock one sleeps for a second first, in which agents may add tables.
    """

    async def on_start(self) -> None:
        """Say that all tables are there, and start the recovery, which also seeks."""
        await self._update_channels()
        await self.recovery.start()


class SlabThread(stock_driver.AIOKafkaConsumerThread):
    """Faust's consumer thread: read_committed, short waits, slabs, seeks to the state's offsets."""

    consumer: SlabConsumer
    source: SlabSource
    _is_coordinator_away = False

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust hard-codes these; aiokafka reads them when the consumer starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = self.consumer.fetch_max_wait_ms
        consumer._fetch_min_bytes = self.consumer.fetch_min_bytes
        return consumer

    async def on_start(self) -> None:
        """Start aiokafka's consumer; before it is subscribed, make it hand out slabs and listen."""
        await super().on_start()
        self.source = self.consumer.slab_source()
        consumer = self._ensure_consumer()
        hand_out_slabs(consumer, self.source)
        follow_session(consumer, self.consumer.session(), self._end_fenced, self._end_refused)
        read_late_failures(consumer)

    async def _end_fenced(self) -> None:
        asyncio.run_coroutine_threadsafe(self.consumer.on_fenced(), self.parent_loop)

    async def _end_refused(self, error: Exception) -> None:
        asyncio.run_coroutine_threadsafe(self.consumer.on_refused(error), self.parent_loop)

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
            crash_point("before-commit")
            did_commit = bool(await asyncio.wait_for(super()._commit(offsets), timeout_s))
            crash_point("after-commit")
        except TimeoutError:
            self._is_coordinator_away = True
            logger.warning("no commit within %s s: the coordinator is away", timeout_s)
            return False
        self._is_coordinator_away = False
        return did_commit

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek slab partitions to the state's next offsets, the others to committed ones."""
        state_of = self.consumer.state_assignment()
        wanted = self.consumer.wanted_offsets(self.assignment())
        offsets: Mapping[TP, int] = await self.call_thread(self._seek, wanted, state_of)
        return offsets

    async def _seek(self, wanted: Mapping[TP, int | None], state_of: int) -> Mapping[TP, int]:
        """Seek, unless the group or the state went on to another assignment meanwhile.

        Faust seeks after an assignment, and whenever it finds the flow stopped: such a seek may
        name offsets of a state that was given up since, and loaded again further back.
        """
        consumer = self._ensure_consumer()
        assignment, assigned = assignment_of(consumer), consumer.assignment()
        hot = {tp: wanted[TP(*tp)] for tp in assigned if TP(*tp) in wanted}
        light = assigned - set(hot)
        offsets: dict[TopicPartition, int] = {}
        if light:
            offsets.update(await consumer.seek_to_committed(*light))
        if hot:
            begins = await consumer.beginning_offsets(list(hot))
            ends = await consumer.end_offsets(list(hot))
            is_same_state = self.consumer.state_assignment() == state_of
            if assignment is None or assignment_of(consumer) is not assignment or not is_same_state:
                return {}  # The next assignment seeks for itself.
            for tp, offset in hot.items():
                target = begins[tp] if offset is None else offset
                self.consumer.check_seek(TP(*tp), target, begins[tp], ends[tp])
                consumer.seek(tp, target)
                offsets[tp] = target
            self.source.sought({tp: offsets[tp] for tp in hot})
        return {TP(*tp): offset for tp, offset in offsets.items()}


class SlabConsumer(stock_driver.Consumer):
    """Faust's consumer with doors where its bookkeeping of offsets is: cumulative, never per ack.

    :class:`consumers.transport.Consumer` fills in the public methods.
    """

    #: Longest wait of the broker for new records, in ms; the stock path's 1,500 would be latency.
    fetch_max_wait_ms: int
    #: A fetch with fewer bytes waits that long for more, of all partitions of a broker.
    fetch_min_bytes: int

    def slab_source(self) -> SlabSource:
        """Make the source of slabs for one start of the thread."""
        raise NotImplementedError

    def session(self) -> GroupSession:
        """Return the lease to keep."""
        raise NotImplementedError

    async def on_fenced(self) -> None:
        """End: another member took our place under our instance id."""
        raise NotImplementedError

    async def on_refused(self, error: Exception) -> None:
        """End: the group does not take us."""
        raise NotImplementedError

    def is_slab_topic(self, topic: str) -> bool:
        """Return whether a topic's messages are slabs."""
        raise NotImplementedError

    def state_assignment(self) -> int:
        """Return which assignment the state's next offsets are of; on any thread."""
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

    async def commit_and_end_transactions(self) -> None:
        """Commit at a stop, but not after a crash: the thread that is asked may have ended.

        Faust would then log that its loop is closed, with a traceback, or wait for an answer.
        """
        if not (self.app.crashed or self.crashed):
            with suppress(ConsumerNotStarted):  # Nothing was read yet.
                await super().commit_and_end_transactions()

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
