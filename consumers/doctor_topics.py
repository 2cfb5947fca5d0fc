"""Judges topics for ``doctor``: as they must be, or what differs and the command that mends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consumers.doctor_group import RECREATED, GroupFacts
from consumers.findings import Finding, Status
from consumers.topic_specs import TopicFinding, TopicSpec


def judge_topics(
    specs: Sequence[TopicSpec],
    found: Sequence[TopicFinding],
    topics: Mapping[str, Sequence[Mapping[str, Any]]],
    group: GroupFacts,
    settings: Mapping[str, str],
) -> list[Finding]:
    """Return one finding per topic that is as it should be, else one per difference.

    Args:
        specs: What the five topics must be.
        found: How they differ.
        topics: Partitions as the cluster describes them, by topic.
        group: The workers'; a topic that it has read and that is gone is a loss.
        settings: Topic to the setting that names its number of partitions, for those with one.
    """
    findings = []
    for spec in specs:
        wrong = [each for each in found if each.topic == spec.name]
        findings += [
            _judge_difference(spec, each, group, settings.get(spec.name)) for each in wrong
        ]
        partitions = topics.get(spec.name, ())
        findings += _judge_replicas(spec, partitions)
        if partitions and not wrong:
            kind = "compacted" if spec.cleanup_policy == "compact" else spec.timestamp_type
            text = f"topic {spec.name}: {len(partitions)} partition(s), {kind}"
            findings.append(Finding(check="kafka.topic", status="ok", text=text))
    return findings


def _judge_difference(
    spec: TopicSpec, each: TopicFinding, group: GroupFacts, setting: str | None
) -> Finding:
    """Turn a difference into a finding; its advice names the setting or the command."""
    check = f"kafka.topic.{each.aspect}"
    aspect = each.aspect.replace("_", " ")
    text = f"topic {each.topic}: expected {aspect} {each.expected}, found {each.found}"
    advice = each.advice
    status: Status = "fail" if each.is_fatal else "warn"
    if each.aspect == "missing":
        was_read = any(topic == each.topic for topic, _ in group.committed)
        if was_read:
            text = f"topic {each.topic}: missing, but group {group.group} has read it"
            advice = f"it was deleted: {RECREATED}; a worker makes the topic at its start"
        else:
            text, status = f"topic {each.topic}: missing", "warn"
            advice = f"a worker makes it at its start, {each.expected}, if it has the right to"
    elif each.aspect == "partitions":
        cure = f"set {setting}={each.found}" if setting else f"make it anew with {each.expected}"
        advice = f"{cure}; a group's number of partitions cannot change: {RECREATED}"
    else:
        config = {
            "timestamp_type": f"message.timestamp.type={each.expected}",
            "cleanup_policy": f"cleanup.policy={each.expected}",
            "retention": f"retention.ms={spec.retention_ms}",
            "segment_size": f"segment.bytes={spec.max_segment_bytes}",
        }[each.aspect]
        advice += (
            f": kafka-configs.sh --bootstrap-server HOST:PORT --alter --entity-type topics "
            f"--entity-name {each.topic} --add-config {config}"
        )
    return Finding(check=check, status=status, text=text, advice=advice)


def _judge_replicas(spec: TopicSpec, partitions: Sequence[Mapping[str, Any]]) -> list[Finding]:
    findings = []
    leaderless = [each["partition_index"] for each in partitions if each["leader_id"] < 0]
    if leaderless:
        findings.append(
            Finding(
                check="kafka.topic.leader",
                status="fail",
                text=f"topic {spec.name}: partition(s) {leaderless} have no leader",
                advice="bring the brokers back that hold them",
            )
        )
    behind = [
        each["partition_index"]
        for each in partitions
        if len(each["isr_nodes"]) < len(each["replica_nodes"])
    ]
    if behind:
        findings.append(
            Finding(
                check="kafka.topic.replicas",
                status="warn",
                text=f"topic {spec.name}: partition(s) {behind} have replicas that lag behind",
                advice="see why their brokers are down or slow",
            )
        )
    fewest = min((len(each["replica_nodes"]) for each in partitions), default=0)
    if partitions and fewest < spec.replication_factor:
        findings.append(
            Finding(
                check="kafka.topic.replication",
                status="warn",
                text=f"topic {spec.name}: expected {spec.replication_factor} replicas "
                f"(HEADWATER_TOPICS__REPLICATION), found {fewest}",
                advice="a broker that is lost takes the log with it; add replicas with "
                "kafka-reassign-partitions.sh",
            )
        )
    return findings
