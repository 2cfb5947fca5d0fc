"""Private members that aiokafka_private uses (an upgrade may fail these), slabs from Kafka."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import consumer as stock_consumer
from aiokafka.consumer import fetcher as stock_fetcher
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.errors import NodeNotReadyError
from aiokafka.producer.sender import Sender
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.record.memory_records import MemoryRecords

from consumers import aiokafka_private
from consumers.aiokafka_private import (
    SlabSource,
    ask_any_broker,
    follow_session,
    hand_out_slabs,
    leave_group,
)
from consumers.group_session import GroupSession
from consumers.records import RecordsWalk
from consumers.topic_ids import TopicIdRequest, ids_in
from stream.errors import LogGap
from stream.slab import Slab
from tests.consumers.batches import Record, record_batch, rows

MakeTopic = Callable[..., str]


source_of = inspect.getsource


def test_versions_are_the_ones_that_were_read() -> None:
    # On an upgrade: read the members named in this file again, then change this line.
    assert version("aiokafka").startswith("0.14.")


def test_fetcher_names_the_two_classes_once_each() -> None:
    function = stock_fetcher.Fetcher._proc_fetch_request
    assert source_of(function).count("MemoryRecords(part_data[-1])") == 1
    assert source_of(function).count("PartitionRecords(") == 1
    assert not function.__closure__
    arguments = list(inspect.signature(stock_fetcher.PartitionRecords).parameters)
    assert arguments[:4] == ["tp", "records", "aborted_transactions", "fetch_offset"]


def test_fetcher_looks_its_fetch_up_on_itself() -> None:
    assert "self._proc_fetch_request(" in source_of(stock_fetcher.Fetcher._fetch_requests_routine)
    assert not hasattr(stock_fetcher.Fetcher, "__slots__")


def test_fetch_result_asks_partition_records_only_what_ours_answers() -> None:
    for name in ("check_assignment", "_update_position", "getall"):
        source = source_of(getattr(stock_fetcher.FetchResult, name))
        source = source.replace("self._partition_records.next_fetch_offset", "")
        assert "_partition_records." not in source


def test_memory_records_is_asked_only_what_ours_answers() -> None:
    source = source_of(stock_fetcher.Fetcher._proc_fetch_request)
    asked = {part.split("(")[0] for part in source.split(" records.")[1:]}
    assert asked == {"has_next", "size_in_bytes"}
    ours = aiokafka_private._FetchedBytes(record_batch([Record(delta=0)]))
    assert ours.has_next() is MemoryRecords(ours.data).has_next() is True
    assert ours.size_in_bytes() == MemoryRecords(ours.data).size_in_bytes()


def test_renaming_refuses_a_function_that_does_not_use_the_name() -> None:
    with pytest.raises(RuntimeError, match="aiokafka changed"):
        aiokafka_private._with_names(stock_fetcher.Fetcher.close, {"MemoryRecords": None})


def test_consumer_reads_isolation_and_wait_when_it_starts() -> None:
    source = source_of(stock_consumer.AIOKafkaConsumer.start)
    assert "isolation_level=self._isolation_level" in source
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in source
    assert "fetch_min_bytes=self._fetch_min_bytes" in source
    assert "self._group_instance_id" in source


def test_coordinator_leaves_its_group_through_a_method_that_can_be_replaced() -> None:
    source = source_of(GroupCoordinator._maybe_leave_group)
    assert "self.generation > 0 and self._group_instance_id is None" in source
    assert "LeaveGroupRequest(self.group_id, self.member_id)" in source
    assert source.rstrip().endswith("self.reset_generation()")
    close = source_of(GroupCoordinator.close)
    assert "if self._closing.done():\n            return" in close
    assert close.rstrip().endswith("await self._maybe_leave_group()")
    assert "group=ConnectionGroup.COORDINATION" in source_of(GroupCoordinator._send_req)
    assert list(inspect.signature(AIOKafkaClient.coordinator_lookup).parameters) == [
        "self",
        "coordinator_type",
        "coordinator_key",
    ]


def test_coordinator_sends_and_forgets_itself_through_methods_that_can_be_replaced() -> None:
    assert not hasattr(GroupCoordinator, "__slots__")
    for name in ("_do_heartbeat", "_do_commit_offsets"):
        source = source_of(getattr(GroupCoordinator, name))
        assert "await self._send_req(request)" in source
        assert "self.reset_generation()" in source
    join = source_of(CoordinatorGroupRebalance)
    assert "await self._coordinator._send_req(request)" in join
    assert join.count("self._coordinator.reset_generation()") == 2
    assert "except Errors.KafkaError:\n                    # Return right away" in join
    routine = source_of(GroupCoordinator)
    assert routine.count("await self._push_error_to_user(exc)") == 2  # Ours is awaited, too.
    closing = source_of(GroupCoordinator.close)
    assert closing.index("self._closing.set_result(None)") < closing.index("_coordination_task")
    # A version that names the instance: then follow_session needs no question of its own.
    assert HeartbeatRequest._CLASSES[-1].API_VERSION == 1


def test_whatever_ends_a_task_of_the_coordinator_is_told() -> None:
    """Raised there, it would end the coordinator, and the worker would wait without a group."""
    refused: list[Exception] = []

    async def on_refused(error: Exception) -> None:
        refused.append(error)

    async def scenario() -> None:
        closing = asyncio.get_running_loop().create_future()
        closing.set_result(None)
        none: Any = None
        coordinator: Any = SimpleNamespace(
            _send_req=none, reset_generation=none, _push_error_to_user=none, _closing=closing
        )
        consumer: Any = SimpleNamespace(_coordinator=coordinator)
        follow_session(consumer, GroupSession(timeout_s=1.0), none, on_refused)
        await coordinator._push_error_to_user(OSError("no route"))

    asyncio.run(scenario())
    assert [str(each) for each in refused] == ["no route"]


def test_stopping_a_producer_flushes_unless_its_sender_has_ended() -> None:
    # When aiokafka can stop without flushing, abort_producer can go.
    source = source_of(AIOKafkaProducer.stop)
    assert "create_task(self._message_accumulator.close()),\n" in source
    assert "self._sender.sender_task,\n" in source
    assert "return_when=asyncio.FIRST_COMPLETED" in source
    assert "self._sender_task.cancel()\n            await self._sender_task" in source_of(
        Sender.close
    )


def test_closing_a_fetcher_awaits_what_it_cancelled() -> None:
    # When aiokafka guards this await, stop_consumer can go.
    source = source_of(stock_fetcher.Fetcher.close)
    assert source.rstrip().endswith("x.cancel()\n            await x")
    assert "await self._client.close()" in source_of(stock_consumer.AIOKafkaConsumer.stop)


def test_client_tracks_topics() -> None:
    assert "return res" in source_of(AIOKafkaClient.set_topics)


def test_a_corrupt_fetch_fails_again_and_never_looks_finished() -> None:
    data = bytearray(record_batch([Record(delta=0)]))
    data[-1] ^= 1
    source = SlabSource(topics={"t"}, walk=RecordsWalk(max_batch_bytes=1 << 16))
    source.sought({TopicPartition("t", 0): 0})
    records = source.records(TopicPartition("t", 0), bytes(data), None, 0)
    for _ in range(2):
        with pytest.raises(Exception, match="CRC"):
            next(records)
    assert records.next_fetch_offset == 0


def test_fetch_before_the_seek_of_an_assignment_hands_out_nothing() -> None:
    source = SlabSource(topics={"t"}, walk=RecordsWalk(max_batch_bytes=1 << 16))
    tp = TopicPartition("t", 0)
    data = record_batch([Record(delta=0)])
    records = source.records(tp, data, None, 0)
    assert list(records) == []
    assert records.next_fetch_offset == 0
    source.sought({tp: 0})
    assert len(list(source.records(tp, data, None, 0))) == 1
    source.sought({})
    assert list(source.records(tp, data, None, 1)) == []


def test_position_moved_backwards_is_a_gap_unless_sought() -> None:
    source = SlabSource(topics={"t"}, walk=RecordsWalk(max_batch_bytes=1 << 16))
    tp = TopicPartition("t", 0)
    data = record_batch([Record(delta=0)])
    source.sought({tp: 7})
    with pytest.raises(LogGap, match="expected to read on at offset 7"):
        next(source.records(tp, data, None, 0))
    source.sought({tp: 0})
    assert next(source.records(tp, data, None, 0)).end == 1


# ---- Apache Kafka ----


async def produce(kafka: str, topic: str, values: Sequence[bytes | None], **options: Any) -> None:
    """Send values to partition 0 with keys and headers, in several batches."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, **options) as producer:
        for index, value in enumerate(values):
            key = b"key-%d" % index if index % 3 else None
            headers = [("h", b"1")] if index % 5 == 0 else []
            await producer.send(
                topic, value, key=key, partition=0, headers=headers, timestamp_ms=1_000 + index
            )
            if index % 17 == 0:
                await producer.flush()


