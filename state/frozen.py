"""Frozen columns: copies of columns as of one moment, made while their rows go on changing.

Copy on update, after Cao, Vaz Salles, Sowell, Yue, Demers, Gehrke, White 2011 ("Fast checkpoint
recovery algorithms for frequently consistent applications"): whoever owns the columns says which
rows it is about to change, and what they held is kept aside; a copier on any other thread reads
the columns as they are, torn where they change under its hands; in the end what was kept is laid
over its copy. A row that was not kept never changed, one that was kept is not taken from the copy.

```
frozen          kept: row 2          kept: row 0
  |  copied [0 1 .  .]  |  copied [0 1 x 3]   |  result = copied, kept rows over it
```
Absent: threads. ``keep`` belongs to the owner, ``pieces`` to one copier, ``arrays`` to whoever
comes after both have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.large_arrays import large_zeros
from state.table import Arrays

# Bytes copied between two looks at the interpreter lock: about a millisecond.
_PIECE_BYTES = 1 << 22


class FrozenColumns:
    """Columns of equal length, frozen row by row.

    Args:
        columns: Name to array, the row first; views that stay where they are. A table that grows
            makes new arrays and leaves these alone, so they are right without being kept.
        spare: Name to an array for :meth:`keep_all` to copy into, where it is long enough: memory
            that the owner need not wait for (``state.large_arrays.ready_zeros``).
    """

    def __init__(
        self, columns: Mapping[str, NDArray[Any]], spare: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        self._columns = dict(columns)
        self._spare = dict(spare or {})
        self.num_rows = min((len(each) for each in self._columns.values()), default=0)
        assert all(len(each) == self.num_rows for each in self._columns.values())
        self._is_kept = np.zeros(self.num_rows, np.bool_)
        self._kept: list[tuple[NDArray[np.int64] | slice, Arrays]] = []
        self._copies: Arrays = {}
        # Rows below it were copied before they changed: written by the copier, read by the owner.
        self._num_copied = 0

    def keep(self, rows: NDArray[Any]) -> None:
        """Keep what some rows hold, before they change; repeated, unknown and new rows are fine."""
        first = self._num_copied
        if first >= self.num_rows:
            return
        rows = rows[(rows >= first) & (rows < self.num_rows)]
        rows = np.unique(rows[~self._is_kept[rows]]).astype(np.int64)
        if not len(rows):
            return
        self._is_kept[rows] = True
        # Reversed when laid over: of a row that was kept twice the first time counts.
        self._kept.append((rows, {name: each[rows] for name, each in self._columns.items()}))

    def keep_all(self) -> None:
        """Keep every row, before a change of many."""
        first = self._num_copied
        if first >= self.num_rows or self._is_kept[first:].all():
            return
        self._is_kept[first:] = True
        rest = slice(first, self.num_rows)
        kept = {
            name: _copy(each[rest], self._spare.pop(name, None))
            for name, each in self._columns.items()
        }
        self._kept.append((rest, kept))

    def pieces(self) -> Iterator[int]:
        """Copy the columns piece by piece; give the bytes of each after it was copied."""
        for name, each in self._columns.items():
            self._copies[name] = large_zeros(each.shape, each.dtype.type)
        row_bytes = sum(each[:1].nbytes for each in self._columns.values())
        step = max(_PIECE_BYTES // max(row_bytes, 1), 1)
        for begin in range(0, self.num_rows, step):
            end = min(begin + step, self.num_rows)
            for name, each in self._columns.items():
                self._copies[name][begin:end] = each[begin:end]
            self._num_copied = end
            yield (end - begin) * row_bytes

    def arrays(self) -> Arrays:
        """Return the columns as they were when frozen: the copies, what was kept laid over."""
        for rows, kept in reversed(self._kept):
            for name, values in kept.items():
                self._copies[name][rows] = values
        self._kept.clear()
        return self._copies


class Frozen:
    """A table frozen as a whole: what is small is copied at once, the rest group by group.

    Args:
        arrays: The table's arrays by name.
        groups: Names of those that are copied later, by group and in the order of copying.
        finish: Makes a snapshot's arrays of these, run by :meth:`arrays`.
        spare: For any of the arrays, see :class:`FrozenColumns`.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        groups: Mapping[str, Sequence[str]],
        finish: Callable[[Arrays], Arrays] = lambda arrays: arrays,
        spare: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        spare = spare or {}
        self.groups = {
            group: FrozenColumns(
                {name: arrays[name] for name in names},
                {name: spare[name] for name in names if name in spare},
            )
            for group, names in groups.items()
        }
        later = {name for names in groups.values() for name in names}
        self.small = {name: np.array(each) for name, each in arrays.items() if name not in later}
        self._finish = finish

    def pieces(self) -> Iterator[int]:
        """Copy all groups piece by piece, in order; see :meth:`FrozenColumns.pieces`."""
        for group in self.groups.values():
            yield from group.pieces()

    def arrays(self) -> Arrays:
        """Return the snapshot; only once, after the copier and the owner have ended."""
        found = dict(self.small)
        for group in self.groups.values():
            found.update(group.arrays())
        return self._finish(found)


INDEX_COLUMNS = ("starts", "lengths", "is_live", "hashes")


def names_of(arrays: Mapping[str, NDArray[Any]], *prefixes: str) -> list[str]:
    """Return the names of the arrays under some prefixes."""
    return [name for name in arrays if name.split(".")[0] in prefixes]


def index_groups(prefix: str) -> dict[str, list[str]]:
    """Return the groups of an id index (``state.id_index``) whose arrays have a prefix."""
    return {
        f"{prefix}.index": [f"{prefix}.{name}" for name in INDEX_COLUMNS],
        f"{prefix}.arena": [f"{prefix}.arena"],
    }


def _copy(array: NDArray[Any], spare: NDArray[Any] | None) -> NDArray[Any]:
    """Copy into memory that is there, else into huge pages: page faults take most of the time."""
    if spare is None or len(spare) < len(array):
        spare = large_zeros(array.shape, array.dtype.type)
    copy = spare[: len(array)]
    copy[...] = array
    return copy
