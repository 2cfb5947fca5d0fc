"""UserColumns: copies of what retrieval and ranking need of some users, item rows translated."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.actions import ACTION_BITS
from state.affinities import AffinityColumns
from state.history import HistoryColumns, place_of
from state.interests import InterestColumns, decay
from state.kernels import kernel
from state.row_facts import ItemFacts, UserFacts
from state.seen import SeenColumns


@dataclass(frozen=True, slots=True, kw_only=True)
class UserColumns:
    """B users; the array fields of ``stream.candidates.UserBatch``, with the same meaning."""

    user_rows: NDArray[np.int32]
    now_ms: NDArray[np.int64]
    events_to_ms: NDArray[np.int64]
    history_rows: NDArray[np.int32]
    history_times_ms: NDArray[np.int64]
    history_strengths: NDArray[np.uint8]
    history_actions: NDArray[np.uint16]
    history_completions: NDArray[np.uint8]
    history_lengths: NDArray[np.int32]
    session_vectors: NDArray[np.float32]
    long_vectors: NDArray[np.float32]
    affinity_keys: NDArray[np.uint64]
    affinity_weights: NDArray[np.float32]
    seen_words: NDArray[np.uint64]
    num_events: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user_rows)

    def by_name(self) -> dict[str, NDArray[Any]]:
        """Return ``field name -> array``, to be passed on as keyword arguments."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@kernel
def _copy_histories(
    user_rows: NDArray[np.int32],
    history: HistoryColumns,
    item_facts: ItemFacts,
    rows_out: NDArray[np.int32],
    times_out: NDArray[np.int64],
    strengths_out: NDArray[np.uint8],
    actions_out: NDArray[np.uint16],
    completions_out: NDArray[np.uint8],
) -> None:
    """Write the entries oldest first, left-aligned, in catalogue rows."""
    for b in range(len(user_rows)):
        user_row = np.int64(user_rows[b])
        for entry in range(history.lengths[user_row]):
            place = place_of(history, user_row, entry)
            item_row = np.int64(history.item_rows[user_row, place])
            rows_out[b, entry] = item_facts.catalogue_rows[item_row]
            times_out[b, entry] = history.times_ms[user_row, place]
            strengths_out[b, entry] = history.strengths[user_row, place]
            actions_out[b, entry] = history.actions[user_row, place] & ACTION_BITS
            completions_out[b, entry] = history.completions[user_row, place]


@njit(cache=True, nogil=True)
def _decay_rows(
    values: NDArray[np.float32],
    user_rows: NDArray[np.int32],
    times_ms: NDArray[np.int64],
    now_ms: NDArray[np.int64],
    half_life_ms: float,
) -> NDArray[np.float32]:
    """Return the users' rows of a decayed sum as they stand at ``now_ms``: float32 (B, D)."""
    out = np.empty((len(user_rows), values.shape[1]), np.float32)
    for b in range(len(user_rows)):
        user_row = np.int64(user_rows[b])
        keep = np.float32(decay(now_ms[b] - times_ms[user_row], half_life_ms))
        for d in range(values.shape[1]):
            out[b, d] = values[user_row, d] * keep
    return out


def read_user_columns(
    user_rows: NDArray[np.int32],
    now_ms: NDArray[np.int64],
    *,
    user_facts: UserFacts,
    item_facts: ItemFacts,
    history: HistoryColumns,
    seen: SeenColumns,
    interests: InterestColumns,
    affinities: AffinityColumns,
    session_half_life_ms: float,
    long_half_life_ms: float,
) -> UserColumns:
    """Copy the users' rows; a row without a user reads as a user without events."""
    num_users, num_places = len(user_rows), history.item_rows.shape[1]
    rows = np.full((num_users, num_places), -1, np.int32)
    times_ms = np.zeros((num_users, num_places), np.int64)
    strengths = np.zeros((num_users, num_places), np.uint8)
    actions = np.zeros((num_users, num_places), np.uint16)
    completions = np.zeros((num_users, num_places), np.uint8)
    _copy_histories(user_rows, history, item_facts, rows, times_ms, strengths, actions, completions)
    vector_times_ms = interests.times_ms
    return UserColumns(
        user_rows=user_rows,
        now_ms=now_ms,
        events_to_ms=user_facts.events_to_ms[user_rows],
        history_rows=rows,
        history_times_ms=times_ms,
        history_strengths=strengths,
        history_actions=actions,
        history_completions=completions,
        history_lengths=history.lengths[user_rows].astype(np.int32),
        session_vectors=_decay_rows(
            interests.session_vectors, user_rows, vector_times_ms, now_ms, session_half_life_ms
        ),
        long_vectors=_decay_rows(
            interests.long_vectors, user_rows, vector_times_ms, now_ms, long_half_life_ms
        ),
        affinity_keys=affinities.keys[user_rows],
        affinity_weights=_decay_rows(
            affinities.weights, user_rows, affinities.times_ms, now_ms, long_half_life_ms
        ),
        seen_words=seen.young_words[user_rows] | seen.old_words[user_rows],
        num_events=user_facts.num_events[user_rows],
    )
