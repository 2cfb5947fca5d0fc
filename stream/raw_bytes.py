"""Loads from raw memory for numba kernels: bytes and 8-byte words at an address.

A kernel takes the address of a buffer (``buffer.ctypes.data``) and works on plain integers: no
reference counts, no wrap-around of negative indices, and one compilation for read-only and
writable buffers. The caller keeps the array alive and the positions inside it; like all indexing
in numba, a load is not checked.

Words are little-endian: the first byte is the lowest.
"""

# numba's decorator hides the kernels' types from mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic


def _load(bits: int, result: Any) -> Any:
    """Make the code generator of a zero-extended load of so many bits at address + position."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address = builder.add(arguments[0], arguments[1])
        pointer = builder.inttoptr(address, ir.IntType(bits).as_pointer())
        loaded = builder.load(pointer)
        loaded.align = 1
        return builder.zext(loaded, ir.IntType(64)) if bits < 64 else loaded

    return result(types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def load_byte(_typing: Any, address: Any, position: Any) -> Any:
    """Load one byte as int64 in ``[0, 256)``."""
    return _load(8, types.int64)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def load_word(_typing: Any, address: Any, position: Any) -> Any:
    """Load eight bytes, aligned or not, as uint64."""
    return _load(64, types.uint64)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def trailing_zeros(_typing: Any, word: Any) -> Any:
    """Count the zero bits below the lowest one bit of a uint64; 64 where there is none."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), code


@njit(cache=True, nogil=True)
def word_within(address: int, position: int, end: int) -> np.uint64:
    """Load up to eight bytes of ``[position, end)``; what lies at or after ``end`` reads as 0.

    Needs ``position < end`` and at least eight bytes of the buffer before ``end``.
    """
    if position + 8 <= end:
        return load_word(address, position)
    return load_word(address, end - 8) >> np.uint64(8 * (position + 8 - end))
