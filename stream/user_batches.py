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


def cold_user(*, dim: int, now_ms: int) -> UserBatch:
    """Return one user without any event: what the trending list is made for.

    Args:
        dim: D, length of the catalogue's embeddings.
        now_ms: Event time of the list.
    """

    def none(width: int, dtype: type) -> NDArray[Any]:
        return np.zeros((1, width), dtype)

    return UserBatch(
        partition=0,
        next_offset=0,
        user_ids=(b"",),
        user_rows=np.full(1, -1, np.int32),
        now_ms=np.full(1, now_ms, np.int64),
        events_to_ms=np.full(1, now_ms, np.int64),
        history_rows=np.full((1, 1), -1, np.int32),
        history_times_ms=none(1, np.int64),
        history_strengths=none(1, np.uint8),
        history_actions=none(1, np.uint16),
        history_completions=none(1, np.uint8),
        history_lengths=np.zeros(1, np.int32),
        session_vectors=none(dim, np.float32),
        long_vectors=none(dim, np.float32),
        affinity_keys=none(1, np.uint64),
        affinity_weights=none(1, np.float32),
        seen_words=none(1, np.uint64),
        num_events=np.zeros(1, np.int64),
    )
