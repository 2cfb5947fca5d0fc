"""Adding to a line of four pairs with vector instructions; a line's layout: state.pair_arena.

LLVM's portable vectors: SSE or AVX on x86, NEON on ARM. All four keys are compared at once, and
an old entry and a new one are written by the same stores, because no predictor can guess which
it is (half of all additions make a new entry).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_LANES = 4
_INT32 = ir.IntType(32)
_VECTOR = ir.VectorType(_INT32, _LANES)
_BITS = ir.IntType(_LANES)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)
_ZEROS = ir.Constant(_VECTOR, [0] * _LANES)
_LANE_BITS = ir.Constant(_VECTOR, [1 << lane for lane in range(_LANES)])
# numpy promises no more for an array of uint32.
_ALIGNMENT = 4


def _spread(builder: Any, value: Any) -> Any:
    """Return a vector with the same value in every lane."""
    single = builder.insert_element(_UNDEFINED, value, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(single, _UNDEFINED, _ZEROS)


def _field(builder: Any, line: Any, field: int) -> Any:
    return builder.gep(line, [ir.Constant(_INT32, field)])


def _lanes_where_equal(builder: Any, left: Any, right: Any) -> Any:
    """Return an int32 whose bit ``lane`` says whether two vectors are equal there."""
    return builder.zext(builder.bitcast(builder.icmp_unsigned("==", left, right), _BITS), _INT32)


@intrinsic
def add_to_lanes(typing_context: Any, address: Any, word: Any, out: Any, into: Any, cf: Any) -> Any:
    """Add to a key's entry in the line at a uint64 byte address, or make it in the first free lane.

    ``word``: uint32, key + 1; ``out``, ``into``, ``cf``: uint32, sums stop at their largest value.
    True where the entry was found or made, False where others fill the line (inside kernels only).
    """
    signature = types.boolean(types.uint64, types.uint32, types.uint32, types.uint32, types.uint32)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, word, *weights = arguments
        line = builder.inttoptr(address, _VECTOR.as_pointer())
        keys = builder.load(line, align=_ALIGNMENT)
        words = _spread(builder, word)
        own = _lanes_where_equal(builder, keys, words)
        free = _lanes_where_equal(builder, keys, _ZEROS)
        first_free = builder.and_(free, builder.neg(free))
        zero = ir.Constant(_INT32, 0)
        chosen = builder.select(builder.icmp_unsigned("!=", own, zero), own, first_free)
        has_room = builder.icmp_unsigned("!=", chosen, zero)
        with builder.if_then(has_room, likely=True):
            lane = builder.and_(_spread(builder, chosen), _LANE_BITS)
            mask = builder.sext(builder.icmp_unsigned("!=", lane, _ZEROS), _VECTOR)
            builder.store(builder.or_(keys, builder.and_(words, mask)), line, align=_ALIGNMENT)
            add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR]), "llvm.uadd.sat.v4i32"
            )
            for field, weight in enumerate(weights, start=1):
                at = _field(builder, line, field)
                more = builder.and_(_spread(builder, weight), mask)
                builder.store(
                    builder.call(add, [builder.load(at, align=_ALIGNMENT), more]),
                    at,
                    align=_ALIGNMENT,
                )
        return has_room

    return signature, generate
