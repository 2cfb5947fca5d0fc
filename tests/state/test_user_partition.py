"""UserPartition against the plain oracle, under any cut, with tiny bounds; and its laws."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from state.hashing import partition_of
from state.user_limits import UserLimits
from state.user_partition import UserPartition
from stream.candidates import UserBatch
from tests.state.user_builders import (
    Log,
    SmallCatalogue,
    apply,
    deltas_by_id,
    derived_by_id,
    digest,
    users_by_id,
)
from tests.state.user_logs import CUTS, IDS, LIMITS, ROOMY, bounds_of, check_against, logs, make
from tests.state.user_oracle import COMMENT, ERASE, LIKE, WATCH, Event, UserOracle, of


@given(log=logs(), cuts=CUTS, limits=LIMITS)
@settings(deadline=None, max_examples=150)
def test_partition_equals_the_plain_oracle(log: Log, cuts: list[int], limits: UserLimits) -> None:
    partition, oracle = make(limits), UserOracle(limits)
    for begin, end in bounds_of(cuts, len(log)):
        first_delta, first_erase = len(oracle.deltas), len(oracle.erases)
        first_applied = len(oracle.applied)
        for offset in range(begin, end):
            oracle.apply(offset, log[offset])

        result = apply(partition, log, begin, end)

        assert deltas_by_id(partition, result) == oracle.deltas[first_delta:]
        erases = list(zip(result.erased_user_ids, result.erased_offsets, strict=True))
        assert erases == oracle.erases[first_erase:]
        part = [offset for offset in range(begin, end) if not isinstance(log[offset], str)]
        assert [part[i] for i in result.applied] == oracle.applied[first_applied:]
        assert (
            [partition.users.id(row) for row in result.user_rows]
            == [
                log[offset].user  # type: ignore[union-attr]
                for offset in oracle.applied[first_applied:]
            ]
        )
        assert partition.next_offset == end
        check_against(partition, oracle)


@given(log=logs(), cuts=CUTS, limits=LIMITS, again=st.integers(0, 60))
@settings(deadline=None, max_examples=50)
def test_no_cut_and_no_second_reading_changes_a_bit(
    log: Log, cuts: list[int], limits: UserLimits, again: int
) -> None:
    whole, cut = make(limits, SmallCatalogue()), make(limits, SmallCatalogue())
    expected = deltas_by_id(whole, apply(whole, log, 0, len(log)))
    rows = []
    for begin, end in bounds_of(cuts, len(log)):
        # Read again from somewhere below: what was applied is skipped, not counted.
        result = apply(cut, log, max(0, begin - again), end)
        rows += deltas_by_id(cut, result)

    assert rows == expected
    assert digest(cut) == digest(whole)
    assert derived_by_id(cut) == derived_by_id(whole)
    assert cut.counters == whole.counters
    assert cut.next_offset == whole.next_offset


@given(log=logs(), at=st.integers(0, 60), limits=LIMITS)
@settings(deadline=None, max_examples=50)
def test_a_snapshot_goes_on_where_it_was_made(log: Log, at: int, limits: UserLimits) -> None:
    at = min(at, len(log))
    catalogue = SmallCatalogue()
    whole, first, second = (make(limits, catalogue) for _ in range(3))
    apply(whole, log, 0, len(log))
    apply(first, log, 0, at)
    first.emitted[:] = (1, 2, 3, 4)

    second.restore({name: array.copy() for name, array in first.arrays().items()})

    assert digest(second) == digest(first)
    assert derived_by_id(second) == derived_by_id(first)
    assert second.emitted.tolist() == [1, 2, 3, 4]
    assert second.next_offset == at
    result = apply(second, log, 0, len(log))
    again = apply(first, log, 0, len(log))
    assert deltas_by_id(second, result) == deltas_by_id(first, again)
    assert digest(second) == digest(whole)
    assert derived_by_id(second) == derived_by_id(whole)
    assert second.sizes() == whole.sizes()


@given(log=logs(), limits=LIMITS)
@settings(deadline=None, max_examples=40)
def test_nothing_grows_above_its_bound(log: Log, limits: UserLimits) -> None:
    partition = make(limits)
    for begin in range(len(log)):
        apply(partition, log, begin, begin + 1)
        for used, bound in partition.sizes().values():
            assert used <= bound
    assert partition.users.num_rows <= limits.max_users + 1
    assert partition.items.num_rows <= limits.max_items + 1


@given(log=logs(), offset=st.integers(1, 2**40), limits=LIMITS)
@settings(deadline=None, max_examples=40)
def test_digest_knows_neither_offsets_nor_rows_nor_what_was_routed(
    log: Log, offset: int, limits: UserLimits
) -> None:
    here, there = make(limits), make(limits)
    there.next_offset = offset
    apply(here, log, 0, len(log))
    without = [event for event in log if event != "routed"]

    apply(there, without, 0, len(without), first_offset=offset)

    assert digest(here) == digest(there)


@example(log=[], changed=0)
@given(log=logs(max_size=30), changed=st.integers(0, 30))
@settings(deadline=None, max_examples=40)
def test_digest_sees_one_more_event(log: Log, changed: int) -> None:
    here, there = make(), make()
    more = [*log, Event(b"new user", b"new item", b"new id", 2**51, LIKE)]

    apply(here, log, 0, len(log))
    apply(there, more, 0, len(more))

    assert digest(here) != digest(there)


def test_offsets_that_are_both_given_and_rejected_count_once_as_rejected() -> None:
    partition = make()
    log: Log = [Event(b"u", b"x", b"1", 5, LIKE), Event(b"u", b"y", b"2", 5, LIKE)]
    columns = {
        "buffer": of(b"ux1uy2"),
        "offsets": np.array([0, 1]),
        "kafka_timestamps_ms": np.array([-1, -1]),
        "timestamps_ms": np.array([5, 5]),
        "types": np.array([1, 1], np.uint8),
        "watch_ms": np.array([-1, -1]),
        "duration_ms": np.array([-1, -1]),
        "rejected_offsets": np.array([0]),
        "routed_offsets": np.array([0, 1]),
    }
    for i, name in enumerate(("user", "item", "event_id")):
        columns[f"{name}_starts"] = np.array([i, i + 3])
        columns[f"{name}_lengths"] = np.array([1, 1], np.int32)

    result = partition.apply(begin=0, end=len(log), **columns)

    assert len(result.applied) == 0
    assert partition.counters["rejected"] == 1
    assert partition.counters["routed"] == 1
    assert partition.counters["read"] == 2


def test_a_batch_of_nothing_moves_the_position_only() -> None:
    partition = make()

    result = apply(partition, ["filtered-like hole", "x"], 0, 2)

    assert partition.next_offset == 2
    assert len(result.applied) == len(result.deltas) == 0
    assert result.deltas.pair_splits.tolist() == [0]


def test_a_gap_is_refused_and_changes_nothing() -> None:
    partition = make()
    with pytest.raises(ValueError, match="from offset 0"):
        apply(partition, ["rejected"] * 3, 1, 3)
    assert partition.counters["read"] == 0


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"ts": 2**61}, "event times"),
        ({"ts": -(2**61)}, "event times"),
        ({"action": 8}, "action codes"),
        ({"user": b"u" * 256}, "user id"),
        ({"item": b"i" * 256}, "item id"),
        ({"event_id": b"e" * 256}, "event id"),
    ],
)
def test_what_no_decoder_may_give_is_refused_and_changes_nothing(change: Any, name: str) -> None:
    partition = make()
    log: Log = ["rejected", dataclasses.replace(Event(b"u", b"x", b"1", 5, LIKE), **change)]
    with pytest.raises(ValueError, match=name):
        apply(partition, log, 0, 2)
    assert partition.counters["read"] == 0
    assert partition.next_offset == 0


@pytest.mark.parametrize("row", [-1, 2**20])
def test_reading_a_row_that_was_never_given_is_refused(row: int) -> None:
    partition = make()
    apply(partition, [Event(b"u", b"x", b"1", 5, LIKE)], 0, 1)
    with pytest.raises(ValueError, match="user rows below"):
        partition.read_users(np.array([row], np.int32))


def test_a_row_that_lost_its_user_reads_as_one_without_events() -> None:
    partition = make(catalogue=SmallCatalogue())
    log: Log = [Event(b"u", b"x", b"1", 5, LIKE), Event(b"u", b"", b"2", 6, ERASE)]
    apply(partition, log, 0, 2)

    users = partition.read_users(np.zeros(1, np.int32))

    assert not partition.users.is_live(0)
    assert (users.history_rows == -1).all()
    arrays = users.by_name()
    for name in ("history_lengths", "num_events", "events_to_ms", "seen_words", "long_vectors"):
        assert not arrays[name].any(), name


def test_a_late_event_is_counted_and_moves_nothing() -> None:
    #  grace 1000   |late)[admitted ----- stream time]
    partition = make()
    log: Log = [
        Event(b"u", b"x", b"1", 5000, LIKE),
        Event(b"u", b"y", b"2", 3999, LIKE),
        Event(b"u", b"y", b"3", 4000, LIKE),
    ]

    apply(partition, log, 0, 3)

    assert partition.counters["late"] == 1
    assert partition.counters["applied"] == 2
    assert partition.stream_time_ms == 5000


def test_a_duplicate_is_known_by_user_and_event_id_together() -> None:
    partition = make()
    log: Log = [
        Event(b"u", b"x", b"1", 5, LIKE),
        Event(b"u", b"y", b"1", 6, COMMENT),
        Event(b"v", b"y", b"1", 6, COMMENT),
    ]

    apply(partition, log, 0, 3)

    assert partition.counters["duplicate"] == 1
    assert [*users_by_id(partition)] == [b"u", b"v"]


def test_read_users_has_exactly_the_arrays_of_a_user_batch() -> None:
    catalogue = SmallCatalogue()
    partition = make(catalogue=catalogue)
    log: Log = [Event(b"u", f"{i}".encode(), f"{i}".encode(), i, LIKE) for i in range(6)]
    apply(partition, log, 0, 6)

    users = partition.read_users(np.zeros(1, np.int32))
    batch = UserBatch(
        partition=3, next_offset=6, user_ids=tuple(partition.users.ids([0])), **users.by_name()
    )

    assert catalogue.items.ids(batch.history_rows[0]) == [b"2", b"3", b"4", b"5"]
    assert batch.history_times_ms.tolist() == [[2, 3, 4, 5]]
    assert batch.now_ms.tolist() == [5]
    for name, array in users.by_name().items():
        assert len(array) == 1, name


def test_item_destinations_are_kafkas_partitions() -> None:
    partition = make()
    apply(partition, [Event(b"u", id, id, 5, LIKE) for id in IDS], 0, len(IDS))

    for id in IDS:
        row = partition.items.row_of(id)
        assert partition.item_destinations[row] == partition_of(of(id), 0, len(id), 4)


def test_a_snapshot_of_another_partition_is_refused() -> None:
    other = UserPartition(partition=4, num_item_partitions=4, catalogue=None, limits=ROOMY)
    with pytest.raises(ValueError, match="expected partition 3"):
        make().restore(other.arrays())


def test_a_snapshot_of_other_settings_is_refused() -> None:
    other = make(dataclasses.replace(ROOMY, max_history=7))
    with pytest.raises(ValueError, match="other settings"):
        make().restore(other.arrays())


def test_describe_says_what_is_known() -> None:
    partition = make(catalogue=SmallCatalogue())
    log: Log = [
        Event(b"u", b"x", b"1", 5, WATCH, 50, 100),
        Event(b"u", b"y", b"2", 6, LIKE),
        Event(b"u", b"x", b"3", 7, COMMENT),
    ]
    apply(partition, log, 0, 3)

    known = partition.describe("u")

    assert known is not None
    assert known["num_events"] == 3
    assert known["history"][0] == {
        "item_id": "x",
        "ts": 7,
        "strength": 3,
        "actions": ["watch", "comment"],
        "completion": 0.498,
    }
    assert [entry["item_id"] for entry in known["history"]] == ["x", "y"]
    assert known["long_norm"] > 0
    assert partition.describe(b"nobody") is None


def test_a_restored_partition_keeps_the_seed_it_was_made_with() -> None:
    first = make(dataclasses.replace(ROOMY, hash_seed=5))
    second = make(dataclasses.replace(ROOMY, hash_seed=6))
    log: Log = [Event(b"u", b"x", b"1", 5, LIKE), Event(b"u", b"", b"2", 6, ERASE)]
    apply(first, log, 0, 2)

    second.restore(first.arrays())

    assert [erase.offset for erase in second.read_erases(0, 9)] == [1]
    assert digest(second) == digest(first)
    again = [*log, *log]
    apply(second, again, 2, 4)
    assert second.counters["duplicate"] == 1