async def read(
    kafka: str, topic: str, *, begin: int = 0, slabs: bool = True, **options: Any
) -> list[Any]:
    """Read partition 0 to its end: slabs, or aiokafka's records."""
    tp = TopicPartition(topic, 0)
    read: list[Any] = []
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
        **options,
    )
    async with consumer:
        if slabs:
            walk = RecordsWalk(max_batch_bytes=1 << 22)
            source = SlabSource(topics={topic}, walk=walk, needs_seek=False)
            hand_out_slabs(consumer, source)
        consumer.assign([tp])
        consumer.seek(tp, begin)
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            for batch in (await consumer.getmany(timeout_ms=1_000)).values():
                read.extend(batch)
    return read


def stock_rows(records: Sequence[Any]) -> list[Any]:
    return [(r.offset, r.timestamp, r.key, r.value, bool(r.headers)) for r in records]


def run(scenario: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(scenario, 90)

    return asyncio.run(bounded())


@pytest.mark.kafka
@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_slabs_equal_records_for_every_codec(
    kafka: str, topic: MakeTopic, codec: str | None
) -> None:
    name = topic("codec", 1)
    values = [b"value-%d " % i * 20 for i in range(100)]

    async def scenario() -> None:
        await produce(kafka, name, values, compression_type=codec, enable_idempotence=True)
        slabs = await read(kafka, name)
        assert [value for _, _, _, value, _ in rows(slabs)] == values
        assert rows(slabs) == stock_rows(await read(kafka, name, slabs=False))
        assert rows(await read(kafka, name, begin=63)) == rows(slabs)[63:]

    run(scenario())


@pytest.mark.kafka
@pytest.mark.parametrize("kind", ["LogAppendTime", "CreateTime"])
def test_timestamps_are_the_topics_kind(kafka: str, topic: MakeTopic, kind: str) -> None:
    name = topic("times", 1, {"message.timestamp.type": kind})

    async def scenario() -> list[Slab]:
        await produce(kafka, name, [b"a", b"b"])
        return await read(kafka, name)

    times = [time for _, time, *_ in rows(run(scenario()))]
    if kind == "CreateTime":
        assert times == [1_000, 1_001]
    else:
        assert min(times) > 10**12


@pytest.mark.kafka
def test_aborted_transactions_are_not_handed_out(kafka: str, topic: MakeTopic) -> None:
    name = topic("transactions", 1)

    async def scenario() -> list[Slab]:
        async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name) as producer:
            for value, commits in [(b"in", True), (b"out", False), (b"in again", True)]:
                await producer.begin_transaction()
                await producer.send_and_wait(name, value, partition=0)
                await (producer.commit_transaction() if commits else producer.abort_transaction())
        slabs: list[Slab] = []
        while not slabs or slabs[-1].end < 6:  # Markers follow answers; covered, they are no lag.
            slabs = await read(kafka, name)
        return slabs

    slabs = run(scenario())
    assert [(offset, value) for offset, _, _, value, _ in rows(slabs)] == [
        (0, b"in"),
        (4, b"in again"),
    ]


