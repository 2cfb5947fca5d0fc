"""The laws that every table obeys, run for each that is registered.

A table joins by a :class:`Contract` in a module ``tests/state/contract_<noun>.py`` with a tuple
``CONTRACTS``; ``test_tables.py`` finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Contract:
    """How to drive one kind of table.

    Attributes:
        name: For the test's id.
        make: Makes an empty table with small bounds; has ``arrays``, ``restore``, ``sizes``.
        records: A seeded log of at least 100 records that reaches the bounds.
        apply: Applies ``records[begin:end]``, in order, as one batch.
        digest: Canonical bytes, free of row numbers.
        interleave: Splits the log into sources whose order against each other is free while
            nothing is evicted; None where one log decides.
        roomy: Makes a table in which nothing is evicted, for the interleaving law.
    """

    name: str
    make: Callable[[], Any]
    records: Callable[[int], Sequence[Any]]
    apply: Callable[[Any, Sequence[Any], int, int], None]
    digest: Callable[[Any], bytes]
    interleave: Callable[[Sequence[Any]], list[Sequence[Any]]] | None = None
    roomy: Callable[[], Any] | None = None
