"""SignalColumns: what an item's owner tells every worker about it, as bare arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalColumns:
    """Statistics and neighbours of N items. H half-lives, W windows, M neighbours in all.

    Item n owns the neighbours ``[neighbour_splits[n], neighbour_splits[n + 1])``, best first.
    Pair sums are raw weights (not normalised) in units of one pair: 1.0 of ``out`` or ``in`` is
    one pair of lag 1, 1.0 of ``cf`` one pair without time between, weighed by generation age.

    Attributes:
        buffer: uint8, bytes that all id spans index into; a view.
        starts: int64 (N,).
        lengths: int32 (N,).
        offsets: int64 (N,), item-deltas offset up to which the owner had folded; only a higher
            one replaces an item's signals.
        as_of_ms: int64 (N,), event time that decay refers to.
        popularity: float32 (N, H), decayed sum of strengths per half-life.
        action_counts: float32 (N, 5), decayed counts per action code.
        interactions: float32 (N, W), actions counted, those taken back subtracted.
        out_sums: float32 (N, W), sum of ``out`` over all pairs of the item.
        in_sums: float32 (N, W), sum of ``in`` over all pairs of the item.
        neighbour_splits: int64 (N + 1,).
        neighbour_starts: int64 (M,).
        neighbour_lengths: int32 (M,).
        neighbour_out: float32 (M, W), pairs from the item to the neighbour.
        neighbour_in: float32 (M, W), pairs from the neighbour to the item.
        neighbour_cf: float32 (M, W), pairs either way, by time between.
    """

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    offsets: NDArray[np.int64]
    as_of_ms: NDArray[np.int64]
    popularity: NDArray[np.float32]
    action_counts: NDArray[np.float32]
    interactions: NDArray[np.float32]
    out_sums: NDArray[np.float32]
    in_sums: NDArray[np.float32]
    neighbour_splits: NDArray[np.int64]
    neighbour_starts: NDArray[np.int64]
    neighbour_lengths: NDArray[np.int32]
    neighbour_out: NDArray[np.float32]
    neighbour_in: NDArray[np.float32]
    neighbour_cf: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.starts)

    def item_id(self, index: int) -> bytes:
        """Return a copy of one item's id."""
        start = int(self.starts[index])
        return self.buffer[start : start + int(self.lengths[index])].tobytes()

    def neighbour_id(self, index: int) -> bytes:
        """Return a copy of one neighbour's id."""
        start = int(self.neighbour_starts[index])
        return self.buffer[start : start + int(self.neighbour_lengths[index])].tobytes()
