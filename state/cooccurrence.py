"""CoOccurrence: ordered pairs and marginals per item, per window, in generations.

A window of length W in G generations keeps event time in parts of ``W / G``; part n holds
``[n * W / G, (n + 1) * W / G)`` and leaves whole once part ``n + G`` begins:

```
 n-3      n-2      n-1      n        newest event ->|
[--------)[--------)[--------)[------+
```

Only integers are summed and a part depends on nothing but its own rows, so every order of
arrival gives the same parts while no pair overflows. Lines of pairs: ``state.pair_arena``;
folding: ``state.pair_folds``; reading: ``state.pair_reads``. Absent: ids and the choice of rows
(``state.item_partition``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.frame_columns import FrameColumns
from state.item_limits import ItemLimits
from state.large_arrays import large_zeros, ready_zeros
from state.pair_arena import (
    END,
    GENERATION,
    HEADS,
    LANES,
    LINE_WORDS,
    USED,
    WORDS,
    forget_keys,
)
from state.pair_folds import add_rows
from state.table import Arrays

# Units of the summed weights: an `out` or `in` of 60 is one pair of lag 1, a `cf` of 255 is one
# pair without time between.
ORDER_UNIT = 60
CF_UNIT = 255


def order_weights() -> NDArray[np.int64]:
    """Return the integer weight per lag: int64 (256,), about ``60 / lag``; lag 0 counts nothing.

    >>> [int(weight) for weight in order_weights()[:6]]
    [0, 60, 30, 20, 15, 12]
    """
    lags = np.arange(1, 256)
    return np.concatenate((np.zeros(1, np.int64), (ORDER_UNIT + lags // 2) // lags))


class CoOccurrence:
    """Pairs and marginals of one item partition; see the module.

    Rows and keys are handed out by the owner of the table; memory is reserved at the bound and
    committed by the operating system as lines and rows come into use.
    """

    def __init__(self, *, limits: ItemLimits) -> None:
        self.num_generations = limits.num_generations
        self.generation_ms = np.array(
            [max(1, window // limits.num_generations) for window in limits.windows_ms], np.int64
        )
        num_slots = len(limits.windows_ms) * limits.num_generations
        self._max_lines = limits.max_row_pairs // LANES
        self._arena_lines = limits.max_pairs // limits.num_generations // LANES
        self._weights = order_weights()
        self.lines = large_zeros((num_slots * self._arena_lines, LINE_WORDS), np.uint32)
        self.headers = large_zeros((limits.max_items, num_slots, WORDS), np.int64)
        self.heads = np.zeros((num_slots, HEADS), np.int64)
        self.newest = np.zeros(len(limits.windows_ms), np.int64)
        self._empty_heads()

    def _empty_heads(self) -> None:
        self.heads[:] = 0
        self.heads[:, USED] = np.arange(len(self.heads)) * self._arena_lines
        self.heads[:, END] = self.heads[:, USED] + self._arena_lines
        self.heads[:, GENERATION] = -1
        self.newest[:] = -1

    def add(
        self, frame: FrameColumns, owned_rows: NDArray[np.int32], id_rows: NDArray[np.int32]
    ) -> tuple[int, int]:
        """Fold a frame; see :func:`add_rows` for the rows, the keys and what is returned."""
        num_lost, num_old = add_rows(
            self.lines.reshape(-1),
            self.heads,
            self.headers,
            np.zeros(len(self.newest), np.int64),
            self.newest,
            self.generation_ms,
            self._max_lines,
            self._weights,
            owned_rows,
            id_rows,
            frame.item_refs,
            frame.timestamps_ms,
            frame.counts,
            frame.strengths,
            frame.pair_splits,
            frame.pair_refs,
            frame.pair_lags,
            frame.pair_weights,
        )
        return int(num_lost), int(num_old)

    def slots_of(self, timestamps_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the arenas that rows of these times may be added to, each once: int64."""
        generations = timestamps_ms[:, None] // self.generation_ms  # (R, W)
        first = np.arange(len(self.generation_ms)) * self.num_generations
        return np.unique(first + generations % self.num_generations)

    def clear(self, rows: NDArray[np.int32]) -> None:
        """Forget some items; the room of their blocks returns when the generation leaves."""
        self.headers[rows] = 0

    def forget(self, is_gone: NDArray[np.bool_], num_rows: int) -> None:
        """Forget neighbours: ``is_gone`` (keys,) says which keys may be handed out anew."""
        forget_keys(self.lines, self.heads, self.headers[:num_rows], is_gone)

    def arrays(self, num_rows: int) -> Arrays:
        """Return views of everything in use, for a snapshot; rows ``[0, num_rows)``."""
        return {
            "headers": self.headers[:num_rows],
            "heads": self.heads,
            "newest": self.newest,
            "generation_ms": self.generation_ms,
            **{
                f"lines_{slot}": self.lines[slot * self._arena_lines : self.heads[slot, USED]]
                for slot in range(len(self.heads))
            },
        }

    def spare(self) -> Arrays:
        """Return room for a copy of each newest arena, some more than is in use; see ``freeze``."""
        first = np.arange(len(self.newest)) * self.num_generations
        slots = (first + self.newest % self.num_generations)[self.newest >= 0]
        used = self.heads[slots, USED] - slots * self._arena_lines
        room = np.minimum(used + (used >> 3), self._arena_lines)
        return {
            f"lines_{slot}": ready_zeros((num_lines, LINE_WORDS), np.uint32)
            for slot, num_lines in zip(slots.tolist(), room.tolist(), strict=True)
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`arrays` gave under the same limits; the rest becomes empty.

        Raises:
            ValueError: Under other windows, generations or room. Positions in the arenas would mean
                other lines, and numbers of generations other times.
        """
        self._empty_heads()
        self._refuse_others(arrays)
        # Fresh zeros commit no memory; filling the old ones would commit all up to the bound.
        self.headers = large_zeros(self.headers.shape, np.int64)
        self.headers[: len(arrays["headers"])] = arrays["headers"]
        self.heads[:] = arrays["heads"]
        self.newest[:] = arrays["newest"]
        for slot in range(len(self.heads)):
            start = slot * self._arena_lines
            used = arrays[f"lines_{slot}"]
            self.lines[start : start + len(used)] = used

    def _refuse_others(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        ends = arrays["heads"][:, END]
        # A snapshot from before it was said how long its generations are is believed.
        generation_ms = arrays.get("generation_ms", self.generation_ms)
        if not (
            np.array_equal(ends, self.heads[:, END])
            and np.array_equal(generation_ms, self.generation_ms)
        ):
            ours, theirs = self.generation_ms.tolist(), generation_ms.tolist()
            message = (
                f"expected pairs in {len(self.heads)} arenas of {self._arena_lines} lines, "
                f"generations of {ours} ms, got {len(ends)} of {ends[0]}, generations of {theirs} "
                "ms: windows_ms, num_generations or max_pairs differ"
            )
            raise ValueError(message)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return the slots for pairs handed out in the fullest generation, and their bound."""
        used = self.heads[:, USED] - np.arange(len(self.heads)) * self._arena_lines
        return {"pairs": (int(used.max()) * LANES, self._arena_lines * LANES)}
