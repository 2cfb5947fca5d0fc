"""Catalogue: every item that this worker knows, replicated from `items` and `item-signals`.

An item is *provisional* from the first sight of its id (live at once, embedding from its id),
*announced* once the `items` topic carried it, *removed* after a null value there. Rows are dense;
``epoch`` grows when rows are evicted, so that whoever keeps rows looks them up anew.

Absent: reading topics (``consumers``), scores (``stream.sources``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.catalogue_views import CatalogueViews
from state.fading import Fading
from state.id_index import IdIndex
from state.item_columns import ItemColumns
from state.item_limits import CatalogueLimits
from state.large_arrays import large_zeros
from state.neighbours import (
    CatalogueArrays,
    forget_neighbours,
    touch_rows,
    write_items,
    write_signals,
)
from state.seen import SEEN_SEED
from state.signal_columns import SignalColumns
from state.table import Arrays, with_prefix, without_prefix

_NUM_ACTIONS = 5


class Catalogue(CatalogueViews):
    """Items of a worker as columns by row; see the module.

    Attributes:
        limits: Bounds.
        epoch: Grows by one whenever items were evicted.
        fading: What pair counts weigh some time after their signal.
    """

    def __init__(self, *, limits: CatalogueLimits) -> None:
        self.limits = limits
        # The seed of seen filters, so that ``item_hashes`` are their keys: nobody hashes twice.
        items = IdIndex(max_ids=limits.max_items, seed=SEEN_SEED)
        super().__init__(items, _make_arrays(limits))
        self.epoch = 0
        self._window_weights = np.array(limits.window_weights, np.float32)
        self.fading = Fading.of(limits)
        self._half_lives_ms = np.array(limits.half_lives_ms, np.float64)
        self._num_evicted = 0
        self._live_rows: NDArray[np.int32] | None = None

    def ensure(
        self,
        buffer: NDArray[np.uint8],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int32],
        first_seen_ms: NDArray[np.int64],
    ) -> NDArray[np.int32]:
        """Return the row of each id, making unknown ones provisional items.

        At the bound the items least recently active leave first (those not live before all), but
        none of this call's; -1 where even that made no room.

        Args:
            buffer: uint8, bytes of the ids.
            starts: int64 (E,).
            lengths: int32 (E,).
            first_seen_ms: int64 (E,), event time at which the id was met.

        Returns:
            int32 (E,).
        """
        rows = np.full(len(starts), -1, np.int32)
        done = 0
        while True:
            done = self.items.intern(buffer, starts, lengths, rows, begin=done)
            num_new = touch_rows(
                self._arrays,
                rows[:done],
                first_seen_ms[:done],
                buffer,
                starts[:done],
                lengths[:done],
                self.limits.seed,
            )
            if num_new:
                self._live_rows = None
            if done == len(starts) or not self._evict(kept=rows[:done]):
                break
        rows[done:] = -1
        return rows

    def put(self, columns: ItemColumns) -> None:
        """Take announced items; an item that was removed is announced again and returns."""
        rows = self.ensure(columns.buffer, columns.starts, columns.lengths, columns.created_at_ms)
        write_items(
            self._arrays,
            rows,
            columns.buffer,
            columns.starts,
            columns.lengths,
            columns.created_at_ms,
            columns.duration_ms,
            columns.author_keys,
            columns.category_keys,
            columns.tag_splits,
            columns.tag_keys,
            columns.embedding_splits,
            columns.embedding_values,
            columns.is_hidden,
            self.limits.seed,
        )
        self._live_rows = None

    def remove(self, ids: Sequence[bytes]) -> None:
        """Mark items removed: not live until announced again, whatever interactions still come.

        An unknown id gets a row too, for its interactions may come later.
        """
        if not ids:
            return
        lengths = np.array([len(item_id) for item_id in ids], np.int32)
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        buffer = np.frombuffer(b"".join(ids), np.uint8)
        rows = self._find_or_ensure(buffer, starts, lengths, np.zeros(len(ids), np.int64))
        rows = rows[rows >= 0]
        self._arrays.is_removed[rows] = True
        self._arrays.is_live[rows] = False
        self._arrays.is_announced[rows] = False
        self._live_rows = None

    def apply_signals(self, signals: SignalColumns) -> None:
        """Take statistics and neighbours of items, per item those of the highest offset.

        Unknown items and neighbours become provisional items.

        Raises:
            ValueError: The signals were made for other half-lives or windows.
        """
        expected = (len(self._half_lives_ms), len(self._window_weights))
        came = (signals.popularity.shape[1], signals.interactions.shape[1])
        if came != expected:
            message = (
                f"expected signals of {expected[0]} half-lives and {expected[1]} windows, got "
                f"{came[0]} and {came[1]}"
            )
            raise ValueError(message)
        epoch = self.epoch
        counts = np.diff(signals.neighbour_splits)
        rows = self.ensure(signals.buffer, signals.starts, signals.lengths, signals.as_of_ms)
        neighbour_rows = self._find_or_ensure(
            signals.buffer,
            signals.neighbour_starts,
            signals.neighbour_lengths,
            np.repeat(signals.as_of_ms, counts),
        )
        if self.epoch != epoch:
            # Making room may have taken rows that were found first.
            rows = self.items.find(signals.buffer, signals.starts, signals.lengths)
            neighbour_rows = self.items.find(
                signals.buffer, signals.neighbour_starts, signals.neighbour_lengths
            )
        write_signals(
            self._arrays,
            rows,
            signals.offsets,
            signals.as_of_ms,
            signals.popularity,
            signals.action_counts,
            signals.interactions,
            signals.out_sums,
            signals.in_sums,
            signals.neighbour_splits,
            neighbour_rows,
            signals.neighbour_out,
            signals.neighbour_in,
            signals.neighbour_cf,
            self._window_weights,
        )

    def _find_or_ensure(
        self,
        buffer: NDArray[np.uint8],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int32],
        first_seen_ms: NDArray[np.int64],
    ) -> NDArray[np.int32]:
        """Return rows like :meth:`ensure`, but a known item does not count as seen."""
        rows = self.items.find(buffer, starts, lengths)
        unknown = np.flatnonzero(rows < 0)
        if len(unknown):
            epoch = self.epoch
            rows[unknown] = self.ensure(
                buffer, starts[unknown], lengths[unknown], first_seen_ms[unknown]
            )
            if self.epoch != epoch:
                rows = self.items.find(buffer, starts, lengths)
        return rows

    def _evict(self, *, kept: NDArray[np.int32]) -> bool:
        """Forget the sixteenth of the items active longest ago; tell whether any left."""
        candidates = np.setdiff1d(self.items.live_rows(), kept)
        if not len(candidates):
            return False
        arrays = self._arrays
        num_leaving = max(1, len(candidates) // 16)
        order = np.lexsort((candidates, arrays.active_ms[candidates], arrays.is_live[candidates]))
        leaving = candidates[order[:num_leaving]].astype(np.int32)
        is_gone = np.zeros(self.num_rows, np.bool_)
        is_gone[leaving] = True
        forget_neighbours(arrays, self.num_rows, is_gone)
        for column in arrays:
            column[leaving] = 0
        arrays.neighbour_rows[leaving] = -1
        self.items.remove(leaving)
        self.epoch += 1
        self._num_evicted += num_leaving
        self._live_rows = None
        return True

    def live_rows(self) -> NDArray[np.int32]:
        """Return the rows that may be recommended, ascending: int32 (shared: do not change)."""
        if self._live_rows is None:
            self._live_rows = np.flatnonzero(self.is_live).astype(np.int32)
        return self._live_rows

    @property
    def num_evicted(self) -> int:
        """Items that left for want of room so far."""
        return self._num_evicted

    def describe(self, item_id: bytes) -> dict[str, Any] | None:
        """Return what is known of one item as plain values (for ``inspect``); None if unknown."""
        row = self.items.row_of(item_id)
        if row < 0:
            return None
        arrays = self._arrays
        neighbours = arrays.neighbour_rows[row]
        neighbours = neighbours[neighbours >= 0]
        return {
            "item_id": item_id.decode(errors="replace"),
            "is_live": bool(arrays.is_live[row]),
            "is_announced": bool(arrays.is_announced[row]),
            "is_removed": bool(arrays.is_removed[row]),
            "created_at_ms": int(arrays.created_at_ms[row]),
            "duration_ms": int(arrays.duration_ms[row]),
            "num_tags": int(np.count_nonzero(arrays.tag_keys[row])),
            "popularity": dict(
                zip(
                    map(str, self.limits.half_lives_ms),
                    arrays.popularity[row].tolist(),
                    strict=True,
                )
            ),
            "as_of_ms": int(arrays.popularity_time_ms[row]),
            "action_counts": arrays.action_counts[row].tolist(),
            "interactions": float(arrays.interactions[row]),
            "signal_offset": int(arrays.signal_offsets[row]),
            "neighbours": [each.decode(errors="replace") for each in self.items.ids(neighbours)],
        }

    def arrays(self) -> Arrays:
        """Return the whole state as views trimmed to what is in use."""
        columns = {name: column[: self.num_rows] for name, column in self._columns().items()}
        return {
            "epoch": np.array([self.epoch, self._num_evicted], np.int64),
            **with_prefix("items", self.items.arrays()),
            **with_prefix("columns", columns),
        }

    def _columns(self) -> dict[str, NDArray[Any]]:
        return dict(zip(CatalogueArrays._fields, self._arrays, strict=True))

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace the whole state by copies of what :meth:`arrays` gave under the same limits."""
        self.epoch, self._num_evicted = arrays["epoch"].tolist()
        self.items.restore(without_prefix("items", arrays))
        self._arrays = _make_arrays(self.limits)
        columns = self._columns()
        for name, column in without_prefix("columns", arrays).items():
            columns[name][: len(column)] = column
        self._live_rows = None

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return ``name -> (used, bound)`` of everything that grows."""
        return {"items": (self.items.num_ids, self.limits.max_items)}


def _make_arrays(limits: CatalogueLimits) -> CatalogueArrays:
    count, neighbours = limits.max_items, (limits.max_items, limits.num_neighbours)
    return CatalogueArrays(
        embeddings=large_zeros((count, limits.dim), np.float32),
        author_keys=large_zeros((count,), np.uint64),
        category_keys=large_zeros((count,), np.uint64),
        tag_keys=large_zeros((count, limits.max_tags), np.uint64),
        created_at_ms=large_zeros((count,), np.int64),
        active_ms=large_zeros((count,), np.int64),
        duration_ms=large_zeros((count,), np.int32),
        is_known=large_zeros((count,), np.bool_),
        is_live=large_zeros((count,), np.bool_),
        is_announced=large_zeros((count,), np.bool_),
        is_removed=large_zeros((count,), np.bool_),
        popularity=large_zeros((count, len(limits.half_lives_ms)), np.float32),
        popularity_time_ms=large_zeros((count,), np.int64),
        action_counts=large_zeros((count, _NUM_ACTIONS), np.float32),
        interactions=large_zeros((count,), np.float32),
        out_sums=large_zeros((count,), np.float32),
        in_sums=large_zeros((count,), np.float32),
        window_shares=large_zeros((count, len(limits.window_weights)), np.float32),
        neighbour_rows=large_zeros(neighbours, np.int32),
        neighbour_out=large_zeros(neighbours, np.float32),
        neighbour_in=large_zeros(neighbours, np.float32),
        neighbour_cf=large_zeros(neighbours, np.float32),
        signal_offsets=large_zeros((count,), np.int64),
    )


def compile_kernels() -> None:
    """Compile, or load from the cache, every kernel of the catalogue."""
    for buffer in (np.frombuffer(b"abc", np.uint8), np.frombuffer(b"abc", np.uint8).copy()):
        # Read-only bytes come from records, writable ones from id tables: two compilations.
        catalogue = Catalogue(limits=CatalogueLimits(max_items=2, num_neighbours=2))
        starts, lengths = np.arange(2, dtype=np.int64), np.ones(2, np.int32)
        columns = ItemColumns.of([b"a", b"b"], created_at_ms=[1, 2])
        catalogue.put(replace(columns, buffer=buffer))
        catalogue.apply_signals(_no_signals(buffer, starts, lengths))
        catalogue.ensure(buffer, starts[1:] + 1, lengths[1:], np.array([3], np.int64))


def _no_signals(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int32]
) -> SignalColumns:
    count = len(starts)
    zeros = np.zeros((count, 2), np.float32)
    return SignalColumns(
        buffer=buffer,
        starts=starts,
        lengths=lengths,
        offsets=np.zeros(count, np.int64),
        as_of_ms=np.zeros(count, np.int64),
        popularity=np.zeros((count, 5), np.float32),
        action_counts=np.zeros((count, _NUM_ACTIONS), np.float32),
        interactions=zeros,
        out_sums=zeros,
        in_sums=zeros,
        neighbour_splits=np.array([0, 1, 1], np.int64),
        neighbour_starts=starts[1:],
        neighbour_lengths=lengths[1:],
        neighbour_out=zeros[1:],
        neighbour_in=zeros[1:],
        neighbour_cf=zeros[1:],
    )
