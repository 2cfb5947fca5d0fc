"""ItemPartition: everything that the owner of an item partition knows, folded from item deltas.

Composes the id table, counts in tiles and co-occurrence in generations, and keeps the watermark
per source partition that makes a frame count once (DESIGN law 3). Two row spaces: an *id row* per
known id (owned items and neighbours that other partitions own), an *item row* per owned item.

Absent: the wire form of frames and signals (``stream``), pacing of signals (``consumers``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.cooccurrence import CoOccurrence
from state.frame_columns import FrameColumns, HoleFound, SourceUnknown
from state.frozen import Frozen
from state.frozen_items import FrozenItems
from state.id_index import IdIndex
from state.item_counts import ItemCounts
from state.item_digests import digest_counts, digest_rows
from state.item_kernels import look_up_items, touch
from state.item_limits import ItemLimits
from state.item_reads import describe_item, read_signals
from state.row_queue import RowQueue
from state.signal_columns import SignalColumns
from state.table import Arrays, with_prefix, without_prefix

_COUNTERS = ("applied", "duplicate", "old", "evicted", "overflowed")


class ItemPartition:
    """State of one item partition, a function of its item-deltas log.

    Attributes:
        partition: Number of the partition.
        next_offset: First offset of item-deltas not yet applied.
        watermarks: int64 (num_sources,), end of the last frame applied per source partition; -1
            takes the first frame from wherever it begins (see :meth:`start_at`).
        stream_time_ms: Largest event time applied; 0 before the first.
        ids: Known ids; id rows are the keys of pairs.
        counts: Counts per item row.
        pairs: Co-occurrence per item row.
        item_rows: int32 (id rows,), item row per id row, -1 where not owned.
        id_rows: int32 (max_items,), id row per item row below ``num_rows``, -1 where free.
    """

    def __init__(self, *, partition: int, num_sources: int, limits: ItemLimits) -> None:
        self.partition = partition
        self.limits = limits
        self.next_offset = 0
        self.watermarks = np.zeros(num_sources, np.int64)
        self.stream_time_ms = 0
        self.ids = IdIndex(max_ids=limits.max_ids, seed=limits.seed)
        self.counts = ItemCounts(limits=limits)
        self.pairs = CoOccurrence(limits=limits)
        self.item_rows = np.empty(0, np.int32)
        self.id_rows = np.zeros(limits.max_items, np.int32)
        self._touched_ms = np.empty(0, np.int64)
        self._free_rows = np.empty(0, np.int32)
        self._num_rows = 0
        self._dirty = RowQueue(max_rows=limits.max_items)
        self._tallies = np.zeros(len(_COUNTERS), np.int64)
        self._frozen: FrozenItems | None = None

    @property
    def counters(self) -> dict[str, int]:
        """Rows applied, duplicate (below a watermark), too old for every tile; evictions; pairs.

        ``evicted`` counts ids that left for want of room, ``overflowed`` pairs that found none.
        """
        return dict(zip(_COUNTERS, self._tallies.tolist(), strict=True))

    @property
    def num_rows(self) -> int:
        """High-water mark of item rows."""
        return self._num_rows

    def live_rows(self) -> NDArray[np.int32]:
        """Return the rows of all owned items, ascending: int32."""
        return np.flatnonzero(self.id_rows[: self._num_rows] >= 0).astype(np.int32)

    def start_at(self, offset: int) -> None:
        """Start an empty partition where its log's head was cut by retention.

        What came before is gone for everybody: the first frame of each source is taken as it is.
        """
        self.next_offset = offset
        self.watermarks[:] = -1

    def apply(self, *, offset: int, frame: FrameColumns) -> None:
        """Fold the frame at an item-deltas offset; what was applied before changes nothing.

        1. An offset below ``next_offset`` is a re-read: skip it.
        2. A frame that ends at or below its source's watermark was produced twice: drop it; of
           one that straddles it only the rows at or above count:
           ``[begin--dropped--)[watermark--applied--end)``.
        3. Fold the rest, move the watermark, remember the items for :meth:`take_dirty`.

        Raises:
            HoleFound: The frame starts above the watermark; nothing was changed.
            SourceUnknown: The frame's source partition is none of ours; nothing was changed.
        """
        if offset < self.next_offset:
            return
        source = frame.source_partition
        if not 0 <= source < len(self.watermarks):
            message = (
                f"expected a source partition below {len(self.watermarks)}, got {source}; "
                "was the interactions topic enlarged?"
            )
            raise SourceUnknown(message)
        watermark = int(self.watermarks[source])
        if watermark < 0:
            watermark = frame.begin
        if frame.begin > watermark:
            message = (
                f"expected a frame of source partition {source} that begins at or below "
                f"{watermark}, got [{frame.begin}, {frame.end}) at offset {offset} of item "
                f"partition {self.partition}: frames in between are lost; was the log truncated?"
            )
            raise HoleFound(message)
        self.next_offset = offset + 1
        num_rows = len(frame)
        if frame.begin < watermark:
            frame = frame.above(watermark)
        self._tally("duplicate", num_rows - len(frame))
        if frame.end > watermark:
            self.watermarks[source] = frame.end
        if len(frame):
            self._fold(frame)

    def _fold(self, frame: FrameColumns) -> None:
        if self._frozen is not None:
            self._frozen.before_ids(self.ids, frame)
        newest_ms = int(frame.timestamps_ms.max())
        self.stream_time_ms = max(self.stream_time_ms, newest_ms)
        id_rows = self._intern(frame, newest_ms)
        if id_rows.min() < 0:
            num_pairs = len(frame.pair_refs)
            frame = frame.known_only(id_rows >= 0)
            self._tally("overflowed", num_pairs - len(frame.pair_refs))
        item_rows = self._own(frame, id_rows)
        if self._frozen is not None:
            self._frozen.before_counts(self.pairs.slots_of(frame.timestamps_ms), frame, item_rows)
        num_old = self.counts.add(
            item_rows[frame.item_refs],
            frame.timestamps_ms,
            frame.actions,
            frame.counts,
            frame.strengths,
        )
        num_lost, _ = self.pairs.add(frame, item_rows, id_rows)
        self._dirty.append(item_rows)
        self._tally("applied", len(frame))
        self._tally("old", num_old)
        self._tally("overflowed", num_lost)

    def _intern(self, frame: FrameColumns, newest_ms: int) -> NDArray[np.int32]:
        """Return the id row of each id of the frame: int32 (I,); -1 where none could be had."""
        rows = np.full(frame.num_ids, -1, np.int32)
        done = 0
        while True:
            done = self.ids.intern(
                frame.buffer, frame.id_starts, frame.id_lengths, rows, begin=done
            )
            if done == frame.num_ids or not self._evict(self.ids.live_rows(), kept=rows[:done]):
                break
        rows[done:] = -1
        self._follow_ids()
        touch(self._touched_ms, rows[:done], newest_ms)
        return rows

    def _follow_ids(self) -> None:
        """Make the columns beside the id table as long as it is."""
        num_more = self.ids.capacity - len(self.item_rows)
        if num_more > 0:
            self.item_rows = np.append(self.item_rows, np.full(num_more, -1, np.int32))
            self._touched_ms = np.append(self._touched_ms, np.zeros(num_more, np.int64))

    def _own(self, frame: FrameColumns, id_rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the item row of each id of the frame, making rows for new items that we own.

        int32 (I,); -1 where another partition owns the item, or where no row could be had.
        """
        item_rows = np.empty(len(id_rows), np.int32)
        if not look_up_items(self.item_rows, id_rows, frame.is_owned, item_rows):
            return item_rows
        new_refs = np.flatnonzero(frame.is_owned & (id_rows >= 0) & (item_rows < 0))
        bound = self.limits.max_items
        while len(self._free_rows) + bound - self._num_rows < len(new_refs):
            if not self._evict(self.id_rows[self.live_rows()], kept=id_rows[id_rows >= 0]):
                break
        reused = self._free_rows[: len(new_refs)]
        num_new = min(len(new_refs) - len(reused), bound - self._num_rows)
        fresh = np.arange(self._num_rows, self._num_rows + num_new, dtype=np.int32)
        rows = np.concatenate((reused, fresh))
        self._free_rows = self._free_rows[len(reused) :]
        self._num_rows += num_new
        new_refs = new_refs[: len(rows)]
        item_rows[new_refs] = rows
        self.item_rows[id_rows[new_refs]] = rows
        self.id_rows[rows] = id_rows[new_refs]
        return item_rows

    def _evict(self, candidates: NDArray[np.int32], *, kept: NDArray[np.int32]) -> bool:
        """Forget the sixteenth of some id rows touched longest ago, never a kept one.

        Returns:
            Whether any left. Their entries in other items' pairs leave with them.
        """
        candidates = np.setdiff1d(candidates, kept)
        if not len(candidates):
            return False
        num_leaving = max(1, len(candidates) // 16)
        order = np.lexsort((candidates, self._touched_ms[candidates]))
        leaving = candidates[order[:num_leaving]]
        is_gone = np.zeros(self.ids.num_rows, np.bool_)
        is_gone[leaving] = True
        self._follow_ids()
        owned = self.item_rows[leaving]
        owned = owned[owned >= 0]
        if self._frozen is not None:
            self._frozen.before_eviction(leaving, owned)
        self.pairs.forget(is_gone, self._num_rows)
        self.counts.clear(owned)
        self.pairs.clear(owned)
        self._dirty.remove(owned)
        self.id_rows[owned] = -1
        self.item_rows[leaving] = -1
        self._touched_ms[leaving] = 0
        self._free_rows = np.concatenate((self._free_rows, owned))
        self.ids.remove(leaving)
        self._tally("evicted", num_leaving)
        return True

    def _tally(self, name: str, count: int) -> None:
        self._tallies[_COUNTERS.index(name)] += count

    def take_dirty(self, max_items: int) -> NDArray[np.int32]:
        """Hand over item rows touched since they were last taken, oldest first, each once."""
        return self._dirty.take(max_items)

    def are_live(self, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return bool (n,), the row still holds an item."""
        return self.id_rows[rows] >= 0

    def are_settled(self, rows: NDArray[np.int32], *, since_ms: int) -> NDArray[np.bool_]:
        """Return bool (n,), the live item row was touched since an event time and last taken."""
        touched_ms = self._touched_ms[self.id_rows[rows]]
        return (touched_ms > since_ms) & ~self._dirty.are_waiting(rows)

    def read_signals(self, rows: NDArray[np.int32], *, as_of_ms: int) -> SignalColumns:
        """Read statistics and top neighbours of some item rows (distinct, live) as of a moment.

        Ids are views into the id table, valid until the next :meth:`apply`.
        """
        return read_signals(self, rows, as_of_ms=as_of_ms)

    def describe(self, item_id: bytes) -> dict[str, Any] | None:
        """Return what is known of one item as plain values (for ``inspect``); None if unknown."""
        return describe_item(self, item_id)

    def digest_counts(self) -> Iterator[bytes]:
        """Yield canonical bytes of counts and marginals, an item at a time, sorted by id."""
        return digest_counts(self)

    def digest_rows(self) -> Iterator[bytes]:
        """Yield canonical bytes of the pairs, an item at a time, both sides sorted by id."""
        return digest_rows(self)

    def arrays(self) -> Arrays:
        """Return the whole state as views trimmed to what is in use."""
        num_ids = self.ids.num_rows
        return {
            "position": np.array([self.next_offset, self.stream_time_ms, self._num_rows], np.int64),
            "watermarks": self.watermarks,
            "tallies": self._tallies,
            "item_rows": self.item_rows[:num_ids],
            "touched_ms": self._touched_ms[:num_ids],
            "id_rows": self.id_rows[: self._num_rows],
            "free_rows": self._free_rows,
            "dirty_rows": self._dirty.rows(),
            **with_prefix("ids", self.ids.arrays()),
            **with_prefix("counts", self.counts.arrays(self._num_rows)),
            **with_prefix("pairs", self.pairs.arrays(self._num_rows)),
        }

    def spare(self) -> Arrays:
        """Return memory for :meth:`freeze`, made on any thread: folds then do not wait for it."""
        return with_prefix("pairs", self.pairs.spare())

    def freeze(self, spare: Arrays | None = None) -> Frozen:
        """Return the state as of now; it stays so while frames go on coming (``state.frozen``).

        Whoever freezes again leaves what was frozen before to be thrown away.

        Args:
            spare: What :meth:`spare` returned, used up by this; without it the first fold that
                counts pairs waits for the system to clear the memory of its copies.
        """
        self._frozen = FrozenItems(self.arrays(), spare or {})
        return self._frozen

    def thaw(self) -> None:
        """Keep nothing more for what was frozen."""
        self._frozen = None

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace the whole state by copies of what :meth:`arrays` gave under the same limits.

        Raises:
            ValueError: The arrays were made with other settings.
        """
        self.thaw()
        if len(arrays["watermarks"]) != len(self.watermarks):
            message = (
                f"expected {len(self.watermarks)} source partitions, got a snapshot of "
                f"{len(arrays['watermarks'])}; the interactions topic must keep its partitions"
            )
            raise ValueError(message)
        if len(arrays["id_rows"]) > len(self.id_rows):
            message = (
                f"expected at most {len(self.id_rows)} items, got {len(arrays['id_rows'])}; raise "
                "the bound"
            )
            raise ValueError(message)
        self.next_offset, self.stream_time_ms, self._num_rows = arrays["position"].tolist()
        self.watermarks[:] = arrays["watermarks"]
        self._tallies[:] = arrays["tallies"]
        self.item_rows = np.array(arrays["item_rows"], np.int32)
        self._touched_ms = np.array(arrays["touched_ms"], np.int64)
        self.id_rows[: self._num_rows] = arrays["id_rows"]
        self._free_rows = np.array(arrays["free_rows"], np.int32)
        self._dirty.restore(arrays["dirty_rows"])
        self.ids.restore(without_prefix("ids", arrays))
        self._follow_ids()
        self.counts.restore(without_prefix("counts", arrays))
        self.pairs.restore(without_prefix("pairs", arrays))

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return ``name -> (used, bound)`` of everything that grows."""
        owned = self._num_rows - len(self._free_rows)
        return {
            "items": (owned, self.limits.max_items),
            "ids": (self.ids.num_ids, self.limits.max_ids),
            "dirty": (len(self._dirty), self.limits.max_items),
            **self.pairs.sizes(),
        }


def compile_kernels() -> None:
    """Compile, or load from the cache, every kernel of the item side (before joining a group)."""
    limits = ItemLimits(max_items=4, max_ids=8, max_pairs=64, max_row_pairs=4)
    partition = ItemPartition(partition=0, num_sources=1, limits=limits)
    partition.apply(offset=0, frame=_two_items())
    partition.apply(offset=0, frame=_two_items())
    rows = partition.take_dirty(4)
    partition.read_signals(rows, as_of_ms=partition.stream_time_ms)
    for _ in (*partition.digest_counts(), *partition.digest_rows()):
        pass
    partition.pairs.forget(np.zeros(2, np.bool_), 2)


def _two_items() -> FrameColumns:
    return FrameColumns(
        source_partition=0,
        begin=0,
        end=1,
        buffer=np.frombuffer(b"ab", np.uint8),
        id_starts=np.array([0, 1], np.int64),
        id_lengths=np.array([1, 1], np.int32),
        is_owned=np.array([True, True]),
        offsets=np.zeros(1, np.int64),
        item_refs=np.zeros(1, np.int32),
        timestamps_ms=np.full(1, 1, np.int64),
        actions=np.zeros(1, np.uint8),
        counts=np.ones(1, np.int8),
        strengths=np.ones(1, np.int16),
        pair_splits=np.array([0, 1], np.int64),
        pair_refs=np.ones(1, np.int32),
        pair_lags=np.ones(1, np.uint8),
        pair_weights=np.ones(1, np.uint8),
    )
