from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.item_kernels import look_up_items, touch

TIMES = st.lists(st.integers(0, 9), min_size=6, max_size=6)


@given(times=TIMES, rows=st.lists(st.integers(0, 5)), now_ms=st.integers(0, 9))
@settings(deadline=None)
def test_touch_raises_times_and_lowers_none(times: list[int], rows: list[int], now_ms: int) -> None:
    touched = np.array(times, np.int64)
    touch(touched, np.array(rows, np.int32), now_ms)
    assert touched.tolist() == [
        max(time_ms, now_ms) if row in rows else time_ms for row, time_ms in enumerate(times)
    ]


@given(
    item_rows=st.lists(st.integers(-1, 9), min_size=6, max_size=6),
    ids=st.lists(st.tuples(st.integers(-1, 5), st.booleans())),
)
@settings(deadline=None)
def test_only_items_that_we_own_are_looked_up(
    item_rows: list[int], ids: list[tuple[int, bool]]
) -> None:
    id_rows = np.array([row for row, _ in ids], np.int32)
    is_owned = np.array([owned for _, owned in ids], np.bool_)
    found = np.full(len(ids), 77, np.int32)
    num_new = look_up_items(np.array(item_rows, np.int32), id_rows, is_owned, found)
    expected = [item_rows[row] if owned and row >= 0 else -1 for row, owned in ids]
    assert found.tolist() == expected
    assert num_new == sum(owned and row >= 0 and item_rows[row] < 0 for row, owned in ids)
