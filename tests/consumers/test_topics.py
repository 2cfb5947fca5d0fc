"""Topics are made as the contract says, and what exists is checked, never altered."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest

from consumers.topic_specs import (
    MAX_SEGMENT_BYTES,
    WEEK_MS,
    TopicFinding,
    TopicSpec,
    topic_specs,
)
from consumers.topics import TopicReport, check_topics, ensure_topics
from stream.errors import ConfigurationError, ServerUnreachable
from stream.settings import TopicSettings


def fresh_specs() -> tuple[TopicSpec, ...]:
    tag = uuid.uuid4().hex[:8]
    return topic_specs(
        TopicSettings(
            interactions=f"interactions-{tag}",
            items=f"items-{tag}",
            item_deltas=f"deltas-{tag}",
            item_signals=f"signals-{tag}",
            dead_letters=f"dead-{tag}",
            partitions=3,
            item_partitions=2,
        )
    )


@pytest.mark.kafka
def test_missing_topics_are_made_and_then_fit(kafka: str) -> None:
    specs = fresh_specs()
    first = asyncio.run(ensure_topics(kafka, specs))
    second = asyncio.run(ensure_topics(kafka, specs))
    assert first == TopicReport(created=tuple(spec.name for spec in specs), findings=())
    assert second == TopicReport(created=(), findings=())
    assert asyncio.run(check_topics(kafka, specs)) == ()


@pytest.mark.kafka
def test_two_processes_may_make_the_same_topics_at_once(kafka: str) -> None:
    specs = fresh_specs()

    async def both() -> list[TopicReport]:
        return await asyncio.gather(ensure_topics(kafka, specs), ensure_topics(kafka, specs))

    assert all(report.findings == () for report in asyncio.run(both()))
    assert asyncio.run(check_topics(kafka, specs)) == ()


@pytest.mark.kafka
def test_each_difference_is_a_finding_with_its_weight(
    kafka: str, topic: Callable[..., str]
) -> None:
    name = topic(
        "interactions",
        num_partitions=2,
        configs={
            "message.timestamp.type": "CreateTime",
            "cleanup.policy": "compact",
            "retention.ms": "1000",
        },
    )
    spec = TopicSpec(
        name=name, num_partitions=4, timestamp_type="LogAppendTime", retention_ms=WEEK_MS
    )
    report = asyncio.run(ensure_topics(kafka, [spec]))
    assert report.created == ()
    assert [(f.aspect, f.expected, f.found, f.is_fatal) for f in report.findings] == [
        ("partitions", "4", "2", True),
        ("cleanup_policy", "delete", "compact", True),
        ("timestamp_type", "LogAppendTime", "CreateTime", False),
        ("retention", f"of at least {WEEK_MS} ms", "1000 ms", False),
    ]
    with pytest.raises(ConfigurationError, match="expected partitions 4, found 2"):
        report.raise_if_fatal()


@pytest.mark.kafka
def test_what_a_start_reads_whole_is_compacted_soon(kafka: str, topic: Callable[..., str]) -> None:
    """Kafka never compacts the segment it writes to: of 1 GiB a start would read all of that."""
    tables = [spec for spec in fresh_specs() if spec.cleanup_policy == "compact"]
    asyncio.run(ensure_topics(kafka, tables))
    assert [each.all_configs() for each in tables] == [
        {
            "cleanup.policy": "compact",
            "segment.bytes": str(MAX_SEGMENT_BYTES),
            "min.cleanable.dirty.ratio": "0.2",
        }
    ] * 2
    assert asyncio.run(check_topics(kafka, tables)) == ()
    old = replace(
        tables[0], name=topic("old", num_partitions=1, configs={"cleanup.policy": "compact"})
    )
    (finding,) = asyncio.run(ensure_topics(kafka, [old])).findings
    assert (finding.aspect, finding.found, finding.is_fatal) == (
        "segment_size",
        "1073741824 bytes",
        False,
    )


@pytest.mark.kafka
def test_check_makes_nothing(kafka: str) -> None:
    specs = fresh_specs()
    for _ in range(2):
        findings = asyncio.run(check_topics(kafka, specs))
        assert [finding.aspect for finding in findings] == ["missing"] * len(specs)


@pytest.mark.kafka
def test_a_refused_topic_says_why(kafka: str) -> None:
    spec = TopicSpec(name=f"t-{uuid.uuid4().hex}", num_partitions=1, replication_factor=7)
    with pytest.raises(ConfigurationError, match="refused: .*replication factor"):
        asyncio.run(ensure_topics(kafka, [spec]))


@pytest.mark.kafka
def test_settings_that_kafka_refuses_and_nobody_needs_are_left_out(
    kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Hosted Kafka takes some settings only; a slower start is no reason for none."""
    spec = TopicSpec(
        name=f"t-{uuid.uuid4().hex}",
        num_partitions=1,
        cleanup_policy="compact",
        max_segment_bytes=MAX_SEGMENT_BYTES,
        configs={"min.cleanable.dirty.ratio": "7"},
    )
    assert asyncio.run(ensure_topics(kafka, [spec])).created == (spec.name,)
    assert "asked for without min.cleanable.dirty.ratio, segment.bytes" in caplog.text
    (finding,) = asyncio.run(check_topics(kafka, [spec]))
    assert finding.aspect == "segment_size"


def test_no_broker_is_server_unreachable(free_port: Callable[[], int]) -> None:
    brokers = f"127.0.0.1:{free_port()}"
    with pytest.raises(ServerUnreachable, match=f"expected Kafka at {brokers}"):
        asyncio.run(ensure_topics(brokers, fresh_specs(), timeout_s=2.0))


def test_a_warning_alone_does_not_raise() -> None:
    warning = TopicFinding(
        topic="t", aspect="retention", expected="2", found="1", is_fatal=False, advice="alter it"
    )
    TopicReport(created=(), findings=(warning,)).raise_if_fatal()
    assert str(warning) == "topic t: expected retention 2, found 1: alter it"
