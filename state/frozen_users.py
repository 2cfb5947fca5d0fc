"""FrozenUsers: the tables of a user partition as of one offset, while events go on coming.

Knows which rows each change of ``state.user_tables`` touches, and keeps them before. Wide columns
of users, narrow ones of the index and the ring of event ids are groups of their own, because
different changes touch them. See ``state.frozen``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.admission import EventColumns
from state.event_ids import HEAD, NEXT, EventIdColumns, EventIds, ring_places
from state.frozen import Frozen, index_groups, names_of
from state.history import HistoryColumns
from state.id_index import IdIndex
from state.table import Arrays

_RING = ("user_hashes", "event_hashes", "times_ms", "steps_back")
# Places of the ring looked at first; mostly the oldest one stays.
_FIRST_PLACES = 64


@njit(cache=True, nogil=True)
def _chain_places(ids: EventIdColumns, newest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of some users' fingerprints, each chain from its newest number on."""
    num_places = 0
    for is_writing in range(2):
        places = np.empty(num_places, np.int64)
        num_places = 0
        for i in range(len(newest)):
            sequence = np.int64(newest[i])
            while sequence > 0 and sequence >= ids.counts[HEAD]:
                place = sequence % len(ids.times_ms)
                if is_writing:
                    places[num_places] = place
                num_places += 1
                back = np.int64(ids.steps_back[place])
                sequence = sequence - back if back > 0 else np.int64(0)
    return places


@njit(cache=True, nogil=True)
def _holders(
    history: HistoryColumns, num_users: int, is_gone: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which users' histories hold an item that is gone: bool (num_users,)."""
    holds = np.zeros(num_users, np.bool_)
    for user_row in range(num_users):
        for place in range(np.int64(history.lengths[user_row])):
            if is_gone[history.item_rows[user_row, place]]:
                holds[user_row] = True
                break
    return holds


class FrozenUsers(Frozen):
    """The tables' arrays as of now.

    Args:
        arrays: As ``UserTables.arrays``, but the event ids as their ring stands.
        erased: Gives the remembered erases as of now.
    """

    def __init__(self, arrays: Arrays, *, erased: Callable[[], Arrays]) -> None:
        wide = ("user_facts", "history", "seen", "interests", "affinities")
        groups = {
            # What changes soonest first: a row that is copied need not be kept.
            "event_ids": [f"event_ids.{name}" for name in _RING],
            **index_groups("users"),
            **index_groups("items"),
            "items": names_of(arrays, "item_facts"),
            "users": names_of(arrays, *wide),
        }

        def finish(found: Arrays) -> Arrays:
            counts = found["event_ids.counts"]
            places = ring_places(counts, len(found["event_ids.times_ms"]))
            for name in _RING:
                found[f"event_ids.{name}"] = found[f"event_ids.{name}"][places]
            return {**found, **{f"erased.{name}": each for name, each in erased().items()}}

        super().__init__(arrays, groups, finish)

    def before_batch(self, users: IdIndex, items: IdIndex, events: EventColumns) -> None:
        """Keep what admitting and folding E events may change, but for :meth:`before_round`.

        They are of users and items that are known, or take at most E free rows of each index. New
        event ids stand in places that nothing had when frozen, or that something left since.
        """
        spans = (
            ("users", users, events.user_starts, events.user_lengths),
            ("items", items, events.item_starts, events.item_lengths),
        )
        for name, index, starts, lengths in spans:
            free = index.next_free_rows(len(starts))
            self.groups[f"{name}.index"].keep(free)
            self.groups[name].keep(free)
            self.groups[name].keep(index.find(events.buffer, starts, lengths))

    def before_round(self, event_ids: EventIds, *, num_events: int, horizon_ms: int) -> None:
        """Keep the event ids that leave while ``num_events`` are admitted.

        Again after each eviction or erase in a batch: an event id that is dead leaves, and lets
        older ones behind it go that it had held back.
        """
        leaving = _leaving(event_ids.columns, num_events=num_events, horizon_ms=horizon_ms)
        self.groups["event_ids"].keep(leaving)

    def before_clear(
        self, user_rows: NDArray[np.int32], newest: NDArray[np.int64], event_ids: EventIds
    ) -> None:
        """Keep some users who are forgotten; ``newest`` are their newest event ids."""
        self.groups["users"].keep(user_rows)
        self.groups["users.index"].keep(user_rows)
        self.groups["event_ids"].keep(_chain_places(event_ids.columns, newest))

    def before_items_leave(
        self,
        item_rows: NDArray[np.int32],
        is_gone: NDArray[np.bool_],
        history: HistoryColumns,
        num_users: int,
    ) -> None:
        """Keep some items that are forgotten, and the users who have them in their history."""
        self.groups["items.index"].keep(item_rows)
        self.groups["users"].keep(np.flatnonzero(_holders(history, num_users, is_gone)))

    def before_release(self, name: str, index: IdIndex) -> None:
        """Keep what an index changes when it frees rows: it may move every id."""
        if index.has_retired:
            self.groups[f"{name}.index"].keep_all()
            self.groups[f"{name}.arena"].keep_all()


def _leaving(ids: EventIdColumns, *, num_events: int, horizon_ms: int) -> NDArray[np.int64]:
    """Return the places of the ring that at most leave for ``num_events`` new ones.

    The oldest leave while they are below the horizon; where the ring is full, one more leaves for
    each new one. So all that leave stand before the (num_events + 1)-th that is not below it.
    """
    head, end, num_places = int(ids.counts[HEAD]), int(ids.counts[NEXT]), len(ids.times_ms)
    stays = 0 if end - head + num_events <= num_places else num_events
    last, step = head, _FIRST_PLACES
    while last < end:
        numbers = np.arange(last, min(last + step, end))
        not_below = np.flatnonzero(ids.times_ms[numbers % num_places] >= horizon_ms)
        if len(not_below) > stays:
            last += int(not_below[stays])
            break
        stays -= len(not_below)
        last += len(numbers)
        step *= 8
    return np.arange(head, last) % num_places
