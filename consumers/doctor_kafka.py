"""Kafka for ``doctor``: the cluster, the five topics, and the state of the workers' group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.errors import KafkaError as AioKafkaError
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.errors import KafkaError

from consumers.addresses import bootstrap_servers, why_silent
from consumers.doctor_group import GroupFacts, Key, judge_group
from consumers.doctor_topics import judge_topics
from consumers.findings import Finding
from consumers.security import kafka_options
from consumers.topic_specs import topic_specs
from consumers.topics import check_topics
from stream.errors import ConfigurationError, HeadwaterError, ServerRefused
from stream.settings import Settings

# The oldest that the tests' containers have.
_OLDEST_TESTED = (3, 9)


async def look_at_kafka(
    settings: Settings, brokers: str | None, *, timeout_s: float
) -> list[Finding]:
    """Return the findings about Kafka."""
    if brokers is None:
        advice = "set HEADWATER_KAFKA=host:port; `headwater up` starts a broker of its own"
        return [
            Finding(check="kafka.reachable", status="fail", text="no address is set", advice=advice)
        ]
    try:
        options = kafka_options(settings.kafka_security)
    except ConfigurationError as error:
        advice = "correct the setting"
        return [Finding(check="kafka.security", status="fail", text=str(error), advice=advice)]
    try:
        specs = topic_specs(settings.topics)
        # First: kafka-python leaves sockets open where no broker answers.
        found = await check_topics(brokers, specs, timeout_s=timeout_s, client_options=options)
        seen = await asyncio.to_thread(_ask, brokers, settings, timeout_s, options)
    except ConfigurationError as error:  # It answers, but does not let us look.
        advice = "give this client the right to describe topics and their configuration"
        return [Finding(check="kafka.rights", status="fail", text=str(error), advice=advice)]
    except ServerRefused as error:
        advice = "ask whoever keeps this Kafka for its listener, certificate, user and password"
        return [Finding(check="kafka.security", status="fail", text=str(error), advice=advice)]
    except (KafkaError, AioKafkaError, HeadwaterError, OSError) as error:
        reason = await _why_silent(brokers, error, timeout_s)
        return [
            Finding(
                check="kafka.reachable",
                status="fail",
                text=f"Kafka at {brokers} does not answer ({reason})",
                advice="start it, or set HEADWATER_KAFKA to where it listens; is a firewall or "
                "advertised.listeners in the way?",
            )
        ]
    counts = {
        settings.topics.interactions: "HEADWATER_TOPICS__PARTITIONS",
        settings.topics.item_deltas: "HEADWATER_TOPICS__ITEM_PARTITIONS",
    }
    findings = [
        *_judge_cluster(brokers, seen),
        *judge_replication(len(seen.cluster["brokers"]), settings.topics.replication),
        *judge_topics(specs, found, seen.topics, seen.group, counts),
        *judge_group(seen.group, settings.topics.interactions, settings.topics.partitions),
    ]
    # The judges write commands as documentation does; here the address is known.
    return [replace(each, advice=each.advice.replace("HOST:PORT", brokers)) for each in findings]


async def _why_silent(brokers: str, error: BaseException, timeout_s: float) -> str:
    """Say for each server what is wrong; where a port is open, also what the client said."""
    servers = bootstrap_servers(brokers)
    reasons = await asyncio.gather(
        *(why_silent(host, port, timeout_s=timeout_s) for host, port in servers)
    )
    cause = error.__cause__ or error
    said = (
        [str(cause) or type(cause).__name__] if any("listens there" in r for r in reasons) else []
    )
    return "; ".join([*reasons, *said])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the cluster said: itself, partitions per topic, the group."""

    cluster: Mapping[str, Any]
    version: tuple[int, ...]
    topics: Mapping[str, list[dict[str, Any]]]
    group: GroupFacts


def _ask(brokers: str, settings: Settings, timeout_s: float, options: Mapping[str, Any]) -> _Seen:
    timeout_ms = round(timeout_s * 1000)
    admin = KafkaAdminClient(
        bootstrap_servers=brokers,
        request_timeout_ms=timeout_ms,
        bootstrap_timeout_ms=timeout_ms,
        **options,
    )
    try:
        cluster = admin.describe_cluster()
        version = admin.get_broker_version_data(cluster["brokers"][0]["broker_id"]).broker_version
        topics = {each["name"]: each["partitions"] for each in admin.describe_topics()}
        group = _ask_group(admin, settings, topics)
    finally:
        admin.close()
    return _Seen(cluster=cluster, version=version, topics=topics, group=group)


def _ask_group(
    admin: KafkaAdminClient, settings: Settings, topics: Mapping[str, list[dict[str, Any]]]
) -> GroupFacts:
    group = settings.worker.group
    names = (settings.topics.interactions, settings.topics.item_deltas)
    described = admin.describe_groups([group])[group]
    committed = admin.list_group_offsets({group: None})[group]
    logs = [
        TopicPartition(name, int(each["partition_index"]))
        for name in names
        for each in topics.get(name, ())
        if each["leader_id"] >= 0
    ]

    def offsets(spec: Any) -> dict[Key, int]:
        found = admin.list_partition_offsets(dict.fromkeys(logs, spec)) if logs else {}
        return {(tp.topic, tp.partition): int(each.offset) for tp, each in found.items()}

    members = described["members"]
    return GroupFacts(
        group=group,
        state=described["group_state"],
        assigned=frozenset(key for member in members for key in _assigned(member)),
        num_members=len(members),
        committed={
            (tp.topic, tp.partition): int(each.offset)
            for tp, each in committed.items()
            if tp.topic in names
        },
        begins=offsets(OffsetSpec.EARLIEST),
        ends=offsets(OffsetSpec.LATEST),
    )


def _judge_cluster(brokers: str, seen: _Seen) -> list[Finding]:
    count = len(seen.cluster["brokers"])
    name = ".".join(map(str, seen.version))
    is_old = seen.version < _OLDEST_TESTED
    return [
        Finding(check="kafka.reachable", status="ok", text=f"{brokers} answers, {count} broker(s)"),
        Finding(
            check="kafka.version",
            status="warn" if is_old else "ok",
            text=f"Kafka speaks the protocol of {name} or newer",
            advice="nothing below 3.9 was tested; upgrade the brokers" if is_old else "",
        ),
    ]


def judge_replication(num_brokers: int, replication: int) -> list[Finding]:
    """Warn of topics that one lost broker takes along, where others could hold them too."""
    if num_brokers < 2 or replication > 1:
        return []
    return [
        Finding(
            check="kafka.replication",
            status="warn",
            text=f"{num_brokers} brokers, but HEADWATER_TOPICS__REPLICATION=1: of topics that a "
            "worker makes there is one copy, and a broker that is lost takes it along",
            advice=f"set HEADWATER_TOPICS__REPLICATION={min(num_brokers, 3)} before the first "
            "worker; where topics exist, add replicas with kafka-reassign-partitions.sh",
        )
    ]


def _assigned(member: Mapping[str, Any]) -> list[Key]:
    """Return what one member holds; nothing while the group rebalances."""
    assignment = member["member_assignment"] or {}
    return [
        (each["topic"], int(partition))
        for each in assignment.get("assigned_partitions", ())
        for partition in each["partitions"]
    ]
