"""The doctor on a real cluster: Kafka down, topics, timestamp types, groups; fault and cure."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.structs import OffsetAndMetadata
from typer.testing import CliRunner

from consumers.commands import app
from consumers.configuration import load_settings
from consumers.doctor import examine
from consumers.doctor_kafka import judge_replication, look_at_kafka
from consumers.findings import Finding
from consumers.topic_specs import topic_specs
from consumers.topics import ensure_topics
from local.redis import RedisServer
from stream.settings import Settings

WAIT_S = 30.0


def settings_of(tag: str, *overrides: str) -> Settings:
    return load_settings(
        [
            f"topics.interactions=interactions-{tag}",
            f"topics.items=items-{tag}",
            f"topics.item_deltas=deltas-{tag}",
            f"topics.item_signals=signals-{tag}",
            f"topics.dead_letters=dead-{tag}",
            "topics.partitions=2",
            "topics.item_partitions=2",
            f"worker.group=group-{tag}",
            *overrides,
        ]
    )


def look(brokers: str | None, settings: Settings, timeout_s: float = WAIT_S) -> dict[str, Finding]:
    found = asyncio.run(look_at_kafka(settings, brokers, timeout_s=timeout_s))
    return {each.check: each for each in found}


@pytest.fixture
def tag() -> str:
    return uuid.uuid4().hex[:8]


def make_topics(kafka: str, settings: Settings) -> None:
    asyncio.run(ensure_topics(kafka, topic_specs(settings.topics)))


def commit(kafka: str, settings: Settings, offsets: dict[int, int]) -> None:
    """Commit offsets of interactions to the group, as a worker that then ended."""
    consumer = KafkaConsumer(
        bootstrap_servers=kafka, group_id=settings.worker.group, enable_auto_commit=False
    )
    name = settings.topics.interactions
    consumer.assign([TopicPartition(name, partition) for partition in offsets])
    consumer.commit(
        {
            TopicPartition(name, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
        }
    )
    consumer.close()


def produce(kafka: str, topic: str, partition: int, count: int) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka)
    for _ in range(count):
        producer.send(topic, b"{}", partition=partition)
    producer.flush()
    producer.close()


def test_kafka_down_is_one_finding(free_port: Callable[[], int]) -> None:
    settings = load_settings(())
    (found,) = look(f"127.0.0.1:{free_port()}", settings, timeout_s=1.0).values()
    assert (found.check, found.status) == ("kafka.reachable", "fail")
    assert "nothing listens at 127.0.0.1:" in found.text
    assert "start it" in found.advice and "HEADWATER_KAFKA" in found.advice
    (unset,) = look(None, settings).values()
    assert unset.status == "fail" and "headwater up" in unset.advice


def test_one_copy_on_a_cluster_is_a_risk_and_on_one_broker_all_there_can_be() -> None:
    assert judge_replication(1, 1) == judge_replication(3, 3) == judge_replication(2, 2) == []
    for brokers, wanted in ((2, 2), (3, 3), (9, 3)):
        (found,) = judge_replication(brokers, 1)
        assert found.status == "warn" and f"{brokers} brokers" in found.text
        assert f"HEADWATER_TOPICS__REPLICATION={wanted} " in found.advice


@pytest.mark.redis
def test_redis_in_kafkas_place_is_named_in_one_line(
    redis_server: Callable[..., RedisServer],
) -> None:
    server = f"127.0.0.1:{redis_server().port}"  # It never answers Kafka's client.
    (found,) = look(server, load_settings(()), timeout_s=0.5).values()
    assert (found.check, found.status) == ("kafka.reachable", "fail")
    assert (
        found.text == f"Kafka at {server} does not answer ({server}: a Redis server answers there)"
    )
    assert "HEADWATER_KAFKA" in found.advice


@pytest.mark.kafka
def test_a_fresh_cluster_misses_topics_that_a_worker_makes(kafka: str, tag: str) -> None:
    settings = settings_of(tag)
    found = look(kafka, settings)
    assert found["kafka.topic.missing"].status == "warn"
    assert found["kafka.group"].status == "info"
    make_topics(kafka, settings)
    found = look(kafka, settings)
    assert {each.status for each in found.values()} == {"ok", "info"}
    assert "broker(s)" in found["kafka.reachable"].text
    assert "3." in found["kafka.version"].text or "4." in found["kafka.version"].text


@pytest.mark.kafka
def test_a_wrong_partition_count_names_the_setting(kafka: str, tag: str) -> None:
    make_topics(kafka, settings_of(tag))
    found = look(kafka, settings_of(tag, "topics.partitions=3"))["kafka.topic.partitions"]
    assert found.status == "fail" and "expected partitions 3, found 2" in found.text
    assert "HEADWATER_TOPICS__PARTITIONS=2" in found.advice
    found = look(kafka, settings_of(tag, "topics.item_partitions=1"))["kafka.topic.partitions"]
    assert "HEADWATER_TOPICS__ITEM_PARTITIONS=2" in found.advice


@pytest.mark.kafka
def test_create_time_short_retention_and_a_wrong_policy_name_the_command(
    kafka: str, tag: str
) -> None:
    settings = settings_of(tag, "topics.replication=3")
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    configs = {"message.timestamp.type": "CreateTime", "retention.ms": "3600000"}
    admin.create_topics(
        [
            NewTopic(settings.topics.interactions, 2, 1, topic_configs=configs),
            NewTopic(settings.topics.items, 1, 1, topic_configs={"cleanup.policy": "delete"}),
        ]
    )
    admin.close()
    found = look(kafka, settings)
    stamp = found["kafka.topic.timestamp_type"]
    assert stamp.status == "warn"
    assert f"--bootstrap-server {kafka} " in stamp.advice
    assert f"--entity-name {settings.topics.interactions}" in stamp.advice
    assert "--add-config message.timestamp.type=LogAppendTime" in stamp.advice
    assert "--add-config retention.ms=604800000" in found["kafka.topic.retention"].advice
    assert "--add-config segment.bytes=67108864" in found["kafka.topic.segment_size"].advice
    policy = found["kafka.topic.cleanup_policy"]
    assert policy.status == "fail" and "cleanup.policy=compact" in policy.advice
    assert "found 1" in found["kafka.topic.replication"].text


@pytest.mark.kafka
def test_a_stale_group_says_how_much_waits(kafka: str, tag: str) -> None:
    settings = settings_of(tag)
    make_topics(kafka, settings)
    produce(kafka, settings.topics.interactions, 0, 5)
    commit(kafka, settings, {0: 2, 1: 0})
    found = look(kafka, settings)["kafka.group.stale"]
    assert found.status == "warn" and "3 records wait" in found.text
    assert settings.worker.group in found.advice
    found = look(kafka, settings_of(tag, "topics.partitions=1"))["kafka.group.partitions"]
    assert found.status == "fail" and "[1]" in found.text


@pytest.mark.kafka
def test_a_group_of_a_topic_that_was_cut_or_made_anew(kafka: str, tag: str) -> None:
    settings = settings_of(tag)
    make_topics(kafka, settings)
    produce(kafka, settings.topics.interactions, 1, 5)
    commit(kafka, settings, {0: 7, 1: 1})
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(settings.topics.interactions, 1): 3})
    admin.close()
    found = look(kafka, settings)
    assert "offset 7 of" in found["kafka.group.beyond_end"].text
    assert "HEADWATER_EPOCH" in found["kafka.group.beyond_end"].advice
    assert "first 3" in found["kafka.group.below_begin"].text


@pytest.mark.kafka
@pytest.mark.redis
def test_all_well_is_healthy_and_exit_code_zero(
    kafka: str, redis_url: str, tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tag, f"data_dir={tmp_path}")
    make_topics(kafka, settings)
    found = asyncio.run(examine(settings, brokers=kafka, redis_url=redis_url, timeout_s=WAIT_S))
    assert [each for each in found if each.status == "fail"] == []
    for name in ("interactions", "items", "item_deltas", "item_signals", "dead_letters"):
        topic = getattr(settings.topics, name)
        monkeypatch.setenv(f"HEADWATER_TOPICS__{name.upper()}", topic)
    monkeypatch.setenv("HEADWATER_TOPICS__PARTITIONS", "2")
    monkeypatch.setenv("HEADWATER_TOPICS__ITEM_PARTITIONS", "2")
    monkeypatch.setenv("HEADWATER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HEADWATER_WORKER__GROUP", f"group-{tag}")
    summary = doctor("--kafka", kafka, "--redis", redis_url, code=0)
    assert summary["healthy"] and summary["counts"]["fail"] == 0
    assert summary["counts"]["ok"] == sum(each["status"] == "ok" for each in summary["findings"])


def test_servers_that_are_not_set_are_failures_with_exit_code_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HEADWATER_KAFKA", raising=False)
    monkeypatch.delenv("HEADWATER_REDIS", raising=False)
    monkeypatch.setenv("HEADWATER_DATA_DIR", str(tmp_path))
    summary = doctor(code=1)
    failed = [each["check"] for each in summary["findings"] if each["status"] == "fail"]
    assert failed == ["kafka.reachable", "redis.reachable"]
    text = CliRunner().invoke(app, ["doctor"]).stdout
    assert "fail  no address is set" in text and "→ set HEADWATER_KAFKA" in text


def doctor(*options: str, code: int) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["doctor", "--json", *options], catch_exceptions=False)
    assert result.exit_code == code, result.stdout + result.stderr
    summary: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return summary
