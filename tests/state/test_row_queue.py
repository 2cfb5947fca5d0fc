from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.row_queue import RowQueue


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.lists(st.integers(-1, 7))),
            st.tuples(st.just("take"), st.lists(st.integers(0, 7), unique=True)),
            st.tuples(st.just("remove"), st.lists(st.integers(0, 7), unique=True)),
        ),
        max_size=20,
    )
)
@settings(max_examples=80, deadline=None)
def test_a_queue_is_a_list_without_repeats(steps: list[tuple[str, list[int]]]) -> None:
    queue, expected = RowQueue(max_rows=8), list[int]()
    for kind, numbers in steps:
        rows = np.array(numbers, np.int32)
        if kind == "append":
            queue.append(rows)
            for row in numbers:
                if row >= 0 and row not in expected:
                    expected.append(row)
        elif kind == "take":
            assert queue.take(len(numbers)).tolist() == expected[: len(numbers)]
            expected = expected[len(numbers) :]
        else:
            queue.remove(rows)
            expected = [row for row in expected if row not in numbers]
        assert queue.rows().tolist() == expected
        assert len(queue) == len(expected)
