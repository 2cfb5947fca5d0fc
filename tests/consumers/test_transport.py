"""The slab transport under Faust on Apache Kafka: offsets, restore, release, seek, crash, leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from consumers.faust_app import create_app
from consumers.transport import Consumer, Transport
from stream.slab import Slab
from tests.consumers.kafka_calls import committed, members, numbers, produce, run, until
from tests.consumers.ledgers import MemoryLedger, Store, make_app, running

pytestmark = pytest.mark.kafka

MakeTopic = Callable[..., str]


def test_slab_url_is_this_transport(tmp_path: Path) -> None:
    ledger = MemoryLedger({})
    app = create_app(brokers="a:1,b:2", group="g", topics=["t"], ledger=ledger, data_dir=tmp_path)
    assert isinstance(app.transport, Transport)
    assert [(url.host, url.port) for url in app.transport.url] == [("a", 1), ("b", 2)]
    assert app.slab_topics == {"t"}
    assert not app.conf.web_enabled


def test_every_record_arrives_once_and_in_order(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 4)

    async def scenario() -> MemoryLedger:
        await produce(kafka, name, numbers(0, 500))
        ledger = MemoryLedger({})
        async with running(make_app(kafka, name, ledger, tmp_path)):
            await ledger.until(lambda: len(ledger.all_values()) >= 500)
            await produce(kafka, name, numbers(500, 1000), compression_type="zstd")
            await ledger.until(lambda: len(ledger.all_values()) >= 1000)
        return ledger

    ledger = run(scenario())
    assert ledger.all_values() == numbers(0, 1000)
    for values in ledger.values.values():
        assert values == sorted(values, key=repr)


def test_few_slabs_wait_for_an_agent_that_is_busy(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 1)
    num_records = 60

    async def scenario() -> int:
        ledger = MemoryLedger({})
        entered, leave = asyncio.Event(), asyncio.Event()
        fold = ledger.fold

        async def fold_later(slab: Slab) -> None:
            entered.set()
            await leave.wait()
            await fold(slab)

        ledger.fold = fold_later  # type: ignore[method-assign]
        app = make_app(kafka, name, ledger, tmp_path)
        async with running(app):
            await produce(kafka, name, numbers(0, 1))
            await entered.wait()
            for value in numbers(1, num_records):  # One fetch for each, where none is held back.
                await produce(kafka, name, [value])
            leave.set()
            await ledger.until(lambda: len(ledger.all_values()) == num_records)
        return len(ledger.slabs)

    # One with the agent, two in its queue, one on the way there, one fetched, one with the rest.
    assert run(scenario()) <= 6


def test_only_durable_offsets_are_committed(kafka: str, topic: MakeTopic, tmp_path: Path) -> None:
    name = topic("interactions", 1)

    async def scenario() -> tuple[dict[int, int], ...]:
        ledger = MemoryLedger({})
        ledger.snapshot_on_release = False
        app = make_app(kafka, name, ledger, tmp_path)
        async with running(app):
            await produce(kafka, name, numbers(0, 20))
            await ledger.until(lambda: len(ledger.all_values()) == 20)
            await app.consumer.commit()
            before = await committed(kafka, app.conf.id)
            ledger.snapshot((name, 0))
            await produce(kafka, name, numbers(20, 30))
            await ledger.until(lambda: len(ledger.all_values()) == 30)
            await until(lambda: has_committed(app.conf.id))
        return before, await committed(kafka, app.conf.id)

    async def has_committed(group: str) -> bool:
        return bool(await committed(kafka, group))

    before, after = run(scenario())
    assert before == {}
    assert after == {0: 20}


def test_restart_reads_on_where_the_state_is(kafka: str, topic: MakeTopic, tmp_path: Path) -> None:
    name = topic("interactions", 2)

    async def scenario() -> MemoryLedger:
        store: Store = {}
        await produce(kafka, name, numbers(0, 40))
        first = MemoryLedger(store)
        async with running(make_app(kafka, name, first, tmp_path)) as _:
            await first.until(lambda: len(first.all_values()) == 40)
        # The state is ahead of what is committed for partition 0, and behind it for partition 1.
        offset, values = store[(name, 1)]
        store[(name, 1)] = (offset - 3, values[:-3])
        second = MemoryLedger(store)
        async with running(make_app(kafka, name, second, tmp_path)):
            await produce(kafka, name, numbers(40, 60))
            await second.until(lambda: len(second.all_values()) >= 60)
        begins = {slab.partition: slab.begin for slab in reversed(second.slabs)}
        assert begins[1] == offset - 3
        return second

    assert run(scenario()).all_values() == numbers(0, 60)


def test_clean_stop_commits_what_release_made_durable_and_leaves(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 1)

    async def scenario() -> None:
        ledger = MemoryLedger({})
        app = make_app(kafka, name, ledger, tmp_path, instance_id="worker-1")
        async with running(app):
            await produce(kafka, name, numbers(0, 7))
            await ledger.until(lambda: len(ledger.all_values()) == 7)
            assert await members(kafka, app.conf.id) == 1
        assert await committed(kafka, app.conf.id) == {0: 7}
        assert await members(kafka, app.conf.id) == 0  # Although it was a static member.

    run(scenario())


def test_no_slab_arrives_before_restore_has_ended(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 2)

    async def scenario() -> None:
        await produce(kafka, name, numbers(0, 50))
        entered, leave = asyncio.Event(), asyncio.Event()

        class SlowLedger(MemoryLedger):
            async def restore(self, partitions: set[tuple[str, int]]) -> None:
                entered.set()
                await leave.wait()
                await super().restore(partitions)

        ledger = SlowLedger({})
        app = make_app(kafka, name, ledger, tmp_path)
        async with running(app):
            await entered.wait()
            # The broker has records for us and answers; none of them is handed out.
            for _ in range(3):
                assert await members(kafka, app.conf.id) == 1
                assert ledger.slabs == []
            leave.set()
            await ledger.until(lambda: len(ledger.all_values()) == 50)
        assert [call for call, _ in ledger.calls] == ["retain", "restore", "release"]

    run(scenario())


def test_two_workers_share_partitions_and_hand_over(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 4)

    async def scenario() -> Store:
        store: Store = {}
        first, second = MemoryLedger(store), MemoryLedger(store)

        def total() -> int:
            return len(first.all_values()) + len(second.all_values())

        async def is_shared() -> bool:
            return len(first.next) == len(second.next) == 2

        async def has_200() -> bool:
            return total() == 200

        async with running(make_app(kafka, name, first, tmp_path / "1")):
            await produce(kafka, name, numbers(0, 100))
            await first.until(lambda: total() == 100)
            async with running(make_app(kafka, name, second, tmp_path / "2")):
                await until(is_shared)
                await produce(kafka, name, numbers(100, 200))
                await second.until(lambda: bool(second.slabs))
                await until(has_200)
                assert set(first.next) | set(second.next) == {(name, p) for p in range(4)}
            await first.until(lambda: len(first.next) == 4)
            await produce(kafka, name, numbers(200, 300))
            await first.until(lambda: len(first.all_values()) >= 300)
        assert await committed(kafka, f"group-{name}") == {
            partition: offset for (_, partition), (offset, _) in store.items()
        }
        return store

    store = run(scenario())
    assert sorted(v for _, values in store.values() for v in values if v) == numbers(0, 300)


def test_retained_partitions_are_not_read_again_after_a_rebalance(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 2)

    async def scenario() -> None:
        store: Store = {}
        first = MemoryLedger(store)
        first.snapshot_on_release = False  # Nothing is ever committed.
        async with running(make_app(kafka, name, first, tmp_path / "1")):
            await produce(kafka, name, numbers(0, 100))
            await first.until(lambda: len(first.all_values()) == 100)
            second = MemoryLedger(store)
            async with running(make_app(kafka, name, second, tmp_path / "2")):
                await second.until(lambda: bool(second.slabs))
                (kept,) = first.next
                wanted = first.next[kept]
                seen = len(first.slabs)
                await produce(kafka, name, numbers(100, 160))
                await first.until(lambda: len(first.slabs) > seen)
                assert first.slabs[seen].begin == wanted

    run(scenario())


def test_worker_without_a_partition_takes_over_when_the_other_leaves(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 1)

    async def scenario() -> list[bytes | None]:
        store: Store = {}
        first, second = MemoryLedger(store), MemoryLedger(store)
        async with running(make_app(kafka, name, first, tmp_path / "1")):
            await produce(kafka, name, numbers(0, 10))
            await first.until(lambda: len(first.all_values()) == 10)
            async with running(make_app(kafka, name, second, tmp_path / "2")):
                await second.until(lambda: bool(second.calls))
        async with running(make_app(kafka, name, second, tmp_path / "2")):
            await produce(kafka, name, numbers(10, 20))
            await second.until(lambda: len(second.all_values()) == 20)
        return second.all_values()

    assert run(scenario()) == numbers(0, 20)


def test_static_member_comes_back_under_its_name(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 2)

    async def scenario() -> list[bytes | None]:
        store: Store = {}
        for begin in (0, 10, 20):
            ledger = MemoryLedger(store)
            async with running(make_app(kafka, name, ledger, tmp_path, instance_id="worker-1")):
                await produce(kafka, name, numbers(begin, begin + 10))
                await ledger.until(lambda: len(ledger.all_values()) == begin + 10)  # noqa: B023
        return ledger.all_values()

    assert run(scenario()) == numbers(0, 30)


def test_transaction_markers_do_not_leave_lag(kafka: str, topic: MakeTopic, tmp_path: Path) -> None:
    name = topic("interactions", 1)

    async def scenario() -> MemoryLedger:
        async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(name, b"in", partition=0)
            await producer.commit_transaction()
            await producer.begin_transaction()
            await producer.send_and_wait(name, b"out", partition=0)
            await producer.abort_transaction()
        ledger = MemoryLedger({})
        async with running(make_app(kafka, name, ledger, tmp_path)):
            # Two records and two markers: the last slab is empty and still moves the offset.
            await ledger.until(lambda: ledger.next.get((name, 0), 0) == 4)
        return ledger

    assert run(scenario()).all_values() == [b"in"]


def test_light_topic_beside_a_slab_topic_keeps_messages(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name, light = topic("interactions", 1), topic("light", 1)

    async def scenario() -> list[bytes]:
        ledger = MemoryLedger({})
        app = make_app(kafka, name, ledger, tmp_path)
        seen: list[bytes] = []

        @app.agent(app.topic(light, value_type=bytes))
        async def read(stream: Any) -> None:
            async for value in stream:
                seen.append(value)
                await ledger.touch()

        async with running(app):
            await produce(kafka, light, numbers(0, 9))
            await produce(kafka, name, numbers(0, 9))
            await ledger.until(lambda: len(seen) == 9 and len(ledger.all_values()) == 9)
        assert (await committed(kafka, app.conf.id)).keys() == {0}
        return seen

    assert run(scenario()) == numbers(0, 9)


def test_full_queue_does_not_take_a_slab_partition_out(tmp_path: Path) -> None:
    ledger = MemoryLedger({})
    app = create_app(
        brokers="127.0.0.1:1", group="g", topics=["hot"], ledger=ledger, data_dir=tmp_path
    )
    consumer = app.consumer
    assert isinstance(consumer, Consumer)
    active = {TP("hot", 0), TP("light", 0)}
    consumer._set_active_tps(active)
    for tp in active:
        consumer.on_buffer_full(tp)
    assert consumer._get_active_partitions() == {TP("hot", 0)}
