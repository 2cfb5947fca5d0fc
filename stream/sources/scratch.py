"""What every source kernel takes beside its own columns: the users' histories and scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from state.catalogue import Catalogue
    from stream.candidates import UserBatch


class Histories(NamedTuple):
    """The histories of B users, for kernels; views of a UserBatch, named as there.

    Attributes:
        rows: int32 (B, L), oldest first; -1 where the item left the catalogue.
        lengths: int32 (B,).
        strengths: uint8 (B, L).
        actions: uint16 (B, L).
        seen_words: uint64 (B, W).
        now_ms: int64 (B,).
    """

    rows: NDArray[np.int32]
    lengths: NDArray[np.int32]
    strengths: NDArray[np.uint8]
    actions: NDArray[np.uint16]
    seen_words: NDArray[np.uint64]
    now_ms: NDArray[np.int64]

    @classmethod
    def of(cls, users: UserBatch) -> Histories:
        """Return the views that kernels read."""
        return cls(
            rows=users.history_rows,
            lengths=users.history_lengths,
            strengths=users.history_strengths,
            actions=users.history_actions,
            seen_words=users.seen_words,
            now_ms=users.now_ms,
        )


class Scratch(NamedTuple):
    """Arrays by catalogue row. Every kernel takes the last three zeroed and leaves them zeroed.

    Made with ``numpy.zeros`` per retrieval: the system maps zero pages lazily, so that a catalogue
    of a million items costs only the pages that are touched.

    Attributes:
        hashes: uint64 (N,), ``state.seen.seen_key`` of each item id; a view, read only.
        is_live: bool (N,); a view, read only.
        sums: float64 (N,).
        marks: uint8 (N,).
        places: int32 (N,).
    """

    hashes: NDArray[np.uint64]
    is_live: NDArray[np.bool_]
    sums: NDArray[np.float64]
    marks: NDArray[np.uint8]
    places: NDArray[np.int32]

    @classmethod
    def of(cls, catalogue: Catalogue) -> Scratch:
        """Return zeroed scratch for a catalogue."""
        num_rows = len(catalogue.is_live)
        return cls(
            hashes=catalogue.item_hashes,
            is_live=catalogue.is_live,
            sums=np.zeros(num_rows, np.float64),
            marks=np.zeros(num_rows, np.uint8),
            places=np.zeros(num_rows, np.int32),
        )
