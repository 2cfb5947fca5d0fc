"""The contract of every table: bare arrays out, bare arrays in, used against bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
# A NamedTuple of arrays whose first axis is the row.
Columns = TypeVar("Columns", bound=tuple[NDArray[Any], ...])


class Table(Protocol):
    """What snapshots, metrics and contract tests need of a table."""

    def arrays(self) -> Arrays:
        """Return the whole state as arrays trimmed to used rows: views, for the caller to copy."""
        ...

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace the whole state by copies of what :meth:`arrays` gave."""
        ...

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return ``name -> (used, bound)`` of everything that grows."""
        ...


def grown_capacity(*, capacity: int, needed: int, bound: int) -> int:
    """Return the next capacity: doubling up to ``bound``, above it in steps of ``bound / 16``.

    Rows above the bound are only those that wait to be released (see ``IdIndex.retire``).

    >>> grown_capacity(capacity=4, needed=5, bound=100)
    8
    >>> grown_capacity(capacity=64, needed=65, bound=100)
    100
    >>> grown_capacity(capacity=100, needed=101, bound=100)
    107
    """
    while capacity < needed:
        if capacity < bound:
            capacity = min(2 * capacity, bound)
        else:
            capacity = max(needed, capacity + bound // 16 + 1)
    return capacity


def with_prefix(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return the arrays under ``prefix.name``, so that tables share one flat snapshot."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def without_prefix(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return what :func:`with_prefix` put under ``prefix``, by its own names."""
    start = len(prefix) + 1
    return {name[start:]: array for name, array in arrays.items() if name.startswith(f"{prefix}.")}


def writable(array: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """Return the array contiguous, of this dtype and writable; a copy only where it is not.

    numba compiles read-only arrays (over ``bytes``) as a type of their own: one copy of a buffer
    costs less than a second set of kernels.
    """
    return np.require(array, dtype, ["C", "W"])


def grow_columns(columns: Columns, capacity: int) -> Columns:
    """Return columns of at least ``capacity`` rows, new rows zero; the same ones where they fit.

    New arrays are zero pages of the system until they are written, so that resident memory
    follows the rows in use, not the capacity.
    """
    if capacity <= len(columns[0]):
        return columns
    grown = [np.zeros((capacity, *column.shape[1:]), column.dtype) for column in columns]
    for new, old in zip(grown, columns, strict=True):
        new[: len(old)] = old
    return type(columns)(*grown)


def column_arrays(columns: Columns, num_rows: int) -> Arrays:
    """Return the first rows of every column by name (views)."""
    names = cast(Any, columns)._fields
    return {name: column[:num_rows] for name, column in zip(names, columns, strict=True)}


def restore_columns(columns: Columns, arrays: Mapping[str, NDArray[Any]], capacity: int) -> Columns:
    """Return columns of ``capacity`` rows that hold copies of ``arrays``, the rest zero.

    Raises:
        ValueError: An array's width or kind is not the column's: other settings made it.
    """
    restored = []
    for name, column in zip(cast(Any, columns)._fields, columns, strict=True):
        array = arrays[name]
        if array.shape[1:] != column.shape[1:] or array.dtype != column.dtype:
            msg = (
                f"expected {name} of {column.dtype} {column.shape[1:]} per row, got {array.dtype}"
                f" {array.shape[1:]}; was the snapshot made with other settings?"
            )
            raise ValueError(msg)
        new = np.zeros((max(capacity, len(array)), *column.shape[1:]), column.dtype)
        new[: len(array)] = array
        restored.append(new)
    return type(columns)(*restored)
