"""What was frozen stays as it was, whatever comes and whenever it is copied."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from state.frozen import Frozen, FrozenColumns
from state.user_partition import UserPartition
from tests.state import contract_items, contract_users
from tests.state.contracts import Contract
from tests.state.user_builders import SmallCatalogue
from tests.state.user_oracle import ERASE, Event

ROWS = st.lists(st.integers(-2, 12), max_size=6)


@given(
    num_rows=st.integers(0, 9),
    steps=st.lists(st.one_of(ROWS, st.just("all"), st.just("copy")), max_size=12),
    num_spare=st.one_of(st.none(), st.integers(0, 12)),
)
def test_any_order_of_keeping_changing_and_copying_gives_the_columns_as_they_were(
    num_rows: int, steps: list[Any], num_spare: int | None
) -> None:
    wide = np.arange(3 * num_rows, dtype=np.int64).reshape(num_rows, 3)
    narrow = np.arange(num_rows, dtype=np.uint8)
    spare = {} if num_spare is None else {"wide": np.full((num_spare, 3), 7, np.int64)}
    frozen = FrozenColumns({"wide": wide, "narrow": narrow}, spare)
    expected = wide.copy(), narrow.copy()
    pieces = frozen.pieces()
    for number, step in enumerate(steps):
        if step == "copy":
            next(pieces, None)
            continue
        if step == "all":
            frozen.keep_all()
            changed = np.arange(num_rows)
        else:
            frozen.keep(np.array(step, np.int32))
            changed = np.array([row for row in step if 0 <= row < num_rows], np.int64)
        wide[changed] = -number - 1
        narrow[changed] = 255 - number
    for _ in pieces:
        pass

    arrays = frozen.arrays()

    np.testing.assert_array_equal(arrays["wide"], expected[0])
    np.testing.assert_array_equal(arrays["narrow"], expected[1])


def test_rows_that_were_copied_before_they_change_are_not_kept() -> None:
    column = np.zeros((4096, 1024), np.int32)  # Four pieces of 4 MiB.
    frozen = FrozenColumns({"column": column})
    pieces = frozen.pieces()
    assert next(pieces) == 1 << 22
    frozen.keep(np.array([0, 1023, 1024]))
    assert [rows.tolist() for rows, _ in frozen._kept] == [[1024]]
    list(pieces)
    frozen.keep_all()
    assert len(frozen._kept) == 1


def test_rows_are_kept_in_the_memory_that_was_made_for_them() -> None:
    partition, records = ITEMS.make(), ITEMS.records(1)
    ITEMS.apply(partition, records, 0, 60)
    spare = partition.spare()
    newest = [name for name, each in spare.items() if len(each)]
    assert newest and all(name.startswith("pairs.lines_") for name in newest)

    frozen = partition.freeze(spare)
    ITEMS.apply(partition, records, 60, 90)

    kept = {name: each for name in newest for _, columns in frozen.groups[name]._kept
            for each in columns.values()}  # fmt: skip
    assert kept, "no arena changed"
    for name, each in kept.items():
        assert np.shares_memory(each, spare[name])


def freeze(partition: Any, *, is_spare: bool = False) -> Frozen:
    if isinstance(partition, UserPartition):
        return partition.freeze({})
    frozen: Frozen = partition.freeze(partition.spare() if is_spare else None)
    return frozen


def with_vectors() -> UserPartition:
    return UserPartition(
        partition=0,
        num_item_partitions=3,
        catalogue=SmallCatalogue(),
        limits=contract_users.USER_LIMITS,
    )


def roomy_users() -> UserPartition:
    limits = contract_users.dataclasses.replace(
        contract_users.USER_LIMITS, max_users=200, max_items=200, max_event_ids=1000
    )
    return UserPartition(partition=0, num_item_partitions=3, catalogue=None, limits=limits)


USERS = next(each for each in contract_users.CONTRACTS if each.name == "UserPartition")
LIMITED = next(each for each in contract_users.CONTRACTS if each.name.endswith("RateLimit"))
ITEMS = contract_items.CONTRACTS[0]
WORLDS: list[tuple[str, Contract, Callable[[], Any]]] = [
    ("users-full", USERS, USERS.make),
    ("users-vectors", USERS, with_vectors),
    ("users-roomy", USERS, roomy_users),
    ("users-limited", LIMITED, LIMITED.make),
    ("items-full", ITEMS, ITEMS.make),
    ("items-roomy", ITEMS, contract_items.make_partition),
]


@pytest.mark.parametrize(("_name", "table", "make"), WORLDS, ids=[each[0] for each in WORLDS])
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    at=st.integers(0, 119),
    most=st.sampled_from([1, 3, 40, 300]),
    is_early=st.booleans(),
)
# An eviction within the batch lets event ids leave that stood behind the evicted user's.
@example(seed=590, at=45, most=1, is_early=False)
def test_a_snapshot_is_the_state_at_its_offset_while_folds_go_on(
    _name: str, table: Contract, make: Callable[[], Any], seed: int, at: int, most: int,
    is_early: bool,
) -> None:  # fmt: skip
    draw, records, partition = random.Random(seed), table.records(seed), make()
    table.apply(partition, records, 0, at)
    expected = {name: np.array(each) for name, each in partition.arrays().items()}

    frozen = freeze(partition, is_spare=draw.random() < 0.5)
    pieces = frozen.pieces()
    begin = at
    while begin < len(records):
        end = min(len(records), begin + draw.randint(1, most))
        table.apply(partition, records, begin, end)
        begin = end
        # Late copying is the hardest: whatever changed must have been kept.
        if is_early and draw.random() < 0.5:
            next(pieces, None)
    for _ in pieces:
        pass
    partition.thaw()
    arrays = frozen.arrays()

    assert arrays.keys() == expected.keys()
    for name, each in expected.items():
        np.testing.assert_array_equal(arrays[name], each, err_msg=name)
        assert arrays[name].dtype == each.dtype
    restored = make()
    restored.restore(arrays)
    table.apply(restored, records, at, len(records))
    assert table.digest(restored) == table.digest(partition)


def test_ids_that_move_while_frozen_stay_where_they_were() -> None:
    users = [b"%0200d" % number for number in range(60)]
    log: list[Any] = [
        Event(user=user, item=b"i", event_id=b"%d" % n, ts=n, action=0, watch_ms=9, duration_ms=9)
        for n, user in enumerate(users)
    ]
    log += [replace(each, action=ERASE, event_id=b"e%d" % n) for n, each in enumerate(log[:50])]
    partition = roomy_users()
    USERS.apply(partition, log, 0, 60)
    expected = {name: np.array(each) for name, each in partition.arrays().items()}
    frozen = partition.freeze({})
    for begin in range(60, len(log)):
        USERS.apply(partition, log, begin, begin + 1)
    assert len(partition.users.arena) < len(expected["users.arena"]), "compacted"
    list(frozen.pieces())
    arrays = frozen.arrays()
    for name, each in expected.items():
        np.testing.assert_array_equal(arrays[name], each, err_msg=name)


def test_freezing_again_starts_anew() -> None:
    partition = USERS.make()
    records = USERS.records(1)
    USERS.apply(partition, records, 0, 50)
    partition.freeze({})
    USERS.apply(partition, records, 50, 100)
    expected = {name: np.array(each) for name, each in partition.arrays().items()}
    frozen = partition.freeze({})
    USERS.apply(partition, records, 100, 200)
    list(frozen.pieces())
    arrays = frozen.arrays()
    for name, each in expected.items():
        np.testing.assert_array_equal(arrays[name], each, err_msg=name)
