"""FrozenItems: the tables of an item partition as of one offset, while frames go on coming.

Counts change for the items of a frame's rows, headers also for the items before them. Which lines
of pairs change is not known before, but in which arenas: an arena is kept whole when the first row
of its generation comes, which is one or two of them, since event time mostly moves on. See
``state.frozen``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state.frame_columns import FrameColumns
from state.frozen import Frozen, index_groups
from state.id_index import IdIndex
from state.pair_arena import GENERATION
from state.table import Arrays


class FrozenItems(Frozen):
    """The arrays of ``ItemPartition.arrays`` as of now; ``spare`` as of ``ItemPartition.spare``."""

    def __init__(self, arrays: Arrays, spare: Arrays) -> None:
        heads, newest = arrays["pairs.heads"], arrays["pairs.newest"]
        is_newest = heads[:, GENERATION] == np.repeat(newest, len(heads) // len(newest))
        # The newest generations change next: copied first, their arenas need not be kept.
        lines = [f"pairs.lines_{slot}" for slot in np.argsort(~is_newest, kind="stable")]
        super().__init__(
            arrays,
            {
                **{name: [name] for name in lines},
                **index_groups("ids"),
                "ids": ["item_rows", "touched_ms"],
                "headers": ["pairs.headers"],
                "counts": ["counts.tiles", "counts.newest_minutes", "counts.last_touched_ms"],
            },
            spare=spare,
        )

    def before_ids(self, ids: IdIndex, frame: FrameColumns) -> None:
        """Keep what finding and adding a frame's ids changes; I ids take at most I free rows."""
        free = ids.next_free_rows(frame.num_ids)
        self.groups["ids.index"].keep(free)
        self.groups["ids"].keep(free)
        self.groups["ids"].keep(ids.find(frame.buffer, frame.id_starts, frame.id_lengths))

    def before_counts(
        self, slots: NDArray[np.int64], frame: FrameColumns, item_rows: NDArray[np.int32]
    ) -> None:
        """Keep what counting a frame changes: ``slots`` of arenas, ``item_rows`` int32 (I,)."""
        self.groups["counts"].keep(item_rows[frame.item_refs])
        self.groups["headers"].keep(item_rows)
        for slot in slots.tolist():
            self.groups[f"pairs.lines_{slot}"].keep_all()

    def before_eviction(self, id_rows: NDArray[np.int32], item_rows: NDArray[np.int32]) -> None:
        """Keep what forgetting some ids changes: every item's pairs may hold them."""
        self.groups["ids"].keep(id_rows)
        self.groups["ids.index"].keep_all()
        self.groups["ids.arena"].keep_all()
        self.groups["counts"].keep(item_rows)
        self.groups["headers"].keep(item_rows)
        for name, group in self.groups.items():
            if name.startswith("pairs.lines_"):
                group.keep_all()
