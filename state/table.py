"""The contract of every table: bare arrays out, bare arrays in, used against bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


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
