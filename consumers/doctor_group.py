"""Judges the workers' consumer group for ``doctor``: who reads, what waits, what cannot go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consumers.findings import Finding

Key = tuple[str, int]

# What to do where a group's state no longer belongs to its topics.
RECREATED = (
    "take a new HEADWATER_WORKER__GROUP, HEADWATER_DATA_DIR, HEADWATER_TOPICS__ITEM_DELTAS and "
    "HEADWATER_TOPICS__ITEM_SIGNALS, and raise HEADWATER_EPOCH so that the new lists replace the "
    "old ones (docs/operations.md)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """What the cluster knows of the workers' consumer group.

    Attributes:
        group: Group id.
        state: As Kafka says it: Stable, Empty, Dead (unknown), ...
        assigned: (topic, partition) that its members hold.
        num_members: Workers.
        committed: Offset per (topic, partition).
        begins: First offset that each log still has.
        ends: End of each log.
    """

    group: str
    state: str
    assigned: frozenset[Key]
    num_members: int
    committed: Mapping[Key, int]
    begins: Mapping[Key, int]
    ends: Mapping[Key, int]


def judge_group(facts: GroupFacts, interactions: str, num_partitions: int) -> list[Finding]:
    """Return what is wrong with the group, or one line that nothing is.

    Args:
        facts: Of the group.
        interactions: Topic of interactions.
        num_partitions: Partitions that the settings say it has.
    """
    findings = [
        *_judge_positions(facts),
        *_judge_partition_count(facts, interactions, num_partitions),
    ]
    # Of a partition without an offset everything waits.
    lag = sum(
        max(end - facts.committed.get(key, facts.begins[key]), 0) for key, end in facts.ends.items()
    )
    name = f"group {facts.group}"
    if not facts.committed and not facts.num_members:
        text = f"{name}: no worker has run under this name yet"
        findings.append(Finding(check="kafka.group", status="info", text=text))
    elif not facts.num_members and lag:
        findings.append(
            Finding(
                check="kafka.group.stale",
                status="warn",
                text=f"{name}: no worker runs, {lag:,} records wait",
                advice="start `headwater worker`; where the group is not meant to go on, delete "
                f"it: kafka-consumer-groups.sh --bootstrap-server HOST:PORT --delete --group "
                f"{facts.group}",
            )
        )
    elif not facts.num_members:
        text = f"{name}: no worker runs, nothing waits"
        findings.append(Finding(check="kafka.group", status="info", text=text))
    elif not any(each.status == "fail" for each in findings):
        text = f"{name}: {facts.state}, {facts.num_members} worker(s), {lag:,} records not durable"
        findings.append(Finding(check="kafka.group", status="ok", text=text))
    return findings


def _judge_positions(facts: GroupFacts) -> list[Finding]:
    """Find committed offsets that the log does not reach, or has left behind."""
    findings = []
    for key, at in sorted(facts.committed.items()):
        if key not in facts.ends:
            continue
        topic, partition = key
        if at > facts.ends[key]:
            findings.append(
                Finding(
                    check="kafka.group.beyond_end",
                    status="fail",
                    text=f"group {facts.group}: offset {at} of {topic}/{partition} is beyond the "
                    f"log's end {facts.ends[key]}: the topic was made anew, or cut",
                    advice=RECREATED,
                )
            )
        elif at < facts.begins[key]:
            findings.append(
                Finding(
                    check="kafka.group.below_begin",
                    status="fail",
                    text=f"group {facts.group}: offset {at} of {topic}/{partition} is below the "
                    f"log's first {facts.begins[key]}: retention took records that were not read",
                    advice=f"a worker refuses to go over the gap; to go on without what is lost, "
                    f"{RECREATED}; raise retention.ms",
                )
            )
    return findings


def _judge_partition_count(
    facts: GroupFacts, interactions: str, num_partitions: int
) -> list[Finding]:
    """Find a group that was used, or is, with another number of partitions."""
    known = {partition for topic, partition in facts.committed if topic == interactions}
    held = {partition for topic, partition in facts.assigned if topic == interactions}
    above = sorted(each for each in known | held if each >= num_partitions)
    if above:
        return [
            Finding(
                check="kafka.group.partitions",
                status="fail",
                text=f"group {facts.group}: has partition(s) {above} of {interactions}, the "
                f"settings say it has {num_partitions}",
                advice="the number is fixed for a group's life: set HEADWATER_TOPICS__PARTITIONS "
                f"back, or {RECREATED}",
            )
        ]
    if known and len(known) < num_partitions and not facts.num_members:
        missing = sorted(set(range(num_partitions)) - known)
        return [
            Finding(
                check="kafka.group.partitions",
                status="warn",
                text=f"group {facts.group}: has no offset for partition(s) {missing} of "
                f"{interactions}: nothing was committed there yet, or the topic was enlarged, or "
                "deleted and made anew (Kafka deletes a topic's offsets with it)",
                advice="a number of partitions is fixed for a group's life; if it grew, or the "
                f"topic is another one, {RECREATED}",
            )
        ]
    return []
