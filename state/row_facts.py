"""Facts beside the ids: one row per user and per item of a user partition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.kernels import kernel


class UserFacts(NamedTuple):
    """What is known of each user beside history and vectors. N rows of capacity.

    Attributes:
        num_events: int64 (N,), events applied.
        events_to_ms: int64 (N,), largest event time applied; 0 without one.
        touched_offsets: int64 (N,), offset of the newest event: the order of eviction.
        newest_event_ids: int64 (N,), sequence number of the newest fingerprint; 0 = none.
        debts: int64 (N,), how full the user's rate limit was after the newest event applied
            (``state.admission``); 0 where there is no limit.
    """

    num_events: NDArray[np.int64]
    events_to_ms: NDArray[np.int64]
    touched_offsets: NDArray[np.int64]
    newest_event_ids: NDArray[np.int64]
    debts: NDArray[np.int64]


class ItemFacts(NamedTuple):
    """What a user partition knows of each item it has met. N rows of capacity.

    Attributes:
        touched_offsets: int64 (N,), offset of the newest event: the order of eviction.
        first_seen_ms: int64 (N,), event time of the first event.
        destinations: int32 (N,), item partition that owns the item.
        catalogue_rows: int32 (N,), row in the worker's catalogue, -1 where not there; derived.
    """

    touched_offsets: NDArray[np.int64]
    first_seen_ms: NDArray[np.int64]
    destinations: NDArray[np.int32]
    catalogue_rows: NDArray[np.int32]


def make_user_facts(capacity: int) -> UserFacts:
    """Return zeros for ``capacity`` users."""
    return UserFacts(*(np.zeros(capacity, np.int64) for _ in range(5)))


def make_item_facts(capacity: int) -> ItemFacts:
    """Return zeros for ``capacity`` items; rows are set when an item comes in."""
    return ItemFacts(
        touched_offsets=np.zeros(capacity, np.int64),
        first_seen_ms=np.zeros(capacity, np.int64),
        destinations=np.zeros(capacity, np.int32),
        catalogue_rows=np.zeros(capacity, np.int32),
    )


@kernel
def clear_user_facts(facts: UserFacts, user_row: int) -> None:
    """Forget what is known of a user."""
    facts.num_events[user_row] = 0
    facts.events_to_ms[user_row] = 0
    facts.touched_offsets[user_row] = 0
    facts.newest_event_ids[user_row] = 0
    facts.debts[user_row] = 0
