"""What a producer takes, and what it reports: records, and their counts by fate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# (time in ms, logical topic, key, value, whether the same event was produced before).
Record = tuple[int, str, bytes | None, bytes | None, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCount:
    """Records of one topic.

    Attributes:
        produced: Handed to the client.
        acknowledged: Stored by the broker.
        failed: Not acknowledged within the client's bound.
    """

    produced: int = 0
    acknowledged: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProduceReport:
    """What was produced so far (``on_progress``) or in all (the result).

    Attributes:
        produced: Records of the topic ``topic`` handed to the client (items not counted).
        acknowledged: Of these, stored by the broker.
        failed: Of these, not acknowledged; above 0 only when the run ended by it.
        duplicates_sent: Of those produced, repetitions of an event produced before.
        by_topic: The same by Kafka topic, items among them.
        seconds: Wall time since the first record.
        behind_s: How late the last records went out against their pace; 0 without a pace.
        next_index: Index, among the source's records of ``topic``, of the first that was not
            acknowledged or had items before it that were not: where to resume.
        last_time_ms: Time of the newest record handed over; -1 for none.
        error: What ended the run; empty when the source ended or ``stop`` was set.
    """

    produced: int = 0
    acknowledged: int = 0
    failed: int = 0
    duplicates_sent: int = 0
    by_topic: Mapping[str, TopicCount] = field(default_factory=dict)
    seconds: float = 0.0
    behind_s: float = 0.0
    next_index: int = 0
    last_time_ms: int = -1
    error: str = ""
