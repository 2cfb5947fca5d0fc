"""Records of `headwater-item-signals`: one item's statistics and neighbours, packed.

Key: the item's id. Value, little-endian, version 1:

| bytes | what |
|---|---|
| 4 | ``HWS`` and the version |
| 1, 1, 2 | half-lives H, windows W, neighbours K |
| 8, 8 | item-deltas offset, event time of the read |
| 4 each | popularity (H), counts per action (5), interactions (W), out sums (W), in sums (W) |
| per neighbour | length of its id (1), id, then out (W), in (W), cf (W) of 2 bytes each |

Two-byte numbers are floats of 6 bits exponent and 10 bits mantissa without sign: 0, and 2**-31 to
2**33 within 0.05 %, more than ranking can tell; larger ones stop at the top. A value is about
1.2 KB at 50 neighbours and two windows. Null values are ignored. Absent: producing and pacing.
When the version grows, and what of it is still read: docs/decisions/0015-formats.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from state.signal_columns import SignalColumns
from stream.formats import newer_format
from stream.signal_kernels import (
    FIXED_BYTES,
    NEWER,
    NUM_ACTIONS,
    check_values,
    measure_values,
    read_values,
    write_values,
)
from stream.slab import Slab

VERSION = 1
_MAGIC = int.from_bytes(b"HWS" + bytes([VERSION]), "little")


def encode_signals(signals: SignalColumns) -> list[tuple[bytes, bytes]]:
    """Pack each item's signals: (key, value) records in the order of the columns."""
    if len(signals) == 0:
        return []
    lengths = measure_values(
        signals.popularity.shape[1],
        signals.interactions.shape[1],
        signals.neighbour_splits,
        signals.neighbour_lengths,
    )
    ends = np.cumsum(lengths)
    out = np.empty(int(ends[-1]), np.uint8)
    write_values(
        out,
        ends - lengths,
        _MAGIC,
        signals.buffer,
        signals.offsets,
        signals.as_of_ms,
        signals.popularity,
        signals.action_counts,
        signals.interactions,
        signals.out_sums,
        signals.in_sums,
        signals.neighbour_splits,
        signals.neighbour_starts,
        signals.neighbour_lengths,
        signals.neighbour_out,
        signals.neighbour_in,
        signals.neighbour_cf,
    )
    packed = out.tobytes()
    starts = (ends - lengths).tolist()
    return [
        (signals.item_id(index), packed[start:end])
        for index, (start, end) in enumerate(zip(starts, ends.tolist(), strict=True))
    ]


def decode_signals(
    slab: Slab, *, num_half_lives: int | None = None, num_windows: int | None = None
) -> SignalColumns:
    """Unpack the records of a slab in log order; ids are spans of the slab's buffer.

    Records that are not ours, broken, without key, or of other numbers of half-lives or windows
    than were asked for are left out (the owner of the item writes them anew);
    ``len(slab) - len(result)`` says how many, null values included.

    Args:
        slab: Records with keys.
        num_half_lives: H to keep; None takes the one that all records have.
        num_windows: W to keep; None takes the one that all records have.

    Raises:
        ValueError: None was given, and records of several kinds came.
        NewerFormat: A newer Headwater wrote one of them.
    """
    shapes = _shapes_of(slab)
    good = np.flatnonzero(shapes[:, 0] >= 0)
    if num_half_lives is None:
        num_half_lives = _one_of(shapes[good, 0], "half-lives")
    if num_windows is None:
        num_windows = _one_of(shapes[good, 1], "windows")
    fits = (shapes[:, 0] == num_half_lives) & (shapes[:, 1] == num_windows)
    good = np.flatnonzero(fits)
    splits = np.zeros(len(good) + 1, np.int64)
    np.cumsum(shapes[good, 2], out=splits[1:])
    columns = _empty_columns(slab, good, splits, num_half_lives, num_windows)
    read_values(
        slab.buffer,
        slab.value_starts[good],
        columns.offsets,
        columns.as_of_ms,
        columns.popularity,
        columns.action_counts,
        columns.interactions,
        columns.out_sums,
        columns.in_sums,
        columns.neighbour_splits,
        columns.neighbour_starts,
        columns.neighbour_lengths,
        columns.neighbour_out,
        columns.neighbour_in,
        columns.neighbour_cf,
    )
    return columns


