"""The bounded heap equals a sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.sources.best import push_best, sort_best


@settings(deadline=None, max_examples=60)
@given(
    scores=st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0]), max_size=40),
    capacity=st.integers(1, 12),
    num_hashes=st.integers(1, 5),
)
def test_heap_keeps_what_a_sort_would(scores: list[float], capacity: int, num_hashes: int) -> None:
    hashes = (np.arange(40)[::-1] % num_hashes).astype(np.uint64)
    heap_scores, heap_rows = np.zeros(capacity, np.float32), np.zeros(capacity, np.int32)
    size = 0
    for row, score in enumerate(scores):
        size = push_best(heap_scores, heap_rows, size, np.float32(score), row, hashes)
    sort_best(heap_scores, heap_rows, size, hashes)
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], int(hashes[row]), row))
    assert heap_rows[:size].tolist() == order[:capacity]
    assert heap_scores[:size].tolist() == [scores[row] for row in order[:capacity]]
