"""UserBatch from the user tables: known users by row, unknown ones as cold users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

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
    if not known.any():
        return cold_users(
            user_ids,
            now_ms=now_ms,
            dim=tables.dim,
            partition=tables.partition,
            next_offset=tables.next_offset,
        )
    # A cold user borrows a row that is there, to be emptied below.
    filled = np.where(known, user_rows, user_rows[known][0]).astype(np.int32)
    columns = tables.read_users(filled, now_ms=now_ms)
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


def cold_users(
    user_ids: Sequence[bytes],
    *,
    now_ms: NDArray[np.int64],
    dim: int,
    partition: int = 0,
    next_offset: int = 0,
) -> UserBatch:
    """Return users without any event: what new ones get, and what trending is made for.

    Args:
        user_ids: B ids.
        now_ms: int64 (B,), event time of the lists.
        dim: D, length of the catalogue's embeddings.
        partition: Partition that would own them.
        next_offset: Its next offset.
    """
    count = len(user_ids)

    def none(width: int, dtype: type) -> NDArray[Any]:
        return np.zeros((count, width), dtype)

    return UserBatch(
        partition=partition,
        next_offset=next_offset,
        user_ids=tuple(user_ids),
        user_rows=np.full(count, -1, np.int32),
        now_ms=np.array(now_ms, np.int64),
        events_to_ms=np.zeros(count, np.int64),
        history_rows=np.full((count, 1), -1, np.int32),
        history_times_ms=none(1, np.int64),
        history_strengths=none(1, np.uint8),
        history_actions=none(1, np.uint16),
        history_completions=none(1, np.uint8),
        history_lengths=np.zeros(count, np.int32),
        session_vectors=none(dim, np.float32),
        long_vectors=none(dim, np.float32),
        affinity_keys=none(1, np.uint64),
        affinity_weights=none(1, np.float32),
        seen_words=none(1, np.uint64),
        num_events=np.zeros(count, np.int64),
    )
