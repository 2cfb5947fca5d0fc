from __future__ import annotations

import numpy as np

from state.large_arrays import large_zeros


def test_a_large_array_is_zero_writable_and_aligned_to_lines() -> None:
    array = large_zeros((1 << 18, 16), np.uint32)
    assert array.shape == (1 << 18, 16) and array.dtype == np.uint32
    assert array.flags.c_contiguous and array.flags.writeable
    assert array.ctypes.data % 64 == 0
    assert not array.any()
    array[-1, -1] = 5
    assert array.sum() == 5
