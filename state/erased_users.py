"""Erased users: hash of the id, offset of the erase, where its tombstone stands; never the id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.table import Arrays

_COLUMNS = ("offsets", "times_ms", "slots", "names")


class Erase(NamedTuple):
    """One user's last erase.

    Attributes:
        offset: Of the erase.
        time_ms: Its event time.
        slot: Cluster slot of the tombstone in Redis.
        name: Hash in the tombstone's key (``state.tombstones``); 0 where it is not known.
    """

    offset: int
    time_ms: int
    slot: int
    name: int


class ErasedUsers:
    """The last ``max_erased`` erases, each user once, oldest first.

    A dictionary and not arrays: an erase is rare, and a Python step each is cheap enough.
    """

    def __init__(self, *, max_erased: int) -> None:
        """Make an empty table."""
        self._max_erased = max_erased
        self._erases: dict[int, Erase] = {}

    def __len__(self) -> int:
        return len(self._erases)

    def add(self, user_hash: int, erase: Erase) -> None:
        """Remember an erase; at the bound the oldest is forgotten."""
        self._erases.pop(user_hash, None)
        self._erases[user_hash] = erase
        while len(self._erases) > self._max_erased:
            del self._erases[next(iter(self._erases))]

    def offset_of(self, user_hash: int) -> int | None:
        """Return the offset of a user's last erase, None where none is remembered."""
        erase = self._erases.get(user_hash)
        return None if erase is None else erase.offset

    def read(self, begin: int, count: int) -> list[Erase]:
        """Return up to ``count`` erases from a position on, oldest first."""
        return list(islice(self._erases.values(), begin, begin + count))

    def arrays(self) -> Arrays:
        """Return a column per field and ``hashes`` uint64, all (N,), oldest first (copies)."""
        return self.freeze()()

    def freeze(self) -> Callable[[], Arrays]:
        """Return what gives :meth:`arrays` as of now, later and on any thread."""
        erases_now = dict(self._erases)

        def arrays() -> Arrays:
            count, erases = len(erases_now), erases_now.values()
            return {
                "hashes": np.fromiter(erases_now.keys(), np.uint64, count),
                "offsets": np.fromiter((each.offset for each in erases), np.int64, count),
                "times_ms": np.fromiter((each.time_ms for each in erases), np.int64, count),
                "slots": np.fromiter((each.slot for each in erases), np.uint16, count),
                "names": np.fromiter((each.name for each in erases), np.uint64, count),
            }

        return arrays

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace everything; a smaller bound keeps the newest.

        An older snapshot lacks the last three columns: what it holds has no tombstone to find
        (``name`` 0).
        """
        self._erases.clear()
        unknown = np.zeros(len(arrays["hashes"]), np.int64)
        columns = (arrays.get(name, unknown) for name in ("hashes", *_COLUMNS))
        for user_hash, *fields in zip(*(each.tolist() for each in columns), strict=True):
            self.add(user_hash, Erase(*fields))

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return tombstones against their bound."""
        return {"erased": (len(self._erases), self._max_erased)}
