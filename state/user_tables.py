"""UserTables: all tables of one user partition as one, with its evictions and its snapshot.

Rows of users and of items are local. Whoever has no row has nothing here: an evicted or erased
user leaves no history, filter, vector or fingerprint behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.admission import COUNTER_NAMES, EVICTED_ITEMS, EVICTED_USERS, EventColumns
from state.affinities import AffinityColumns, clear_affinities, make_affinities
from state.erased_users import ErasedUsers
from state.event_ids import EventIdColumns, EventIds, erase_event_ids
from state.frozen_users import FrozenUsers
from state.history import HistoryColumns, clear_history, drop_items, make_history
from state.id_index import IdIndex
from state.interests import InterestColumns, clear_interests, make_interests
from state.kernels import kernel
from state.row_facts import (
    UserFacts,
    clear_user_facts,
    make_item_facts,
    make_user_facts,
)
from state.seen import SeenColumns, clear_seen, make_seen
from state.table import (
    Arrays,
    column_arrays,
    grow_columns,
    restore_columns,
    with_prefix,
    without_prefix,
)
from state.user_limits import UserLimits


@kernel
def _clear_users(
    user_rows: NDArray[np.int32],
    facts: UserFacts,
    history: HistoryColumns,
    seen: SeenColumns,
    interests: InterestColumns,
    affinities: AffinityColumns,
    event_ids: EventIdColumns,
) -> None:
    for i in range(len(user_rows)):
        user_row = np.int64(user_rows[i])
        erase_event_ids(event_ids, facts.newest_event_ids[user_row])
        clear_user_facts(facts, user_row)
        clear_history(history, user_row)
        clear_seen(seen, user_row)
        clear_interests(interests, user_row)
        clear_affinities(affinities, user_row)


class UserTables:
    """The tables of one partition's users and of the items they met."""

    def __init__(self, *, limits: UserLimits, dim: int) -> None:
        """Make empty tables; ``dim`` is the width of embeddings, 0 without a catalogue."""
        self._limits = limits
        seed = limits.hash_seed
        self.users = IdIndex(max_ids=limits.max_users, seed=seed)
        self.items = IdIndex(max_ids=limits.max_items, seed=seed)
        self.event_ids = EventIds(max_event_ids=limits.max_event_ids)
        capacity = self.users.capacity
        self.user_facts = make_user_facts(capacity)
        self.item_facts = make_item_facts(self.items.capacity)
        self.history = make_history(max_history=limits.max_history, capacity=capacity)
        self.seen = make_seen(seen_bits=limits.seen_bits, capacity=capacity)
        self.interests = make_interests(dim=dim, capacity=capacity)
        self.affinities = make_affinities(max_affinities=limits.max_affinities, capacity=capacity)
        self.counters = np.zeros(len(COUNTER_NAMES), np.int64)
        self.stream_time_ms = np.zeros(1, np.int64)
        self._frozen: FrozenUsers | None = None

    def freeze(self, beside: Mapping[str, NDArray[Any]], erased: ErasedUsers) -> FrozenUsers:
        """Return the tables as of now, and what else the partition has; until :meth:`thaw`."""
        arrays = {**self._arrays(self.event_ids.ring()), **beside}
        self._frozen = FrozenUsers(arrays, erased=erased.freeze())
        return self._frozen

    def thaw(self) -> None:
        """Keep nothing more for what was frozen."""
        self._frozen = None

    def before_batch(self, events: EventColumns) -> None:
        """Keep what a batch may change, where the tables are frozen."""
        if self._frozen is not None:
            self._frozen.before_batch(self.users, self.items, events)

    def before_round(self, events: EventColumns, begin: int, *, grace_ms: int) -> None:
        """Keep what admitting a batch from ``begin`` on may change beside; before each round."""
        num_events = len(events.offsets) - begin
        if self._frozen is not None and num_events:
            newest_ms = max(int(self.stream_time_ms[0]), int(events.timestamps_ms[begin:].max()))
            self._frozen.before_round(
                self.event_ids, num_events=num_events, horizon_ms=newest_ms - grace_ms
            )

    def reserve(self, *, num_events: int, num_user_bytes: int, num_item_bytes: int) -> None:
        """Make room for what a batch of so many events can bring, short of the bounds."""
        self.users.reserve(num_events, num_user_bytes)
        self.items.reserve(num_events, num_item_bytes)
        self.event_ids.reserve(num_events)
        self._follow_indexes()

    def release(self) -> None:
        """Free the rows that were evicted or erased since the last call."""
        if self._frozen is not None:
            self._frozen.before_release("users", self.users)
            self._frozen.before_release("items", self.items)
        self.users.release()
        self.items.release()

    def evict_users(self) -> None:
        """Drop the 1/16 of users that were touched longest ago (at least one)."""
        rows = _oldest(self.users, self.user_facts.touched_offsets)
        self._clear(rows)
        self.counters[EVICTED_USERS] += len(rows)

    def evict_items(self) -> None:
        """Drop the 1/16 of items that were touched longest ago (at least one), everywhere."""
        rows = _oldest(self.items, self.item_facts.touched_offsets)
        is_gone = np.zeros(self.items.num_rows, np.bool_)
        is_gone[rows] = True
        if self._frozen is not None:
            self._frozen.before_items_leave(rows, is_gone, self.history, self.users.num_rows)
        drop_items(self.history, self.users.num_rows, is_gone)
        self.items.retire(rows)
        self.counters[EVICTED_ITEMS] += len(rows)

    def erase_user(self, user_id: bytes) -> None:
        """Forget a user wholly; a user without a row is nothing to forget."""
        row = self.users.row_of(user_id)
        if row >= 0:
            self._clear(np.array([row], np.int32))

    def arrays(self) -> Arrays:
        """Return every table under its own prefix (views, but for small ones)."""
        return self._arrays(self.event_ids.arrays())

    def _arrays(self, event_ids: Arrays) -> Arrays:
        self.release()
        num_users, num_items = self.users.num_rows, self.items.num_rows
        item_facts = column_arrays(self.item_facts, num_items)
        del item_facts["catalogue_rows"]
        return {
            **with_prefix("users", self.users.arrays()),
            **with_prefix("items", self.items.arrays()),
            **with_prefix("event_ids", event_ids),
            **with_prefix("user_facts", column_arrays(self.user_facts, num_users)),
            **with_prefix("item_facts", item_facts),
            **with_prefix("history", column_arrays(self.history, num_users)),
            **with_prefix("seen", column_arrays(self.seen, num_users)),
            **with_prefix("interests", column_arrays(self.interests, num_users)),
            **with_prefix("affinities", column_arrays(self.affinities, num_users)),
            "counters": self.counters,
            "stream_time_ms": self.stream_time_ms,
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace every table by copies; derived columns of other widths start from zero.

        Raises:
            ValueError: The arrays were made with other settings (widths, smaller bounds).
        """
        self.thaw()
        self.users.restore(without_prefix("users", arrays))
        self.items.restore(without_prefix("items", arrays))
        self.event_ids.restore(without_prefix("event_ids", arrays))
        capacity = self.users.capacity
        user_facts = without_prefix("user_facts", arrays)
        # A snapshot from before there was a rate limit.
        user_facts.setdefault("debts", np.zeros(self.users.num_rows, np.int64))
        self.user_facts = restore_columns(self.user_facts, user_facts, capacity)
        item_facts = without_prefix("item_facts", arrays)
        item_facts["catalogue_rows"] = np.full(self.items.num_rows, -1, np.int32)
        self.item_facts = restore_columns(self.item_facts, item_facts, self.items.capacity)
        self.history = restore_columns(self.history, without_prefix("history", arrays), capacity)
        self.seen = restore_columns(self.seen, without_prefix("seen", arrays), capacity)
        self._restore_derived(arrays, capacity)
        self.counters[:] = arrays["counters"]
        self.stream_time_ms[:] = arrays["stream_time_ms"]

    def _restore_derived(self, arrays: Mapping[str, NDArray[Any]], capacity: int) -> None:
        dim = self.interests.session_vectors.shape[1]
        interests = without_prefix("interests", arrays)
        self.interests = make_interests(dim=dim, capacity=capacity)
        if interests["session_vectors"].shape[1] == dim:
            self.interests = restore_columns(self.interests, interests, capacity)
        max_affinities = self._limits.max_affinities
        affinities = without_prefix("affinities", arrays)
        self.affinities = make_affinities(max_affinities=max_affinities, capacity=capacity)
        if affinities["keys"].shape[1] == max_affinities:
            self.affinities = restore_columns(self.affinities, affinities, capacity)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return users, items and event ids against their bounds."""
        return {
            "users": (self.users.num_ids, self._limits.max_users),
            "items": (self.items.num_ids, self._limits.max_items),
            **self.event_ids.sizes(),
        }

    def _clear(self, user_rows: NDArray[np.int32]) -> None:
        if self._frozen is not None:
            newest = self.user_facts.newest_event_ids[user_rows]
            self._frozen.before_clear(user_rows, newest, self.event_ids)
        _clear_users(
            user_rows,
            self.user_facts,
            self.history,
            self.seen,
            self.interests,
            self.affinities,
            self.event_ids.columns,
        )
        self.users.retire(user_rows)

    def _follow_indexes(self) -> None:
        capacity = self.users.capacity
        self.user_facts = grow_columns(self.user_facts, capacity)
        self.history = grow_columns(self.history, capacity)
        self.seen = grow_columns(self.seen, capacity)
        self.interests = grow_columns(self.interests, capacity)
        self.affinities = grow_columns(self.affinities, capacity)
        self.item_facts = grow_columns(self.item_facts, self.items.capacity)


def _oldest(index: IdIndex, touched_offsets: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the live rows touched longest ago, oldest first.

    One event touches one user and one item, so offsets differ and the choice depends on no row.
    """
    rows = index.live_rows()
    count = max(1, index.max_ids // 16)
    touched = touched_offsets[rows]
    oldest = np.argpartition(touched, count - 1)[:count] if count < len(rows) else slice(None)
    chosen = rows[oldest]
    return chosen[np.argsort(touched_offsets[chosen])]