@pytest.mark.kafka
@pytest.mark.parametrize("fetch_bytes", [100, 1_000, 5_000])
def test_batches_cut_off_by_a_small_fetch_come_whole_with_the_next(
    kafka: str, topic: MakeTopic, fetch_bytes: int
) -> None:
    name = topic("small-fetches", 1)
    values = [b"v" * size for size in (10, 3_000, 50, 700, 20_000, 5)] * 3

    async def scenario() -> list[Slab]:
        await produce(kafka, name, values)
        return await read(kafka, name, max_partition_fetch_bytes=fetch_bytes)

    slabs = run(scenario())
    assert [value for _, _, _, value, _ in rows(slabs)] == values
    assert all(one.end == next_.begin for one, next_ in zip(slabs, slabs[1:], strict=False))


@pytest.mark.kafka
def test_truncated_log_shows_as_a_begin_above_what_was_wanted(kafka: str, topic: MakeTopic) -> None:
    name = topic("truncated", 1)

    async def scenario() -> list[Slab]:
        await produce(kafka, name, [b"%d" % i for i in range(10)])
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=6)})
        await admin.close()
        return await read(kafka, name, begin=2)

    slabs = run(scenario())
    assert slabs[0].begin == 6
    assert [offset for offset, *_ in rows(slabs)] == [6, 7, 8, 9]


