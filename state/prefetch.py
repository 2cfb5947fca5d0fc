"""Prefetch: ask the processor for a cache line that a kernel will change soon.

A hint without effect on results: it never faults and never waits. A kernel that knows the next
addresses overlaps their misses (about 100 ns each) instead of taking them one after another.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

_BYTE_POINTER = ir.IntType(8).as_pointer()
_INT32 = ir.IntType(32)
# Arguments of llvm.prefetch: for writing, keep in every cache level, data.
_FLAGS = (1, 3, 1)


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Start loading the cache line at a uint64 byte address (inside kernels only)."""
    signature = types.void(types.uint64)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        function_type = ir.FunctionType(ir.VoidType(), [_BYTE_POINTER, _INT32, _INT32, _INT32])
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", (_BYTE_POINTER,), function_type
        )
        pointer = builder.inttoptr(arguments[0], _BYTE_POINTER)
        builder.call(function, [pointer, *(ir.Constant(_INT32, flag) for flag in _FLAGS)])
        return context.get_dummy_value()

    return signature, generate
