"""The lease: by an invented clock, and on Apache Kafka with two workers of one name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from consumers.faust_app import run_app
from consumers.group_session import GroupSession, Silence, now_s
from consumers.leased_write import LeasedWrite
from consumers.sink_replies import Reply, WriteReport
from stream.candidates import RecommendationBatch
from stream.errors import FencedInstanceId
from tests.consumers.kafka_calls import members, numbers, produce, run
from tests.consumers.ledgers import MemoryLedger, Store, make_app, running

MakeTopic = Callable[..., str]


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def lists_of(num_users: int) -> RecommendationBatch:
    """Return so many empty lists."""
    return RecommendationBatch(
        partition=0,
        next_offset=1,
        user_ids=tuple(b"u%d" % number for number in range(num_users)),
        user_rows=np.arange(num_users, dtype=np.int32),
        events_to_ms=np.zeros(num_users, np.int64),
        now_ms=np.zeros(num_users, np.int64),
        splits=np.zeros(num_users + 1, np.int64),
        item_ids=(),
        item_rows=np.empty(0, np.int32),
        scores=np.empty(0, np.float32),
        ranks=np.empty((0, 7), np.uint16),
        heads=np.empty((0, 0), np.float32),
        model="fusion",
        model_sequence=0,
    )


def test_the_lease_runs_from_when_the_heartbeat_was_sent() -> None:
    #   sent      answered          over
    #   [100------101---------------106)
    clock = Clock()
    session = GroupSession(timeout_s=6.0, now_s=clock)
    assert session.why_over() == "this worker is no member of its group now"
    clock.s = 101.0
    session.renew(100.0)
    clock.s = 105.9
    assert session.why_over() is None
    clock.s = 106.0
    assert "not answered a heartbeat for 6.0 s" in (session.why_over() or "")
    session.renew(105.0)
    assert session.why_over() is None


def test_the_lease_ends_at_once_when_the_group_does_not_know_us() -> None:
    clock = Clock()
    session = GroupSession(timeout_s=6.0, now_s=clock)
    session.renew(clock.s)
    session.end()
    assert session.why_over() is not None


def test_silence_counts_from_the_last_news_and_not_what_we_slept_ourselves() -> None:
    #   looks:  0   1   2   3        1000  1001
    #   news:   a   a   b   b         b     b      sums: 0 1 0 1 6 7
    silence = Silence(max_step_s=5.0)
    looks = [(0.0, "a"), (1.0, "a"), (2.0, "b"), (3.0, "b"), (1_000.0, "b"), (1_001.0, "b")]
    found = [silence.observe(news, at_s) for at_s, news in looks]
    assert found == [0.0, 1.0, 0.0, 1.0, 6.0, 7.0]


def test_the_clock_only_goes_forward() -> None:
    assert now_s() <= now_s()


def test_without_a_lease_no_list_is_written_and_all_are_reported_as_not_written() -> None:
    written: list[int] = []

    async def write(batch: RecommendationBatch, *, generated_at_ms: int) -> WriteReport:
        written.append(len(batch))
        return WriteReport.of([Reply.ACCEPTED] * len(batch))

    reasons: list[str | None] = ["paused", None]
    leased = LeasedWrite(write, why_over=lambda: reasons.pop(0))
    batch = lists_of(2)

    async def scenario() -> tuple[WriteReport, WriteReport]:
        return (
            await leased(batch, generated_at_ms=1),
            await leased(batch, generated_at_ms=1),
        )

    refused, accepted = asyncio.run(scenario())
    assert refused.error == "paused" and refused.counts == {"fenced": 2}
    assert not refused.is_answered.any() and refused.is_outage
    assert accepted.counts == {"accepted": 2} and written == [2] and leased.num_fenced == 2


@pytest.mark.kafka
def test_of_two_workers_of_one_name_the_older_ends_and_the_newer_goes_on(
    kafka: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic("interactions", 2)

    async def scenario() -> list[bytes | None]:
        store: Store = {}
        first, second = MemoryLedger(store), MemoryLedger(store)
        older = make_app(kafka, name, first, tmp_path / "1", instance_id="twin")
        newer = make_app(kafka, name, second, tmp_path / "2", instance_id="twin")
        task = asyncio.create_task(run_app(older))
        await first.until(lambda: bool(first.calls))
        async with running(newer):
            with pytest.raises(FencedInstanceId, match=r"instance id 'twin' .*INSTANCE_ID of its"):
                await task
            assert newer.session.why_over() is None and older.session.why_over() is not None
            await produce(kafka, name, numbers(0, 20))
            await second.until(lambda: len(second.all_values()) == 20)
            assert await members(kafka, newer.conf.id) == 1
        return second.all_values()

    assert run(scenario()) == numbers(0, 20)
