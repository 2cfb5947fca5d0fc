"""What must end a worker on the slab transport, with its reason and without false progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import RebalanceInProgressError
from aiokafka.protocol.group import JoinGroupRequest

from local.kafka import KafkaServer
from stream.errors import CorruptBatch, LogGap
from tests.consumers.kafka_calls import committed, numbers, produce, run, until
from tests.consumers.ledgers import MemoryLedger, make_app, running

pytestmark = pytest.mark.kafka

MakeTopic = Callable[..., str]


@pytest.mark.parametrize("begin", [9, 20])  # Of 20: nothing is left, and nothing comes.
def test_truncated_log_ends_the_worker(
    kafka: str, topic: MakeTopic, tmp_path: Path, begin: int
) -> None:
    name = topic("interactions", 1)

    async def scenario() -> None:
        await produce(kafka, name, numbers(0, 20))
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=begin)})
        await admin.close()
        ledger = MemoryLedger({(name, 0): (4, ())})
        async with running(make_app(kafka, name, ledger, tmp_path)) as task:
            await asyncio.wait({task})

    with pytest.raises(LogGap, match=f"wants offset 4, the log goes on at {begin}.* new group id"):
        run(scenario())


def test_recreated_topic_ends_the_worker(kafka: str, topic: MakeTopic, tmp_path: Path) -> None:
    name = topic("interactions", 1)

    async def scenario() -> None:
        await produce(kafka, name, numbers(0, 5))
        ledger = MemoryLedger({(name, 0): (1_000, ())})
        async with running(make_app(kafka, name, ledger, tmp_path)) as task:
            await asyncio.wait({task})

    with pytest.raises(LogGap, match=r"expected a log that reaches offset 1000, came \[0, 5\)"):
        run(scenario())


def test_topic_recreated_under_a_running_worker_ends_it(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("recreated", 1)

    async def scenario() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()

        async def is_gone() -> bool:
            return name not in await admin.list_topics()

        await produce(kafka, name, numbers(0, 50))
        ledger = MemoryLedger({})
        async with running(make_app(kafka, name, ledger, tmp_path)) as task:
            await ledger.until(lambda: len(ledger.all_values()) == 50)
            await admin.delete_topics([name])
            await until(is_gone)
            await admin.create_topics([NewTopic(name, 1, 1)])
            await produce(kafka, name, numbers(0, 5))
            await admin.close()
            await asyncio.wait({task})

    with pytest.raises(LogGap, match="expected .* offset 50"):
        run(scenario())


def test_batch_beyond_its_cap_ends_the_worker(kafka: str, topic: MakeTopic, tmp_path: Path) -> None:
    name = topic("interactions", 1)

    async def scenario() -> None:
        await produce(kafka, name, [bytes(100_000)], compression_type="gzip")
        ledger = MemoryLedger({})
        app = make_app(kafka, name, ledger, tmp_path, max_batch_bytes=10_000)
        async with running(app) as task:
            await asyncio.wait({task})

    with pytest.raises(CorruptBatch, match="at most 10000"):
        run(scenario())


def test_failing_agent_ends_the_worker_and_nothing_becomes_durable(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 1)
    ledgers: list[MemoryLedger] = []

    class FailingLedger(MemoryLedger):
        async def fold(self, slab: Any) -> None:
            await super().fold(slab)
            message = "the fold broke"
            raise ValueError(message)

    async def scenario() -> None:
        await produce(kafka, name, numbers(0, 5))
        ledger = FailingLedger({})
        ledgers.append(ledger)
        async with running(make_app(kafka, name, ledger, tmp_path)) as task:
            await asyncio.wait({task})

    with pytest.raises(ValueError, match="the fold broke"):
        run(scenario())
    assert [call for call, _ in ledgers[0].calls] == ["retain", "restore"]
    assert run(committed(kafka, f"group-{name}")) == {}


@pytest.mark.parametrize("call", ["retain", "restore"])
def test_failing_ledger_ends_the_worker(
    kafka: str, topic: MakeTopic, tmp_path: Path, call: str
) -> None:
    name = topic("interactions", 1)

    async def fail(partitions: set[tuple[str, int]]) -> None:
        message = f"{call} broke"
        raise OSError(message)

    async def scenario() -> None:
        ledger = MemoryLedger({})
        setattr(ledger, call, fail)
        async with running(make_app(kafka, name, ledger, tmp_path)) as task:
            await asyncio.wait({task})

    with pytest.raises(OSError, match=f"{call} broke"):
        run(scenario())


def test_failing_release_on_revoke_ends_the_worker(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 2)

    class FailingLedger(MemoryLedger):
        async def release(self, partitions: set[tuple[str, int]]) -> None:
            message = "the snapshot store is full"
            raise OSError(message)

    async def scenario() -> None:
        first, second = FailingLedger({}), MemoryLedger({})
        async with running(make_app(kafka, name, first, tmp_path / "1")) as task:
            await first.until(lambda: bool(first.calls))
            async with running(make_app(kafka, name, second, tmp_path / "2")):
                await asyncio.wait({task})
                # The other worker goes on with everything.
                await second.until(lambda: len(second.values) == 2)

    with pytest.raises(OSError, match="store is full"):
        run(scenario())


def test_worker_survives_a_broker_restart(
    kafka_server: Callable[..., KafkaServer], tmp_path: Path
) -> None:
    server = kafka_server()

    async def scenario() -> MemoryLedger:
        await create(server.bootstrap, "interactions")
        ledger = MemoryLedger({})
        async with running(make_app(server.bootstrap, "interactions", ledger, tmp_path)):
            await produce(server.bootstrap, "interactions", numbers(0, 10))
            await ledger.until(lambda: len(ledger.all_values()) == 10)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await produce(server.bootstrap, "interactions", numbers(10, 20))
            await ledger.until(lambda: len(ledger.all_values()) >= 20)
        return ledger

    assert run(scenario()).all_values() == numbers(0, 20)


def test_worker_stops_while_the_broker_is_away(
    kafka_server: Callable[..., KafkaServer], tmp_path: Path
) -> None:
    server = kafka_server()
    ledgers: list[MemoryLedger] = []

    async def scenario() -> None:
        await create(server.bootstrap, "interactions")
        ledger = MemoryLedger({})
        ledgers.append(ledger)
        async with running(make_app(server.bootstrap, "interactions", ledger, tmp_path)):
            await produce(server.bootstrap, "interactions", numbers(0, 10))
            await ledger.until(lambda: len(ledger.all_values()) == 10)
            await asyncio.to_thread(server.kill)

    run(scenario())
    # What was released is durable although it could not be committed.
    assert ledgers[0].store[("interactions", 0)][0] == 10


def test_a_join_that_passing_trouble_refuses_is_tried_again(
    kafka: str, topic: MakeTopic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka answers a join with "rebalance in progress" where a replica was too slow to note it."""
    name, send = topic("interactions", 1), GroupCoordinator._send_req
    joins: list[int] = []

    async def send_req(coordinator: GroupCoordinator, request: Any) -> Any:
        answer = await send(coordinator, request)
        if isinstance(request, JoinGroupRequest) and not answer.error_code:
            joins.append(len(joins))
            answer.error_code = 0 if len(joins) > 1 else RebalanceInProgressError.errno
        return answer

    monkeypatch.setattr(GroupCoordinator, "_send_req", send_req)

    async def scenario() -> list[bytes | None]:
        ledger = MemoryLedger({})
        async with running(make_app(kafka, name, ledger, tmp_path)):
            await produce(kafka, name, numbers(0, 10))
            await ledger.until(lambda: len(ledger.all_values()) == 10)
        return ledger.all_values()

    assert run(scenario()) == numbers(0, 10) and len(joins) > 1


async def create(kafka: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()
