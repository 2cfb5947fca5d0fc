"""Each private member that faust_private uses; fails when an upgrade changes one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.exceptions import ConsumerNotStarted
from faust.tables import TableManager
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.drivers import aiokafka as stock_driver

from consumers import faust_private

MakeTopic = Callable[..., str]


def source_of(function: Any) -> str:
    return inspect.getsource(function)


def test_a_thread_that_ended_first_is_no_error_at_a_stop() -> None:
    assert "call_soon_threadsafe(self._stopped.set)" in source_of(
        stock_driver.AIOKafkaConsumerThread._stopped_set
    )
    loop = asyncio.new_event_loop()
    thread = faust_private.SlabThread.__new__(faust_private.SlabThread)
    thread.thread_loop, thread._stopped = loop, asyncio.Event()
    loop.close()
    thread._stopped_set()


@pytest.mark.parametrize("crashed", ["app", "consumer"])
def test_nothing_is_committed_at_the_stop_of_what_crashed(crashed: str) -> None:
    assert "await self.commit_and_end_transactions()" in source_of(FaustConsumer.on_stop)
    assert "self.commit(start_new_transaction=False)" in source_of(
        FaustConsumer.commit_and_end_transactions
    )

    class Committed(Exception):
        pass

    class Stopping(faust_private.SlabConsumer):
        crashed = False

        def __init__(self) -> None:
            self.app = SimpleNamespace(crashed=False)

        async def commit(self, **_: Any) -> bool:
            raise Committed

    consumer = Stopping()
    with pytest.raises(Committed):
        asyncio.run(consumer.commit_and_end_transactions())
    if crashed == "app":
        consumer.app.crashed = True
    else:
        consumer.crashed = True
    asyncio.run(consumer.commit_and_end_transactions())


def test_a_stop_before_anything_was_read_commits_nothing() -> None:
    class Stopping(faust_private.SlabConsumer):
        crashed = False

        def __init__(self) -> None:
            self.app = SimpleNamespace(crashed=False)

        async def commit(self, **_: Any) -> bool:
            raise ConsumerNotStarted

    asyncio.run(Stopping().commit_and_end_transactions())


def test_what_faust_does_about_its_tables_at_a_start_is_done_without_its_second() -> None:
    # When Faust's own sleeps no more, NoTables can go.
    theirs = source_of(TableManager.on_start).splitlines()
    assert [line.strip() for line in theirs[2:]] == [
        "await self.sleep(1.0)",
        "if not self.should_stop:",
        "await self._update_channels()",
        "await self.recovery.start()",
    ]


def test_driver_builds_its_consumer_in_one_place_before_subscribing() -> None:
    thread = stock_driver.AIOKafkaConsumerThread
    assert "return self._create_worker_consumer(transport)" in source_of(thread._create_consumer)
    assert "self._consumer = self._create_consumer" in source_of(thread.on_start)
    assert "subscribe" not in source_of(thread.on_start)
    assert "self._consumer.stop()" in source_of(thread.on_thread_stop)
    assert "raise ConsumerNotStarted" in source_of(thread._ensure_consumer)


def test_driver_makes_its_thread_through_the_overridden_method() -> None:
    assert hasattr(stock_driver.Consumer, "_new_consumer_thread")


def test_perform_seek_asks_the_overridden_seek() -> None:
    assert "await self.seek_to_committed()" in source_of(FaustConsumer.perform_seek)


@pytest.mark.parametrize(
    ("caller", "called"),
    [
        ("force_commit", "self._filter_tps_with_pending_acks(topics)"),
        ("_filter_committable_offsets", "self._new_offset(tp)"),
        ("_filter_committable_offsets", "self._should_commit(tp, offset)"),
        ("_commit_tps", "self._commit_offsets("),
        ("_commit_offsets", "self._commit(committable_offsets)"),
        ("_drain_messages", "self._add_gap(tp, r_offset + 1, offset)"),
        ("getmany", "to_message = self._to_message"),
        ("ack", "self._acked[tp]"),
        ("ack", "self._acked_index[tp]"),
        ("ack", "self._unacked_messages.discard(message)"),
    ],
)
def test_faust_commits_through_the_overridden_methods(caller: str, called: str) -> None:
    assert called in source_of(getattr(FaustConsumer, caller))


def test_overrides_keep_the_signatures() -> None:
    for name in (
        "_new_offset",
        "_add_gap",
        "_should_commit",
        "_commit_offsets",
        "_to_message",
        "_filter_tps_with_pending_acks",
        "ack",
    ):
        ours = inspect.signature(getattr(faust_private.SlabConsumer, name))
        theirs = inspect.signature(getattr(stock_driver.Consumer, name))
        assert list(ours.parameters) == list(theirs.parameters), name


def test_commit_retries_without_end_while_no_coordinator_answers() -> None:
    # When aiokafka bounds this loop, SlabThread._commit can go.
    source = source_of(GroupCoordinator.commit_offsets)
    assert "while True:\n            await self.ensure_coordinator_known()" in source
    thread = stock_driver.AIOKafkaConsumerThread
    assert "call_thread(self._commit, offsets)" in source_of(thread.commit)
    assert "await consumer.commit(aiokafka_offsets)" in source_of(thread._commit)
    # When aiokafka reads what a shielded commit fails with, read_late_failures can go.
    assert "asyncio.shield(self._do_commit_offsets(assignment, offsets))" in source


def test_versions_are_the_ones_that_were_read() -> None:
    # On an upgrade: read the members named in this file again, then change this line.
    assert version("faust-streaming") == "0.15.3"
    assert version("mode-streaming") == "0.7.1"
