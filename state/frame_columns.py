"""FrameColumns: one decoded item-deltas frame as bare arrays, and what its receiver may raise.

A frame carries rows that one user partition derived for one item partition from the offsets
``[begin, end)`` of its log. Its ids stand in a table of their own; rows and pairs refer to them.
Absent: the wire form, which is ``stream.frames``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


class SourceUnknown(ValueError):
    """A frame's source partition is none of those that the receiver keeps watermarks of."""


class HoleFound(ValueError):
    """A frame starts above its source's watermark: rows in between are lost to the receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameColumns:
    """Rows of one frame in order of their source offsets. R rows, P pairs, I ids.

    A row is one applied action. Its pairs lead from earlier items of the same user's history to
    the row's item: pair (previous, next) has ``next = item_refs[r]`` and
    ``previous = pair_refs[p]`` for p in ``[pair_splits[r], pair_splits[r + 1])``.

    Attributes:
        source_partition: User partition that made the rows.
        begin: First source offset covered, the previous frame's ``end`` for this receiver.
        end: Source offset after the last covered.
        buffer: uint8, bytes that the id spans index into.
        id_starts: int64 (I,).
        id_lengths: int32 (I,), distinct ids.
        is_owned: bool (I,), the receiver owns the item: its counts and its row of pairs.
        offsets: int64 (R,), source offsets, ascending, within ``[begin, end)``.
        item_refs: int32 (R,), indices into the id table.
        timestamps_ms: int64 (R,), event time whose tile counts.
        actions: uint8 (R,), action codes (``state.actions``).
        counts: int8 (R,), +1 done, -1 taken back, 0 neither.
        strengths: int16 (R,), change of the interaction's strength.
        pair_splits: int64 (R + 1,).
        pair_refs: int32 (P,), indices into the id table.
        pair_lags: uint8 (P,), 1 = the item before.
        pair_weights: uint8 (P,), item-CF weight, 255 = no time between.
    """

    source_partition: int
    begin: int
    end: int
    buffer: NDArray[np.uint8]
    id_starts: NDArray[np.int64]
    id_lengths: NDArray[np.int32]
    is_owned: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    item_refs: NDArray[np.int32]
    timestamps_ms: NDArray[np.int64]
    actions: NDArray[np.uint8]
    counts: NDArray[np.int8]
    strengths: NDArray[np.int16]
    pair_splits: NDArray[np.int64]
    pair_refs: NDArray[np.int32]
    pair_lags: NDArray[np.uint8]
    pair_weights: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def num_ids(self) -> int:
        """Number of ids in the frame's table."""
        return len(self.id_starts)

    def item_id(self, ref: int) -> bytes:
        """Return a copy of one id of the table."""
        start = int(self.id_starts[ref])
        return self.buffer[start : start + int(self.id_lengths[ref])].tobytes()

    def above(self, watermark: int) -> FrameColumns:
        """Return the rows at or above a watermark, with only the ids that they use (a copy).

        For the rare frame that straddles its watermark after a restart:
        ``[begin--dropped--)[watermark--kept--end)``.
        """
        first = int(np.searchsorted(self.offsets, watermark, side="left"))
        first_pair = int(self.pair_splits[first])
        refs = np.concatenate((self.item_refs[first:], self.pair_refs[first_pair:]))
        used, inverse = np.unique(refs, return_inverse=True)
        dense = inverse.astype(np.int32)
        num_rows = len(self) - first
        return FrameColumns(
            source_partition=self.source_partition,
            begin=max(self.begin, watermark),
            end=self.end,
            buffer=self.buffer,
            id_starts=self.id_starts[used],
            id_lengths=self.id_lengths[used],
            is_owned=self.is_owned[used],
            offsets=self.offsets[first:],
            item_refs=dense[:num_rows],
            timestamps_ms=self.timestamps_ms[first:],
            actions=self.actions[first:],
            counts=self.counts[first:],
            strengths=self.strengths[first:],
            pair_splits=self.pair_splits[first:] - first_pair,
            pair_refs=dense[num_rows:],
            pair_lags=self.pair_lags[first_pair:],
            pair_weights=self.pair_weights[first_pair:],
        )

    def known_only(self, is_known: NDArray[np.bool_]) -> FrameColumns:
        """Return the frame without the pairs that touch an unknown id (``is_known`` bool (I,)).

        Rows stay, those of unknown items without pairs: the receiver skips what it cannot place.
        """
        num_pairs = np.diff(self.pair_splits)
        keep = is_known[self.pair_refs] & np.repeat(is_known[self.item_refs], num_pairs)
        kept_before = np.zeros(len(keep) + 1, np.int64)
        np.cumsum(keep, out=kept_before[1:])
        return replace(
            self,
            pair_splits=kept_before[self.pair_splits],
            pair_refs=self.pair_refs[keep],
            pair_lags=self.pair_lags[keep],
            pair_weights=self.pair_weights[keep],
        )