@pytest.mark.kafka
def test_another_clients_records_read_the_same(kafka: str, topic: MakeTopic) -> None:
    from kafka import KafkaProducer

    name = topic("kafka-python", 1)
    with KafkaProducer(bootstrap_servers=kafka, compression_type="gzip") as producer:
        for index in range(50):
            key = None if index % 2 else b"key"
            producer.send(name, b"%d" % index, key=key, partition=0, headers=[("a", b"b")])
        producer.flush()
    slabs = run(read(kafka, name))
    assert rows(slabs) == stock_rows(run(read(kafka, name, slabs=False)))
    assert len(rows(slabs)) == 50


@pytest.mark.kafka
def test_topics_that_are_not_slabs_keep_records(kafka: str, topic: MakeTopic) -> None:
    name = topic("light", 1)

    async def scenario() -> None:
        await produce(kafka, name, [b"a", b"b"])
        tp = TopicPartition(name, 0)
        async with AIOKafkaConsumer(bootstrap_servers=kafka) as consumer:
            walk = RecordsWalk(max_batch_bytes=1 << 16)
            hand_out_slabs(consumer, SlabSource(topics=set(), walk=walk))
            consumer.assign([tp])
            consumer.seek(tp, 0)
            first = await consumer.getone()
            assert (first.value, first.offset) == (b"a", 0)

    run(scenario())


async def join(kafka: str, topic: str, group: str, **options: Any) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, group_id=group, session_timeout_ms=60_000, **options
    )
    await consumer.start()
    return consumer  # aiokafka's start ends once the group has joined.


@pytest.mark.kafka
@pytest.mark.parametrize("instance_id", [None, "one"])
@pytest.mark.parametrize("is_connected", [True, False])
def test_a_leaving_member_frees_its_partitions_at_once(
    kafka: str, topic: MakeTopic, instance_id: str | None, *, is_connected: bool
) -> None:
    name = topic("leaving", 1)

    async def scenario() -> None:
        first = await join(kafka, name, name, group_instance_id=instance_id)
        if not is_connected:
            for connection in list(first._client._conns.values()):
                connection.close()
        await leave_group(first)
        await first.stop()
        # Far below the session timeout of a minute: the group knows.
        second = await asyncio.wait_for(join(kafka, name, name), 20)
        await second.stop()

    run(scenario())


@pytest.mark.kafka
def test_a_request_of_ours_goes_over_a_consumers_connections(kafka: str, topic: MakeTopic) -> None:
    name = topic("asked", 1)

    async def scenario() -> dict[str, str]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
        with pytest.raises(NodeNotReadyError):
            await ask_any_broker(consumer, TopicIdRequest([name]))
        await consumer.start()
        try:
            return ids_in(await ask_any_broker(consumer, TopicIdRequest([name])))
        finally:
            await consumer.stop()

    assert run(scenario())[name]
