"""What a catalogue is told: ids as spans, signals of items and their neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from state.signal_columns import SignalColumns

NUM_HALF_LIVES = 5


def spans(ids: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths = np.array([len(each) for each in ids], np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    return np.frombuffer(b"".join(ids), np.uint8), starts, lengths


def make_signals(
    ids: Sequence[bytes],
    neighbours: Sequence[Sequence[bytes]],
    *,
    offset: int = 1,
    as_of_ms: int = 5_000,
    value: float = 1.0,
) -> SignalColumns:
    names = [name for each in neighbours for name in each]
    buffer, starts, lengths = spans([*ids, *names])
    count = len(ids)
    ranks = np.arange(len(names), dtype=np.float32)[:, None] + np.float32(value)
    pair = np.hstack((ranks, 2 * ranks))
    return SignalColumns(
        buffer=buffer,
        starts=starts[:count],
        lengths=lengths[:count],
        offsets=np.full(count, offset, np.int64),
        as_of_ms=np.full(count, as_of_ms, np.int64),
        popularity=np.full((count, NUM_HALF_LIVES), value, np.float32),
        action_counts=np.full((count, 5), value, np.float32),
        interactions=np.full((count, 2), value, np.float32),
        out_sums=np.full((count, 2), value, np.float32),
        in_sums=np.full((count, 2), value, np.float32),
        neighbour_splits=np.cumsum([0, *map(len, neighbours)], dtype=np.int64),
        neighbour_starts=starts[count:],
        neighbour_lengths=lengths[count:],
        neighbour_out=pair,
        neighbour_in=10 * pair,
        neighbour_cf=100 * pair,
    )
