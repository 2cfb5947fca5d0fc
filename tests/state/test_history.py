"""History against a list of entries."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.history import (
    EMPTY,
    clear_history,
    drop_items,
    find_entry,
    make_history,
    move_to_newest,
    open_newest,
    place_of,
)

NUM_ITEMS = 8


def entries(history, user_row: int) -> list[tuple[int, int, int, int, int]]:
    places = [place_of(history, user_row, k) for k in range(int(history.lengths[user_row]))]
    columns = history[:5]
    return [tuple(int(column[user_row, place]) for column in columns) for place in places]


STEPS = st.lists(
    st.tuples(st.sampled_from(["touch"] * 9 + ["drop", "clear"]), st.integers(0, NUM_ITEMS - 1)),
    max_size=60,
)


@given(steps=STEPS, max_history=st.integers(1, 6))
@settings(deadline=None, max_examples=200)
def test_history_equals_a_list(steps: list, max_history: int) -> None:
    history = make_history(max_history=max_history, capacity=3)
    expected: list[tuple[int, int, int, int, int]] = []
    for n, (step, item) in enumerate(steps):
        known = [entry[0] for entry in expected]
        if step == "touch":
            entry = find_entry(history, 1, item)
            assert entry == (known.index(item) if item in known else EMPTY)
            if entry == EMPTY:
                place = open_newest(history, 1)
            else:
                place = move_to_newest(history, 1, entry)
                del expected[entry]
            new = (item, n, n % 5, n % 700, n % 256)
            for column, value in zip(history[:5], new, strict=True):
                column[1, place] = value
            expected = [*expected, new][-max_history:]
        elif step == "drop":
            is_gone = np.zeros(NUM_ITEMS, np.bool_)
            is_gone[[item, (item + 3) % NUM_ITEMS]] = True
            drop_items(history, 3, is_gone)
            expected = [entry for entry in expected if not is_gone[entry[0]]]
        else:
            clear_history(history, 1)
            expected = []
        assert entries(history, 1) == expected
    assert not any(column[[0, 2]].any() for column in history)
