"""UserBatch from the user tables: known users by row, unknown ones as cold users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from state.user_partition import UserPartition
from stream.candidates import UserBatch

_WHOLE_FIELDS = ("partition", "next_offset", "user_ids", "user_rows", "now_ms")


def read_user_batch(
    tables: UserPartition,
    user_ids: Sequence[bytes],
    user_rows: NDArray[np.int32],
    *,
    now_ms: NDArray[np.int64],
) -> UserBatch:
    """Copy what a refresh needs of B users, all as of the partition's next offset.

    Args:
        tables: The partition that owns the users.
        user_ids: B ids.
        user_rows: int32 (B,); -1 is a user without any event: an empty history.
        now_ms: int64 (B,), event time at which the lists are made.
    """
    known = user_rows >= 0
    columns = tables.read_users(np.where(known, user_rows, 0).astype(np.int32), now_ms=now_ms)
    arrays = {
        each.name: getattr(columns, each.name)
        for each in fields(UserBatch)
        if each.name not in _WHOLE_FIELDS
    }
    for name, array in arrays.items():
        array[~known] = -1 if name == "history_rows" else 0
    return UserBatch(
        partition=tables.partition,
        next_offset=tables.next_offset,
        user_ids=tuple(user_ids),
        user_rows=user_rows,
        now_ms=now_ms,
        **arrays,
    )
