"""The rate limit: who is held back, for how long, and what it never touches."""

from __future__ import annotations

import dataclasses

import pytest

from tests.state.user_builders import Log, apply, digest
from tests.state.user_logs import ROOMY, make
from tests.state.user_oracle import ERASE, LIKE, Event

TWO_A_MINUTE = dataclasses.replace(ROOMY, max_events_per_minute=2, grace_ms=10**9)
MINUTE_MS = 60_000


def likes(*times_ms: int, user: bytes = b"u") -> Log:
    return [
        Event(user, b"x", b"%b-%d-%d" % (user, number, ts), ts, LIKE)
        for number, ts in enumerate(times_ms)
    ]


def applied(log: Log) -> list[int]:
    """Return the event times that were applied under two a minute."""
    partition = make(TWO_A_MINUTE)
    result = apply(partition, log, 0, len(log))
    counters = partition.counters
    num_kept = len(result.applied) + len(result.erased_user_ids)
    assert counters["read"] == len(log) and counters["applied"] == num_kept
    assert counters["filtered"] + counters["duplicate"] == len(log) - num_kept
    return [log[index].ts for index in result.applied.tolist()]


@pytest.mark.parametrize(
    ("times_ms", "kept_ms"),
    [
        ([0, 0, 0], [0, 0]),  # Two at once.
        ([0, 0, 29_999, 30_000, 30_001], [0, 0, 30_000]),  # One comes back every 30 s.
        ([0, 0, MINUTE_MS, MINUTE_MS, MINUTE_MS], [0, 0, MINUTE_MS, MINUTE_MS]),
        ([0, 10**9, 10**9, 10**9], [0, 10**9, 10**9]),  # A long rest saves up no more than two.
        ([30_000, 0, 0, 30_001], [30_000, 0]),  # What is late pays no debt.
    ],
)
def test_a_user_gets_so_many_at_once_and_so_many_a_minute(
    times_ms: list[int], kept_ms: list[int]
) -> None:
    assert applied(likes(*times_ms)) == kept_ms


def test_users_do_not_count_for_each_other() -> None:
    log = [each for number in range(9) for each in likes(0, 0, user=b"u%d" % number)]
    assert applied(log) == [0] * 18


def test_an_erase_is_never_held_back_and_forgets_the_debt() -> None:
    log = [*likes(0, 0, 0), Event(b"u", b"", b"e", 0, ERASE), *likes(1, 1)]
    assert applied(log) == [0, 0, 1, 1]


def test_what_was_filtered_may_come_again_and_counts_then() -> None:
    log = likes(0, 0, 0)
    again = dataclasses.replace(log[2], ts=30_000)
    assert applied([*log, again, again]) == [0, 0, 30_000]  # The last one is a duplicate.


def test_filtered_events_move_no_stream_time() -> None:
    partition = make(TWO_A_MINUTE)
    apply(partition, likes(5, 5, 6), 0, 3)
    assert partition.stream_time_ms == 5 and partition.counters["filtered"] == 1


def test_without_a_limit_the_digest_is_what_it_was() -> None:
    off, high = make(), make(dataclasses.replace(ROOMY, max_events_per_minute=1_000_000))
    for partition in (off, high):
        apply(partition, likes(5, 5, 6), 0, 3)
    assert b"debts=" not in b"".join(off.digest_state())
    assert digest(off) != digest(high)


def test_a_snapshot_from_before_there_was_a_limit_is_restored() -> None:
    before, after = make(), make()
    apply(before, likes(5, 5, 6), 0, 3)
    arrays = before.arrays()
    del arrays["user_facts.debts"]
    after.restore(arrays)
    assert digest(after) == digest(before)
