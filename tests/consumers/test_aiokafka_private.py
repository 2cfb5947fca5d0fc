"""Private members that aiokafka_private uses: an upgrade may fail these."""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import consumer as stock_consumer
from aiokafka.consumer import fetcher as stock_fetcher
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.producer.sender import Sender
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.record.memory_records import MemoryRecords

from consumers import aiokafka_private
from consumers.aiokafka_private import (
    SlabSource,
    follow_session,
)
from consumers.group_session import GroupSession
from consumers.records import RecordsWalk
from stream.errors import LogGap
from tests.consumers.batches import Record, record_batch

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
