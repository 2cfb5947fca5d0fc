from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state import pair_arena as arena

ADDITIONS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 60), st.integers(0, 255)),
    max_size=150,
)


class Arena:
    """Three items in one generation of one window."""

    def __init__(self, *, num_lines: int, max_lines: int) -> None:
        self.lines = np.full((num_lines, arena.LINE_WORDS), 7, np.uint32)
        self.heads = np.zeros((1, arena.HEADS), np.int64)
        self.heads[0, arena.END] = num_lines
        self.headers = np.zeros((3, 1, arena.WORDS), np.int64)
        self.max_lines = max_lines

    def add(self, row: int, key: int, out: int, cf: int, *, fast: bool = False) -> int:
        header = self.headers[row, 0]
        size = header[arena.NUM_LINES]
        words = self.lines.reshape(-1)
        if fast and size:
            line = arena.line_at(header[arena.START], size, key, 0)
            if arena.add_to_line(words, line, key, out, 0, cf):
                return 0
        return int(
            arena.add_entry(
                words, self.heads, self.headers, row, 0, self.max_lines, key, out, 0, cf
            )
        )

    def entries(self) -> dict[tuple[int, int], tuple[int, int, int]]:
        found = {}
        for row, header in enumerate(self.headers[:, 0]):
            start, count = header[arena.START], header[arena.NUM_LINES]
            for line in self.lines[start : start + count]:
                for lane in range(arena.LANES):
                    if line[lane]:
                        key = (row, int(line[lane]) - 1)
                        assert key not in found
                        fields = (arena.OUT, arena.IN, arena.CF)
                        found[key] = tuple(int(line[field + lane]) for field in fields)
        return found


COUNTS = st.integers(0, 300) | st.integers(2**32 - 300, 2**32 - 1)


def add_by_hand(line: list[int], key: int, weights: tuple[int, int, int]) -> bool:
    """Do what ``add_to_line`` does, lane by lane."""
    keys = line[: arena.LANES]
    lane = next((lane for lane, word in enumerate(keys) if word in (0, key + 1)), None)
    if lane is None:
        return False
    line[lane] = key + 1
    for field, weight in zip((arena.OUT, arena.IN, arena.CF), weights, strict=True):
        line[field + lane] = min(line[field + lane] + weight, 2**32 - 1)
    return True


@given(
    keys=st.lists(st.integers(0, 9), unique=True, max_size=arena.LANES),
    counts=st.lists(COUNTS, min_size=3 * arena.LANES, max_size=3 * arena.LANES),
    key=st.integers(0, 9) | st.just(2**32 - 2),
    weights=st.tuples(*[st.integers(0, 255)] * 3),
)
@settings(max_examples=300, deadline=None)
def test_a_line_takes_an_entry_as_by_hand_and_stops_at_the_largest_count(
    keys: list[int], counts: list[int], key: int, weights: tuple[int, int, int]
) -> None:
    lanes = [key + 1 for key in keys] + [0] * (arena.LANES - len(keys))
    line = lanes + [count if lanes[at % arena.LANES] else 0 for at, count in enumerate(counts)]
    # Other lines beside it: not a word of them may change.
    words = np.array([7] * arena.LINE_WORDS + line + [9] * arena.LINE_WORDS, np.uint32)
    expected = list(line)
    had_room = add_by_hand(expected, key, weights)
    assert arena.add_to_line(words, np.uint64(arena.LINE_WORDS), key, *weights) == had_room
    assert words.tolist() == [7] * arena.LINE_WORDS + expected + [9] * arena.LINE_WORDS


@given(additions=ADDITIONS)
@settings(max_examples=80, deadline=None)
def test_with_room_every_pair_is_exact_fast_or_slow(
    additions: list[tuple[int, int, int, int]],
) -> None:
    expected: Counter[tuple[int, int, str]] = Counter()
    tables = [Arena(num_lines=256, max_lines=64) for _ in range(2)]
    for row, key, out, cf in additions:
        expected[row, key, "out"] += out
        expected[row, key, "cf"] += cf
        assert [table.add(row, key, out, cf, fast=index == 1) for index, table in
                enumerate(tables)] == [0, 0]  # fmt: skip
    wanted = {
        (row, key): (expected[row, key, "out"], 0, expected[row, key, "cf"])
        for row, key, _, _ in additions
    }
    assert tables[0].entries() == tables[1].entries() == wanted


@given(additions=ADDITIONS, num_lines=st.integers(1, 12), max_lines=st.sampled_from([1, 2, 4]))
@settings(max_examples=80, deadline=None)
def test_without_room_nothing_is_overcounted_and_every_loss_is_told(
    additions: list[tuple[int, int, int, int]], num_lines: int, max_lines: int
) -> None:
    table = Arena(num_lines=num_lines, max_lines=max_lines)
    true: dict[tuple[int, int], list[int]] = {}
    num_lost = 0
    for row, key, out, cf in additions:
        counts = true.setdefault((row, key), [0, 0, 0])
        counts[0] += out
        counts[2] += cf
        num_lost += table.add(row, key, out, cf, fast=True)
    held = table.entries()
    assert all(
        count <= most
        for pair, counts in held.items()
        for count, most in zip(counts, true[pair], strict=True)
    )
    if num_lost == 0:
        assert {pair: list(counts) for pair, counts in held.items()} == true
    assert table.heads[0, arena.USED] <= num_lines
    assert (table.headers[:, 0, arena.NUM_LINES] <= max_lines).all()


def test_blocks_are_used_again_at_their_size() -> None:
    table = Arena(num_lines=16, max_lines=8)
    table.add(0, 1, 1, 1)
    for key in range(2, 14):
        table.add(0, key, 1, 1)
    used = int(table.heads[0, arena.USED])
    table.add(1, 1, 1, 1)
    assert int(table.heads[0, arena.USED]) == used
    assert len(table.entries()) == 14


def test_a_counter_stops_at_its_largest_value() -> None:
    table = Arena(num_lines=4, max_lines=1)
    for _ in range(3):
        table.add(0, 1, 2**31, 1, fast=True)
    assert table.entries() == {(0, 1): (2**32 - 1, 0, 3)}


def test_a_generation_starts_empty_again() -> None:
    table = Arena(num_lines=4, max_lines=4)
    table.add(0, 1, 1, 1)
    arena.reset(table.heads, 0, 5, 0)
    table.headers[:] = 0
    table.add(1, 2, 3, 4)
    assert table.heads[0, arena.GENERATION] == 5
    assert table.entries() == {(1, 2): (3, 0, 4)}


@given(keys=st.sets(st.integers(0, 30), max_size=20), gone=st.sets(st.integers(0, 30)))
@settings(max_examples=40, deadline=None)
def test_forgotten_keys_leave_and_the_others_can_still_be_found(
    keys: set[int], gone: set[int]
) -> None:
    table = Arena(num_lines=64, max_lines=16)
    for key in sorted(keys):
        table.add(0, key, key + 1, 1)
    is_gone = np.zeros(31, np.bool_)
    is_gone[sorted(gone)] = True
    arena.forget_keys(table.lines, table.heads, table.headers, is_gone)
    assert table.entries() == {(0, key): (key + 1, 0, 1) for key in keys - gone}
    for key in sorted(keys - gone):
        table.add(0, key, 1, 0, fast=True)
    assert table.entries() == {(0, key): (key + 2, 0, 1) for key in keys - gone}
