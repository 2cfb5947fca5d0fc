"""Users whose state changed, and the batches in which their lists are renewed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.events import Action

PASSIVE = 0
EXPLICIT = 1

# Level per action code.
_LEVELS = np.array(
    [PASSIVE if action is Action.WATCH else EXPLICIT for action in sorted(Action)], np.int8
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtyUsers:
    """Users of one partition whose state changed: rows distinct, ids beside them.

    Attributes:
        partition: Partition of ``interactions``.
        user_rows: int32 (U,), distinct.
        user_ids: U ids, bytes; a row may be given to another user later, an id may not.
        levels: int8 (U,), ``PASSIVE`` or ``EXPLICIT``, the most urgent of the user's actions.
    """

    partition: int
    user_rows: NDArray[np.int32]
    user_ids: Sequence[bytes]
    levels: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.user_rows)


def distinct_users(
    user_rows: NDArray[np.int32], actions: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Return the distinct rows (negative ones left out) and the most urgent level of each.

    >>> distinct_users(np.array([5, 3, 5, -1], np.int32), np.array([0, 0, 1, 7], np.uint8))
    (array([3, 5], dtype=int32), array([0, 1], dtype=int8))
    """
    is_known = user_rows >= 0
    # The level in the lowest bit: one sort gives rows and levels.
    keys = user_rows[is_known].astype(np.int64) << 1 | _LEVELS[actions[is_known]]
    keys.sort()
    rows = (keys >> 1).astype(np.int32)
    is_last = np.ones(len(keys), np.bool_)
    is_last[:-1] = rows[1:] != rows[:-1]
    return rows[is_last], (keys[is_last] & 1).astype(np.int8)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshBatch:
    """Users of one partition to refresh now, most urgent first.

    Attributes:
        partition: Partition of ``interactions``.
        user_rows: int32 (B,).
        user_ids: B ids; whoever retrieves leaves out rows that mean another user by now.
        slots: int64 (B,), the queue's own places.
        tickets: int64 (B,), say whether the places are still the batch's own when it comes back.
        taken_ms: When the batch was taken; the interval runs from here.
    """

    partition: int
    user_rows: NDArray[np.int32]
    user_ids: tuple[bytes, ...]
    slots: NDArray[np.int64]
    tickets: NDArray[np.int64]
    taken_ms: int

    def __len__(self) -> int:
        return len(self.user_rows)
