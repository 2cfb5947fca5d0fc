"""Where a partition's items stand in the worker's catalogue: a derived column, kept lazily.

A user partition has item rows of its own; the catalogue is shared by all partitions and evicts by
its own rules. ``epoch`` says when rows moved: then every translation is looked up anew.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from state.admission import NO_ROW
from state.id_index import IdIndex
from state.row_facts import ItemFacts
from state.table import writable
from state.user_fold import CatalogueColumns


class CatalogueView(Protocol):
    """What the user side needs of ``state.catalogue.Catalogue``."""

    @property
    def items(self) -> IdIndex:
        """Ids of the catalogue's rows."""
        ...

    @property
    def epoch(self) -> int:
        """Grows when rows are evicted."""
        ...

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """float32 (N, D)."""
        ...

    @property
    def author_keys(self) -> NDArray[np.uint64]:
        """uint64 (N,); 0 = none."""
        ...

    @property
    def tag_keys(self) -> NDArray[np.uint64]:
        """uint64 (N, T); 0 = none."""
        ...

    def ensure(
        self,
        buffer: NDArray[np.uint8],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int32],
        first_seen_ms: NDArray[np.int64],
    ) -> NDArray[np.int32]:
        """Find or make provisional items; return their rows."""
        ...


class CatalogueRows:
    """Keeps ``ItemFacts.catalogue_rows`` true against one catalogue, or all -1 without one."""

    def __init__(self, catalogue: CatalogueView | None) -> None:
        self._catalogue = catalogue
        # The epoch at which the translations hold; None: every item must be brought in.
        self._epoch: int | None = None if catalogue is None else catalogue.epoch

    @property
    def dim(self) -> int:
        """Dimensions of an embedding; 0 without a catalogue."""
        return 0 if self._catalogue is None else int(self._catalogue.embeddings.shape[1])

    def forget(self) -> None:
        """Trust no translation any more: the items were restored from a snapshot."""
        self._epoch = None

    def refresh(self, items: IdIndex, facts: ItemFacts) -> None:
        """Bring all translations up to the catalogue's epoch; nothing to do in most calls."""
        if self._catalogue is None or self._epoch == self._catalogue.epoch:
            return
        is_restored = self._epoch is None
        facts.catalogue_rows[: items.num_rows] = NO_ROW
        rows = items.live_rows()
        if is_restored:
            self._bring_in(items, facts, rows)
        self._look_up(items, facts, rows)

    def ensure(self, items: IdIndex, facts: ItemFacts, rows: NDArray[np.int32]) -> None:
        """Make sure that these items (local rows, -1 ignored) have catalogue rows."""
        if self._catalogue is None:
            return
        self.refresh(items, facts)
        rows = rows[rows >= 0]
        rows = np.unique(rows[facts.catalogue_rows[rows] < 0])
        if len(rows) == 0:
            return
        self._bring_in(items, facts, rows)
        if self._epoch != self._catalogue.epoch:
            self._look_up(items, facts, items.live_rows())

    def columns(self) -> CatalogueColumns:
        """Return the catalogue's arrays as they are now, for one kernel call."""
        catalogue = self._catalogue
        if catalogue is None:
            return CatalogueColumns(
                embeddings=np.zeros((0, 0), np.float32),
                author_keys=np.zeros(0, np.uint64),
                tag_keys=np.zeros((0, 0), np.uint64),
            )
        return CatalogueColumns(
            embeddings=writable(catalogue.embeddings, np.float32),
            author_keys=writable(catalogue.author_keys, np.uint64),
            tag_keys=writable(catalogue.tag_keys, np.uint64),
        )

    def _bring_in(self, items: IdIndex, facts: ItemFacts, rows: NDArray[np.int32]) -> None:
        assert self._catalogue is not None
        facts.catalogue_rows[rows] = self._catalogue.ensure(
            items.arena, items.starts[rows], items.lengths[rows], facts.first_seen_ms[rows]
        )

    def _look_up(self, items: IdIndex, facts: ItemFacts, rows: NDArray[np.int32]) -> None:
        assert self._catalogue is not None
        found = self._catalogue.items.find(items.arena, items.starts[rows], items.lengths[rows])
        facts.catalogue_rows[rows] = found
        self._epoch = self._catalogue.epoch
