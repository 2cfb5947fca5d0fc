"""CatalogueViews: the catalogue's columns as whoever ranks reads them, one property per column."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state.id_index import IdIndex
from state.neighbours import CatalogueArrays


class CatalogueViews:
    """Columns by catalogue row, N = ``num_rows``; views, for reading only.

    Valid until the next change of the catalogue. The rows of evicted items stay until reused:
    not live, zero.

    Attributes:
        items: Ids to rows.
    """

    def __init__(self, items: IdIndex, arrays: CatalogueArrays) -> None:
        self.items = items
        self._arrays = arrays

    @property
    def num_rows(self) -> int:
        """N, rows in use."""
        return self.items.num_rows

    @property
    def item_hashes(self) -> NDArray[np.uint64]:
        """uint64 (N,), ``state.seen.seen_key`` of each id; equal over runs and workers."""
        return self.items.columns.hashes[: self.num_rows]

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """float32 (N, D), unit length."""
        return self._arrays.embeddings[: self.num_rows]

    @property
    def author_keys(self) -> NDArray[np.uint64]:
        """uint64 (N,), 0 = none."""
        return self._arrays.author_keys[: self.num_rows]

    @property
    def category_keys(self) -> NDArray[np.uint64]:
        """uint64 (N,), 0 = none."""
        return self._arrays.category_keys[: self.num_rows]

    @property
    def tag_keys(self) -> NDArray[np.uint64]:
        """uint64 (N, T), 0 = none."""
        return self._arrays.tag_keys[: self.num_rows]

    @property
    def created_at_ms(self) -> NDArray[np.int64]:
        """int64 (N,), as announced; first seen where unannounced."""
        return self._arrays.created_at_ms[: self.num_rows]

    @property
    def duration_ms(self) -> NDArray[np.int32]:
        """int32 (N,), 0 = unknown."""
        return self._arrays.duration_ms[: self.num_rows]

    @property
    def is_live(self) -> NDArray[np.bool_]:
        """Flags bool (N,), may be recommended."""
        return self._arrays.is_live[: self.num_rows]

    @property
    def is_announced(self) -> NDArray[np.bool_]:
        """Flags bool (N,), the `items` topic carried it and has not removed it."""
        return self._arrays.is_announced[: self.num_rows]

    @property
    def popularity(self) -> NDArray[np.float32]:
        """float32 (N, H), decayed sums of strengths as of ``popularity_time_ms``."""
        return self._arrays.popularity[: self.num_rows]

    @property
    def popularity_time_ms(self) -> NDArray[np.int64]:
        """int64 (N,), event time that ``popularity`` and ``action_counts`` refer to."""
        return self._arrays.popularity_time_ms[: self.num_rows]

    @property
    def action_counts(self) -> NDArray[np.float32]:
        """float32 (N, 5), decayed counts per action code."""
        return self._arrays.action_counts[: self.num_rows]

    @property
    def interactions(self) -> NDArray[np.float32]:
        """float32 (N,), actions counted in the blended windows."""
        return self._arrays.interactions[: self.num_rows]

    @property
    def out_sums(self) -> NDArray[np.float32]:
        """float32 (N,), sum of ``out`` over all pairs; 1.0 = one pair of lag 1."""
        return self._arrays.out_sums[: self.num_rows]

    @property
    def in_sums(self) -> NDArray[np.float32]:
        """float32 (N,), sum of ``in`` over all pairs; 1.0 = one pair of lag 1."""
        return self._arrays.in_sums[: self.num_rows]

    @property
    def window_shares(self) -> NDArray[np.float32]:
        """float32 (N, W), each window's part of ``interactions``; sums to 1, 0 before a signal."""
        return self._arrays.window_shares[: self.num_rows]

    @property
    def neighbour_rows(self) -> NDArray[np.int32]:
        """int32 (N, K), catalogue rows, best first, -1 after the last."""
        return self._arrays.neighbour_rows[: self.num_rows]

    @property
    def neighbour_out(self) -> NDArray[np.float32]:
        """float32 (N, K), pairs from the item to the neighbour."""
        return self._arrays.neighbour_out[: self.num_rows]

    @property
    def neighbour_in(self) -> NDArray[np.float32]:
        """float32 (N, K), pairs from the neighbour to the item."""
        return self._arrays.neighbour_in[: self.num_rows]

    @property
    def neighbour_cf(self) -> NDArray[np.float32]:
        """float32 (N, K), pairs either way by time between; 1.0 = no time between."""
        return self._arrays.neighbour_cf[: self.num_rows]

    @property
    def signal_offsets(self) -> NDArray[np.int64]:
        """int64 (N,), item-deltas offset of the signals held; -1 = none yet."""
        return self._arrays.signal_offsets[: self.num_rows]
