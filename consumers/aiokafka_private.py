"""Every private member of aiokafka that Headwater touches; Faust's are in `faust_private`.

Pinned: aiokafka 0.14.0. Each use has a test in ``tests/consumers/test_aiokafka_private.py`` that
fails when an upgrade changes what is relied on. All of it is mechanism: functions for an aiokafka
consumer or producer. What is decided is in :mod:`consumers.transport`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.consumer import fetcher as stock_fetcher
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
)
from aiokafka.protocol.group import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
)
from aiokafka.record.memory_records import MemoryRecords

from consumers.group_requests import FENCED_INSTANCE_ID, StaticHeartbeat
from consumers.group_session import GroupSession
from consumers.records import RecordsWalk
from stream.errors import HeadwaterError, LogGap
from stream.slab import Slab

logger = logging.getLogger(__name__)

# A leaving worker waits this long for the broker's answer; the session timeout is the fallback.
_LEAVE_TIMEOUT_S = 2.0
_LEAVE_BACKOFF_S = 0.1


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

    Attributes:
        assignment: Returns what stands for the consumer's assignment of the moment: a seek holds
            for the one that it was made under, and for no later one of the same partitions.
    """

    def __init__(
        self, *, topics: Container[str], walk: RecordsWalk, needs_seek: bool = True
    ) -> None:
        self.topics = topics
        self._walk = walk
        self.needs_seek = needs_seek
        self._expected: dict[TopicPartition, int] = {}
        self.assignment: Callable[[], object] = lambda: None
        self._sought_under: object = None

    def sought(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Forget all positions and expect the next fetches at these offsets, and no others."""
        self._expected = dict(offsets)
        self._sought_under = self.assignment()

    def records(self, tp: TopicPartition, data: bytes, aborted: Any, begin: int) -> _SlabRecords:
        """Return the slabs of one fetch of one partition; the walk happens while iterating."""
        return _SlabRecords(self._slabs(tp, data, aborted, begin), begin)

    def _slabs(self, tp: TopicPartition, data: bytes, aborted: Any, begin: int) -> Iterator[Slab]:
        expected = self._expected.get(tp)
        is_sought = expected is not None and self.assignment() is self._sought_under
        if self.needs_seek and not is_sought:
            return
        if expected is not None and self.needs_seek and begin < expected:
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

    if source.needs_seek:
        source.assignment = lambda: assignment_of(consumer)
    fetcher = consumer._fetcher
    fetcher._proc_fetch_request = MethodType(
        _with_names(
            stock_fetcher.Fetcher._proc_fetch_request,
            {"MemoryRecords": _FetchedBytes, "PartitionRecords": partition_records},
        ),
        fetcher,
    )


def assignment_of(consumer: AIOKafkaConsumer) -> object:
    """Return what stands for the group's assignment: another object each time, None in between."""
    subscription = consumer._subscription.subscription
    if subscription is None or consumer._subscription.reassignment_in_progress:
        return None
    return subscription.assignment


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


async def ask_any_broker(consumer: AIOKafkaConsumer, request: Any) -> Any:
    """Send a request of ours over a consumer's connections; return the answer.

    Raises:
        KafkaError: No broker could be asked.
        NotImplementedError: The broker does not know the request's version.
    """
    client = consumer._client
    node_id = client.get_random_node()
    if node_id is None:
        raise NodeNotReadyError
    return await client.send(node_id, request)


# Error codes. The group rebalances; of a join: its broker could not note it in time, ask again.
_REBALANCES = 27
# Of a heartbeat by which the coordinator knows us: none, or the others rejoin.
_KNOWN_MEMBER = {0, _REBALANCES}
# The coordinator loads: aiokafka waits a moment and asks again.
_LOADS = 14
# The coordinator loads, is away, or is another one: whom it knows is not said.
_NOT_SAID = {_LOADS, 15, 16}


def follow_session(
    consumer: AIOKafkaConsumer,
    session: GroupSession,
    on_fenced: Callable[[], Awaitable[None]],
    on_refused: Callable[[Exception], Awaitable[None]],
) -> None:
    """Keep a session's lease by what a started consumer hears; never rejoin as a fenced member.

    aiokafka's requests do not name the instance, so that a static member whose place another one
    took hears "unknown member", joins anew, and takes the place back: for ever, in turns. Here it
    asks, before it joins anew, whether its old self was fenced.

    Args:
        consumer: Started, not yet subscribed.
        session: Renewed and ended by the coordinator's answers.
        on_fenced: Called once, instead of joining; nothing is joined any more.
        on_refused: Called once where the group does not take us, and would not if asked again:
            aiokafka keeps that for whoever fetches next, and before an assignment nobody does.
    """
    coordinator = consumer._coordinator
    send, reset = coordinator._send_req, coordinator.reset_generation
    push = coordinator._push_error_to_user
    # Who we were when the coordinator stopped knowing us: generation and member id.
    lost: list[tuple[int, str]] = []

    async def send_and_listen(request: Any) -> Any:
        if isinstance(request, JoinGroupRequest) and lost:
            code = await _ask_about(coordinator, send, lost[-1])
            if code == FENCED_INSTANCE_ID:
                await on_fenced()
                await asyncio.wait([coordinator._closing])
                raise KafkaConnectionError
            if code not in _NOT_SAID:
                lost.clear()  # Now: if the join's answer gets lost, we must not fence ourselves.
        sent_s = session.now_s()
        answer = await send(request)
        session.hear()
        if isinstance(request, JoinGroupRequest) and answer.error_code == _REBALANCES:
            answer.error_code = _LOADS  # aiokafka takes a join's 27 for an error that stays.
        if isinstance(request, HeartbeatRequest) and answer.error_code in _KNOWN_MEMBER:
            session.renew(sent_s)
        elif isinstance(request, SyncGroupRequest) and not answer.error_code:
            session.renew(sent_s)
        return answer

    def reset_generation() -> None:
        session.end()
        if coordinator._group_instance_id is not None and coordinator.generation > 0:
            lost[:] = [(coordinator.generation, coordinator.member_id)]
        reset()

    async def push_error(error: Exception) -> None:
        # Of its own tasks aiokafka hands on whatever ended them, not errors of Kafka alone.
        if isinstance(error, KafkaError) and error.retriable:
            await push(error)
        else:
            await on_refused(error)
            await asyncio.wait([coordinator._closing])

    coordinator._push_error_to_user = push_error
    coordinator._send_req = send_and_listen
    coordinator.reset_generation = reset_generation


def read_late_failures(consumer: AIOKafkaConsumer) -> None:
    """Let a commit that nobody waits for any more fail without a traceback on stderr.

    aiokafka shields a commit from whoever gives up on it; what it fails with then is read by
    nobody, and asyncio says so when the task goes. Who waited has said what was not committed.
    """
    coordinator = consumer._coordinator
    do_commit = coordinator._do_commit_offsets

    def commit(assignment: object, offsets: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(do_commit(assignment, offsets))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    coordinator._do_commit_offsets = commit


async def _ask_about(
    coordinator: Any, send: Callable[[Any], Awaitable[Any]], lost: tuple[int, str]
) -> int:
    """Return the error code of a heartbeat in the name of the member that we were."""
    generation, member_id = lost
    instance_id = coordinator._group_instance_id
    heartbeat = StaticHeartbeat(coordinator.group_id, generation, member_id, instance_id)
    try:
        return int((await send(heartbeat)).error_code)
    except (NotImplementedError, IncompatibleBrokerVersion):
        return 0  # A broker without static membership fences nobody.


async def leave_group(consumer: AIOKafkaConsumer) -> None:
    """Leave the group at once, also as a static member; call right before the consumer stops.

    aiokafka sends nothing for a static member, and nothing again where the connection to its
    coordinator just went: the partitions would stay orphaned for a session timeout.
    """
    coordinator = consumer._coordinator
    left: list[str] = []

    async def note_member() -> None:
        if coordinator.generation > 0:
            left.append(coordinator.member_id)
        coordinator.reset_generation()

    coordinator._maybe_leave_group = note_member
    await coordinator.close()
    for member_id in left:
        await _send_leave(consumer, coordinator.group_id, member_id)


async def _send_leave(consumer: AIOKafkaConsumer, group: str, member_id: str) -> None:
    client, node_id = consumer._client, consumer._coordinator.coordinator_id
    try:
        async with asyncio.timeout(_LEAVE_TIMEOUT_S):
            while True:
                try:
                    if node_id is None:
                        node_id = await client.coordinator_lookup(CoordinationType.GROUP, group)
                    request = LeaveGroupRequest(group, member_id)
                    await client.send(node_id, request, group=ConnectionGroup.COORDINATION)
                    return
                except KafkaError as error:
                    logger.debug("LeaveGroup is sent again after %r", error)
                    node_id = None
                    await asyncio.sleep(_LEAVE_BACKOFF_S)
    except TimeoutError:
        logger.warning("the group was not told within %s s that we leave", _LEAVE_TIMEOUT_S)


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


async def abort_producer(producer: AIOKafkaProducer) -> None:
    """Close without flushing: aiokafka repeats an idempotent batch for ever, so would stop()."""
    await producer._sender.close()
    await producer.stop()
