"""What Headwater's topics must be like, and how a topic that is there differs from that. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stream.settings import TopicSettings

# What Kafka does where a topic does not say.
WEEK_MS = 7 * 24 * 3_600_000
_KAFKAS_SEGMENT_BYTES = 2**30

TimestampType = Literal["LogAppendTime", "CreateTime"]
CleanupPolicy = Literal["delete", "compact"]
Aspect = Literal[
    "missing", "partitions", "timestamp_type", "cleanup_policy", "retention", "segment_size"
]

# Every worker reads the compacted topics whole at its start, and Kafka never compacts the segment
# that it writes to: of 1 GiB, its default, that is seconds before the group is joined. Not smaller:
# hosted Kafka often refuses segments below 50 MiB.
MAX_SEGMENT_BYTES = 64 * 1024 * 1024
# Kafka compacts a log once this share of it is new; its default is 0.5.
_DIRTY_RATIO = "0.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """What a topic must be like.

    Attributes:
        name: Topic.
        num_partitions: Partitions.
        cleanup_policy: ``delete`` (a log) or ``compact`` (the latest value of each key).
        timestamp_type: ``LogAppendTime`` where the broker's clock must judge; None: not checked.
        retention_ms: How long a log is kept at least, in ms; None for compacted topics.
        max_segment_bytes: Size of a segment at most, for a topic that is read whole; None: any.
        replication_factor: Replicas, for a topic that is made here; -1 is the cluster's default.
        configs: Further topic settings, for a topic that is made here: left out where Kafka refuses
            them, as is the segments' size.
    """

    name: str
    num_partitions: int
    cleanup_policy: CleanupPolicy = "delete"
    timestamp_type: TimestampType | None = None
    retention_ms: int | None = None
    max_segment_bytes: int | None = None
    replication_factor: int = 1
    configs: Mapping[str, str] = field(default_factory=dict)

    def all_configs(self) -> dict[str, str]:
        """Return the settings with which Kafka makes the topic, where it takes them all."""
        settings = {**self.needed_configs(), **self.configs}
        if self.max_segment_bytes is not None:
            settings["segment.bytes"] = str(self.max_segment_bytes)
        return settings

    def needed_configs(self) -> dict[str, str]:
        """Return those that decide what the topic keeps; the others make a start faster."""
        settings: dict[str, str] = {"cleanup.policy": self.cleanup_policy}
        if self.timestamp_type is not None:
            settings["message.timestamp.type"] = self.timestamp_type
        if self.retention_ms is not None:
            settings["retention.ms"] = str(self.retention_ms)
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFinding:
    """One way in which a topic differs from its spec.

    Attributes:
        topic: Topic.
        aspect: What differs.
        expected: What the spec wants.
        found: What the topic has; "none" for a missing topic.
        is_fatal: True where a worker must not start on it, False for a warning.
        advice: What to do, one sentence.
    """

    topic: str
    aspect: Aspect
    expected: str
    found: str
    is_fatal: bool
    advice: str

    def __str__(self) -> str:
        """One line for a person."""
        return (
            f"topic {self.topic}: expected {self.aspect.replace('_', ' ')} {self.expected}, "
            f"found {self.found}: {self.advice}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTopic:
    """What a topic that is there is like."""

    num_partitions: int
    has_leaders: bool
    configs: Mapping[str, str]


def topic_specs(topics: TopicSettings) -> tuple[TopicSpec, ...]:
    """Return the five topics of the contract (docs/architecture.md), interactions first.

    The broadcast topics (items, item signals) and dead letters have one partition each: every
    worker reads all of the first two, and the last is light.
    """
    log: dict[str, Any] = {
        "retention_ms": topics.retention_ms,
        "timestamp_type": "LogAppendTime",
        "replication_factor": topics.replication,
    }
    table: dict[str, Any] = {
        "num_partitions": 1,
        "cleanup_policy": "compact",
        "max_segment_bytes": MAX_SEGMENT_BYTES,
        "configs": {"min.cleanable.dirty.ratio": _DIRTY_RATIO},
        "replication_factor": topics.replication,
    }
    return (
        TopicSpec(name=topics.interactions, num_partitions=topics.partitions, **log),
        TopicSpec(name=topics.items, **table),
        TopicSpec(name=topics.item_deltas, num_partitions=topics.item_partitions, **log),
        TopicSpec(name=topics.item_signals, **table),
        TopicSpec(name=topics.dead_letters, num_partitions=1, **log),
    )


def compare(
    specs: Sequence[TopicSpec], found: Mapping[str, FoundTopic]
) -> tuple[TopicFinding, ...]:
    """Return how topics that are there differ from their specs, what is fatal first."""
    findings = [
        finding
        for spec in specs
        if spec.name in found
        for finding in _compare_one(spec, found[spec.name])
    ]
    return tuple(sorted(findings, key=lambda finding: not finding.is_fatal))


def _compare_one(spec: TopicSpec, found: FoundTopic) -> list[TopicFinding]:
    return [
        TopicFinding(
            topic=spec.name,
            aspect=aspect,
            expected=str(expected),
            found=str(came),
            is_fatal=is_fatal,
            advice=advice,
        )
        for aspect, expected, came, is_fatal, advice in _differences(spec, found)
    ]


def _differences(
    spec: TopicSpec, found: FoundTopic
) -> Iterator[tuple[Aspect, object, object, bool, str]]:
    """Yield (aspect, expected, found, whether a worker cannot run so, what to do)."""
    yield from _other_records(spec, found)
    yield from _other_keeping(spec, found)


def _other_records(
    spec: TopicSpec, found: FoundTopic
) -> Iterator[tuple[Aspect, object, object, bool, str]]:
    if found.num_partitions != spec.num_partitions:
        yield (
            "partitions",
            spec.num_partitions,
            found.num_partitions,
            True,
            "set HEADWATER_TOPICS__PARTITIONS (of item-deltas __ITEM_PARTITIONS) to the topic's; "
            "another number takes a new HEADWATER_WORKER__GROUP and new topics, for state belongs "
            "to a partition",
        )
    timestamp_type = found.configs.get("message.timestamp.type", "CreateTime")
    if spec.timestamp_type is not None and timestamp_type != spec.timestamp_type:
        yield (
            "timestamp_type",
            spec.timestamp_type,
            timestamp_type,
            False,
            "a producer's wrong clock gets past the future check; alter message.timestamp.type",
        )


def _other_keeping(
    spec: TopicSpec, found: FoundTopic
) -> Iterator[tuple[Aspect, object, object, bool, str]]:
    policies = set(found.configs.get("cleanup.policy", "delete").split(","))
    if spec.cleanup_policy not in policies or (
        spec.cleanup_policy == "delete" and "compact" in policies
    ):
        # A compacted log loses events of its past; a table that is deleted by age loses items.
        yield (
            "cleanup_policy",
            spec.cleanup_policy,
            ",".join(sorted(policies)),
            True,
            "records that state is made of would vanish; alter cleanup.policy",
        )
    retention_ms = int(found.configs.get("retention.ms", WEEK_MS))
    if spec.retention_ms is not None and 0 <= retention_ms < spec.retention_ms:
        yield (
            "retention",
            f"of at least {spec.retention_ms} ms",
            f"{retention_ms} ms",
            False,
            "a worker that is down for longer loses events; alter retention.ms",
        )
    segment_bytes = int(found.configs.get("segment.bytes", _KAFKAS_SEGMENT_BYTES))
    if spec.max_segment_bytes is not None and segment_bytes > spec.max_segment_bytes:
        yield (
            "segment_size",
            f"of at most {spec.max_segment_bytes} bytes",
            f"{segment_bytes} bytes",
            False,
            "a worker reads at its start all that is not compacted, and the newest segment never "
            "is; alter segment.bytes",
        )
