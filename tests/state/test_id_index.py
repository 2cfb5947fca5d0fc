"""IdIndex against a dict, under interning, retiring, releasing and restoring."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.id_index import IdIndex
from state.id_kernels import fill_slots, find_row

IDS = st.one_of(
    st.integers(0, 60).map(lambda i: f"id-{i}".encode()),
    st.binary(max_size=40),
    st.integers(200, 255).map(lambda n: b"x" * n),
)


def spans(ids: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths = np.array([len(id) for id in ids], np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    return np.frombuffer(b"".join(ids), np.uint8), starts, lengths


def intern(index: IdIndex, ids: list[bytes]) -> list[int]:
    rows = np.full(len(ids), -9, np.int32)
    stop = index.intern(*spans(ids), rows)
    return rows[:stop].tolist()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("intern"), st.lists(IDS, max_size=30)),
        st.tuples(st.sampled_from(["remove", "retire"]), st.lists(IDS, max_size=30)),
        st.tuples(st.sampled_from(["release", "restore"]), st.just([])),
    ),
    max_size=12,
)


@given(steps=STEPS, max_ids=st.integers(1, 70), seed=st.integers(0, 2**64 - 1))
@settings(deadline=None, max_examples=150)
def test_index_equals_a_dict(steps: list, max_ids: int, seed: int) -> None:
    index = IdIndex(max_ids=max_ids, seed=seed, initial_ids=2)
    expected: dict[bytes, int] = {}
    retired: dict[int, bytes] = {}
    for step, ids in steps:
        if step == "intern":
            rows = intern(index, ids)
            for id, row in zip(ids, rows, strict=False):
                assert expected.setdefault(id, row) == row
            if len(rows) < len(ids):
                assert len(expected) == max_ids
                assert ids[len(rows)] not in expected
        elif step in ("remove", "retire"):
            gone = [expected.pop(id) for id in dict.fromkeys(ids) if id in expected]
            retired |= {row: index.id(row) for row in gone}
            getattr(index, step)(np.array(gone, np.int32))
            if step == "remove":
                retired.clear()
        elif step == "release" or retired:
            assert sorted(index.release().tolist()) == sorted(retired)
            retired.clear()
        else:
            other = IdIndex(max_ids=max_ids, initial_ids=1)
            other.restore(index.arrays())
            index = other
        assert index.num_ids == len(expected) <= max_ids
        assert len({*expected.values(), *retired}) == len(expected) + len(retired)
        assert all(row < index.num_rows <= index.capacity for row in expected.values())
        assert sorted(index.live_rows().tolist()) == sorted(expected.values())
        assert {id: index.row_of(id) for id in expected} == expected
        assert all(index.id(row) == id for row, id in retired.items())
        assert all(index.row_of(id) == -1 for id in retired.values() if id not in expected)
        assert index.ids(list(expected.values())) == list(expected)
        unknown = [id + b"?" for id in expected if id + b"?" not in expected]
        assert index.find(*spans(unknown)).tolist() == [-1] * len(unknown)


def test_interning_in_parts_equals_interning_at_once() -> None:
    ids = [f"{i % 37}".encode() * (i % 5) for i in range(300)]
    whole, parts = IdIndex(max_ids=200, initial_ids=1), IdIndex(max_ids=200, initial_ids=1)
    rows = np.zeros(300, np.int32)

    for begin in range(0, 300, 7):
        assert parts.intern(*spans(ids), rows, begin, min(begin + 7, 300)) == min(begin + 7, 300)

    assert intern(whole, ids) == rows.tolist()


def test_rows_are_reused_and_the_arena_compacts_itself() -> None:
    index = IdIndex(max_ids=64)
    for generation in range(500):
        rows = intern(index, [f"{generation}-{i}-{'y' * 100}".encode() for i in range(64)])
        index.remove(np.array(rows, np.int32))

    assert index.num_rows == 64
    assert len(index.arena) < 64 * 110 * 4


def test_retired_rows_are_not_given_again_before_release() -> None:
    index = IdIndex(max_ids=2, initial_ids=1)
    first = intern(index, [b"a", b"b"])
    index.retire(np.array(first, np.int32))

    second = intern(index, [b"c", b"d", b"e"])

    assert len(second) == 2
    assert not {*first} & {*second}
    assert index.ids(first) == [b"a", b"b"]


def test_ids_with_equal_hashes_stay_apart() -> None:
    index = IdIndex(max_ids=200, initial_ids=200)
    ids = [f"{i}".encode() for i in range(200)]
    rows = intern(index, ids)
    # The worst case: every id has one hash. Slots are rebuilt from the stored hashes.
    columns = index.columns
    columns.slots[:] = 0
    columns.hashes[:] = 7
    fill_slots(columns)

    for id, row in zip(ids, rows, strict=True):
        start, length = int(index.starts[row]), len(id)
        hashed = np.uint64(7)
        assert find_row(columns, index.arena, start, length, hashed) == row
    index.remove(np.array(rows[::2], np.int32))
    for row in rows[1::2]:
        start, length = int(index.starts[row]), int(index.lengths[row])
        assert find_row(columns, index.arena, start, length, np.uint64(7)) == row


@pytest.mark.parametrize("max_ids", [0, 2**31])
def test_a_bound_that_cannot_work_is_refused(max_ids: int) -> None:
    with pytest.raises(ValueError, match="max_ids"):
        IdIndex(max_ids=max_ids)


def test_an_id_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="255 bytes"):
        intern(IdIndex(max_ids=4), [b"x" * 256])


def test_restoring_more_than_the_bound_is_refused() -> None:
    index = IdIndex(max_ids=10)
    intern(index, [b"a", b"b", b"c"])

    with pytest.raises(ValueError, match="raise the bound"):
        IdIndex(max_ids=2).restore(index.arrays())
