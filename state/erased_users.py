"""Tombstones of erased users: hash of the id and offset of the erase, never the id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.table import Arrays


class ErasedUsers:
    """The last ``max_erased`` erases, each user once, oldest first.

    A dictionary and not arrays: an erase is rare, and a Python step each is cheap enough.
    """

    def __init__(self, *, max_erased: int) -> None:
        """Make an empty table."""
        self._max_erased = max_erased
        self._offsets: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, user_hash: int, offset: int) -> None:
        """Remember an erase; at the bound the oldest is forgotten."""
        self._offsets.pop(user_hash, None)
        self._offsets[user_hash] = offset
        while len(self._offsets) > self._max_erased:
            del self._offsets[next(iter(self._offsets))]

    def offset_of(self, user_hash: int) -> int | None:
        """Return the offset of a user's last erase, None where none is remembered."""
        return self._offsets.get(user_hash)

    def arrays(self) -> Arrays:
        """Return ``hashes`` uint64 (N,) and ``offsets`` int64 (N,), oldest first (copies)."""
        count = len(self._offsets)
        return {
            "hashes": np.fromiter(self._offsets.keys(), np.uint64, count),
            "offsets": np.fromiter(self._offsets.values(), np.int64, count),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace everything; a smaller bound keeps the newest."""
        self._offsets.clear()
        for user_hash, offset in zip(
            arrays["hashes"].tolist(), arrays["offsets"].tolist(), strict=True
        ):
            self.add(user_hash, offset)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return tombstones against their bound."""
        return {"erased": (len(self._offsets), self._max_erased)}
