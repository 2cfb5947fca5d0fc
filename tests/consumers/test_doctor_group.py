"""What a group's offsets and members say: stale, beyond the log, below it, other partitions."""

from __future__ import annotations

import pytest

from consumers.doctor_group import GroupFacts, judge_group
from consumers.findings import Finding

TOPIC = "interactions"


def facts(
    *,
    committed: dict[int, int] | None = None,
    begin: int = 0,
    end: int = 10,
    workers: int = 0,
    held: tuple[int, ...] = (),
    partitions: int = 2,
) -> GroupFacts:
    logs = [(TOPIC, partition) for partition in range(partitions)]
    return GroupFacts(
        group="g",
        state="Stable" if workers else "Empty",
        assigned=frozenset((TOPIC, partition) for partition in held),
        num_members=workers,
        committed={(TOPIC, partition): at for partition, at in (committed or {}).items()},
        begins=dict.fromkeys(logs, begin),
        ends=dict.fromkeys(logs, end),
    )


def judged(group: GroupFacts, partitions: int = 2) -> dict[str, Finding]:
    findings = judge_group(group, TOPIC, partitions)
    assert findings
    return {each.check: each for each in findings}


def test_a_group_that_works_is_one_ok_line() -> None:
    (only,) = judge_group(facts(committed={0: 9, 1: 10}, workers=1, held=(0, 1)), TOPIC, 2)
    assert (only.check, only.status) == ("kafka.group", "ok")
    assert "1 worker(s), 1 records" in only.text


def test_before_the_first_worker_nothing_is_wrong() -> None:
    (only,) = judge_group(facts(), TOPIC, 2)
    assert only.status == "info" and "no worker has run" in only.text


def test_a_group_without_members_but_with_lag_is_stale() -> None:
    found = judged(facts(committed={0: 3, 1: 10}))["kafka.group.stale"]
    assert found.status == "warn" and "7 records wait" in found.text
    assert "start `headwater worker`" in found.advice and "--delete --group g" in found.advice
    assert judged(facts(committed={0: 10, 1: 10}))["kafka.group"].status == "info"


def test_what_lies_in_a_partition_without_an_offset_waits_too() -> None:
    found = judged(facts(committed={0: 10}, begin=4))
    assert "6 records wait" in found["kafka.group.stale"].text
    assert found["kafka.group.partitions"].status == "warn"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_offset_beyond_the_end_means_another_topic(workers: int) -> None:
    found = judged(facts(committed={0: 11, 1: 0}, workers=workers))
    assert found["kafka.group.beyond_end"].status == "fail"
    assert "11 of interactions/0 is beyond the log's end 10" in found["kafka.group.beyond_end"].text
    assert "HEADWATER_EPOCH" in found["kafka.group.beyond_end"].advice
    assert "ok" not in {each.status for each in found.values()}


def test_an_offset_below_the_begin_means_lost_records() -> None:
    found = judged(facts(committed={0: 4, 1: 5}, begin=5))
    assert found["kafka.group.below_begin"].status == "fail"
    assert "4 of interactions/0 is below" in found["kafka.group.below_begin"].text


def test_the_very_end_and_the_very_begin_are_fine() -> None:
    found = judged(facts(committed={0: 10, 1: 5}, begin=5))
    assert set(found) == {"kafka.group.stale"}


@pytest.mark.parametrize("held", [(), (0, 1, 2)])
def test_a_group_with_more_partitions_than_set_cannot_go_on(held: tuple[int, ...]) -> None:
    committed = {} if held else {0: 1, 1: 1, 2: 1}
    group = facts(committed=committed, held=held, workers=len(held), partitions=3)
    found = judged(group, partitions=2)["kafka.group.partitions"]
    assert found.status == "fail" and "[2]" in found.text
    assert "HEADWATER_TOPICS__PARTITIONS" in found.advice


def test_a_group_of_fewer_partitions_hints_at_an_enlarged_topic_or_a_new_one() -> None:
    found = judged(facts(committed={0: 10}))["kafka.group.partitions"]
    assert found.status == "warn" and "has no offset for partition(s) [1]" in found.text
    assert "enlarged" in found.text and "made anew" in found.text
    assert "kafka.group.partitions" not in judged(facts(committed={0: 10}, workers=1))
