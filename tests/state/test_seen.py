"""Seen filter: never a false no for the last items, few false yeses, rotation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.seen import add_seen, clear_seen, contains, make_seen, seen_key, seen_keys


def of(data: bytes) -> np.ndarray:
    return np.array(bytearray(data), np.uint8)


def key(i: int) -> np.uint64:
    data = f"item-{i}".encode()
    return np.uint64(seen_key(of(data), 0, len(data)))


def words(seen) -> np.ndarray:
    return seen.young_words[1] | seen.old_words[1]


@given(items=st.lists(st.integers(0, 200), max_size=120), seen_items=st.integers(1, 20))
@settings(deadline=None, max_examples=60)
def test_the_last_items_are_always_found(items: list[int], seen_items: int) -> None:
    seen = make_seen(seen_bits=1024, capacity=3)
    distinct: list[int] = []
    for item in items:
        add_seen(seen, 1, key(item), seen_items)
        distinct = [*(each for each in distinct if each != item), item]

        assert contains(words(seen), key(item))
    # An item already in the young filter is not put in again, so that only those that came in
    # since the last rotation, and the whole filter before, are certain.
    assert seen.num_items[1] <= seen_items
    assert not seen.young_words[[0, 2]].any()


def test_at_its_fullest_few_unknown_items_pass() -> None:
    seen = make_seen(seen_bits=1024, capacity=2)
    for item in range(128):
        add_seen(seen, 1, key(item), 64)

    assert seen.num_items[1] == 64
    assert all(contains(words(seen), key(item)) for item in range(128))
    false_yes = sum(contains(words(seen), key(item)) for item in range(1000, 11_000))
    assert false_yes / 10_000 == pytest.approx(0.024, abs=0.01)


def test_the_older_filter_is_dropped_after_enough_items() -> None:
    seen = make_seen(seen_bits=1024, capacity=2)
    for item in range(9):
        add_seen(seen, 1, key(item), 3)

    assert [item for item in range(9) if contains(words(seen), key(item))] == [3, 4, 5, 6, 7, 8]


def test_clearing_forgets_all() -> None:
    seen = make_seen(seen_bits=64, capacity=2)
    for item in range(9):
        add_seen(seen, 1, key(item), 3)

    clear_seen(seen, 1)

    assert not any(column.any() for column in seen)


def test_keys_of_spans_are_keys_of_each() -> None:
    buffer = of(b"item-1item-22")
    keys = seen_keys(buffer, np.array([0, 6]), np.array([6, 7], np.int32))

    assert keys.tolist() == [int(key(1)), int(key(22))]
