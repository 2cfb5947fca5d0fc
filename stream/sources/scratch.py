"""Scratch: arrays over the catalogue that the sources of one retrieval share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from state.catalogue import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Dense arrays by catalogue row. Every kernel takes them zeroed and leaves them zeroed.

    Made with ``numpy.zeros`` per retrieval: the system maps zero pages lazily, so that a catalogue
    of a million items costs only the pages that are touched.

    Attributes:
        hashes: uint64 (N,), the catalogue's hash of each item id; a view, read only.
        sums: float64 (N,).
        marks: uint8 (N,).
        places: int32 (N,).
    """

    hashes: NDArray[np.uint64]
    sums: NDArray[np.float64]
    marks: NDArray[np.uint8]
    places: NDArray[np.int32]

    @classmethod
    def of(cls, catalogue: Catalogue) -> Scratch:
        """Return zeroed scratch for a catalogue."""
        num_rows = len(catalogue.is_live)
        return cls(
            hashes=catalogue.item_hashes,
            sums=np.zeros(num_rows, np.float64),
            marks=np.zeros(num_rows, np.uint8),
            places=np.zeros(num_rows, np.int32),
        )
