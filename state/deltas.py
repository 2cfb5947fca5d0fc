"""DeltaRows: what the user side tells the item side, one row per event that changed something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRows:
    """Rows of one source partition in log order. R = rows, P = pairs.

    Row r owns the pairs ``[pair_splits[r], pair_splits[r + 1])``, newest first: each is a strong
    entry of the user's history that the row's item followed; one may be the item's own earlier
    entry. All item rows are local to the user partition that made them, and stay valid until its
    next ``apply``.

    Attributes:
        offsets: int64 (R,), source offsets, strictly ascending: one event makes at most one row.
        item_rows: int32 (R,), local.
        timestamps_ms: int64 (R,), event time of the tile that the row belongs to.
        actions: uint8 (R,), action code 0..5 (an ``unlike`` comes as LIKE with count -1),
            or ``SKIP``.
        counts: int8 (R,), +1 or -1 for the action's count.
        strengths: int16 (R,), change of the user's strength for the item.
        pair_splits: int64 (R + 1,).
        pair_item_rows: int32 (P,), the earlier items; local.
        pair_lags: uint8 (P,), 1 = the strong entry just before.
        pair_weights: uint8 (P,), ``round(255 * exp(-gap_ms / pair_tau_ms))``.
    """

    offsets: NDArray[np.int64]
    item_rows: NDArray[np.int32]
    timestamps_ms: NDArray[np.int64]
    actions: NDArray[np.uint8]
    counts: NDArray[np.int8]
    strengths: NDArray[np.int16]
    pair_splits: NDArray[np.int64]
    pair_item_rows: NDArray[np.int32]
    pair_lags: NDArray[np.uint8]
    pair_weights: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def empty(cls) -> DeltaRows:
        """Return no rows."""
        return cls(
            offsets=np.empty(0, np.int64),
            item_rows=np.empty(0, np.int32),
            timestamps_ms=np.empty(0, np.int64),
            actions=np.empty(0, np.uint8),
            counts=np.empty(0, np.int8),
            strengths=np.empty(0, np.int16),
            pair_splits=np.zeros(1, np.int64),
            pair_item_rows=np.empty(0, np.int32),
            pair_lags=np.empty(0, np.uint8),
            pair_weights=np.empty(0, np.uint8),
        )