def _one_of(counts: NDArray[np.int64], what: str) -> int:
    """Return the number that all records have; 0 of no record."""
    found = sorted({*counts.tolist()})
    if len(found) > 1:
        message = f"expected signals of one number of {what}, got {' and '.join(map(str, found))}"
        raise ValueError(message)
    return found[0] if found else 0


def _shapes_of(slab: Slab) -> NDArray[np.int64]:
    """Return H, W and K of each record, -1 where it is not whole: int64 (E, 3).

    Raises:
        NewerFormat: A newer Headwater wrote one of them.
    """
    shapes: NDArray[np.int64] = check_values(
        slab.buffer,
        slab.key_starts,
        slab.key_lengths,
        slab.value_starts,
        slab.value_lengths,
        _MAGIC,
    )
    newer = np.flatnonzero(shapes[:, 0] == NEWER)
    if len(newer) == 0:
        return shapes
    first = int(newer[0])
    raise newer_format(
        what="item signals",
        where=f"{slab.topic}/{slab.partition}",
        offset=int(slab.offsets[first]),
        found=int(shapes[first, 1]),
        readable=(VERSION,),
        to_go_back="name another item-signals topic, which fills again as items are acted on",
    )


def _empty_columns(
    slab: Slab, good: NDArray[np.int64], splits: NDArray[np.int64], half_lives: int, windows: int
) -> SignalColumns:
    count, num_neighbours = len(good), int(splits[-1])
    return SignalColumns(
        buffer=slab.buffer,
        starts=slab.key_starts[good],
        lengths=slab.key_lengths[good],
        offsets=np.empty(count, np.int64),
        as_of_ms=np.empty(count, np.int64),
        popularity=np.empty((count, half_lives), np.float32),
        action_counts=np.empty((count, NUM_ACTIONS), np.float32),
        interactions=np.empty((count, windows), np.float32),
        out_sums=np.empty((count, windows), np.float32),
        in_sums=np.empty((count, windows), np.float32),
        neighbour_splits=splits,
        neighbour_starts=np.empty(num_neighbours, np.int64),
        neighbour_lengths=np.empty(num_neighbours, np.int32),
        neighbour_out=np.empty((num_neighbours, windows), np.float32),
        neighbour_in=np.empty((num_neighbours, windows), np.float32),
        neighbour_cf=np.empty((num_neighbours, windows), np.float32),
    )


def compile_kernels() -> None:
    """Compile, or load from the cache, the kernels that write and read signals."""
    zeros = np.zeros((1, 1), np.float32)
    signals = SignalColumns(
        buffer=np.frombuffer(b"ab", np.uint8).copy(),
        starts=np.zeros(1, np.int64),
        lengths=np.ones(1, np.int32),
        offsets=np.zeros(1, np.int64),
        as_of_ms=np.zeros(1, np.int64),
        popularity=zeros,
        action_counts=np.zeros((1, NUM_ACTIONS), np.float32),
        interactions=zeros,
        out_sums=zeros,
        in_sums=zeros,
        neighbour_splits=np.array([0, 1], np.int64),
        neighbour_starts=np.ones(1, np.int64),
        neighbour_lengths=np.ones(1, np.int32),
        neighbour_out=zeros,
        neighbour_in=zeros,
        neighbour_cf=zeros,
    )
    values = [value for _, value in encode_signals(signals)]
    assert len(values[0]) >= FIXED_BYTES
    slab = Slab.from_values(values, topic="headwater-item-signals")
    decode_signals(slab)
    # Batches that were not compressed are bytes that cannot be written to: another compilation.
    decode_signals(replace(slab, buffer=np.frombuffer(slab.buffer.tobytes(), np.uint8)))
