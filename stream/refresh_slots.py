"""Slots of the refresh queue: one row of columns per user it knows, tickets for its entries.

A queue entry is ``ticket << 24 | slot``. A slot given to another user, or a user who became more
urgent, has a newer ticket: the old entry is void and is skipped when it surfaces. Memory: 51 bytes
per slot and the user id's object (some 50 more).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NONE = -1

READY = 1
IN_FLIGHT = 2
COOLING = 3

_SLOT_BITS = 24
_SLOT_MASK = (1 << _SLOT_BITS) - 1
MAX_SLOTS = _SLOT_MASK


class RefreshSlots:
    """Columns of the users that the queue knows, and the stack of free slots.

    Attributes:
        partitions, rows: int32, who the user is.
        ids: Objects, the user's id; None where the slot is free.
        states: int8, ``READY``, ``IN_FLIGHT`` or ``COOLING``; 0 where the slot is free.
        levels: int8, urgency with which the user waits.
        dirty_levels: int8, urgency of changes since taken; -1 without one.
        dirty_ms: int64, oldest unanswered change.
        again_ms: int64, oldest change since taken.
        tickets: int64, the only current ticket.
        num_free: Free slots.
    """

    def __init__(self, size: int) -> None:
        assert 1 <= size <= MAX_SLOTS
        self.partitions = np.empty(size, np.int32)
        self.rows = np.empty(size, np.int32)
        self.ids: NDArray[np.object_] = np.empty(size, object)
        self.states = np.zeros(size, np.int8)
        self.levels = np.empty(size, np.int8)
        self.dirty_levels = np.full(size, NONE, np.int8)
        self.dirty_ms = np.empty(size, np.int64)
        self.again_ms = np.empty(size, np.int64)
        self.tickets = np.zeros(size, np.int64)
        self.num_free = size
        self._free = np.arange(size - 1, -1, -1, dtype=np.int64)
        self._next_ticket = 1

    def __len__(self) -> int:
        """Return the number of slots in use."""
        return len(self._free) - self.num_free

    def allocate(self, count: int) -> NDArray[np.int64]:
        """Take ``count`` free slots, int64 (count,); there must be so many."""
        assert count <= self.num_free
        self.num_free -= count
        return self._free[self.num_free : self.num_free + count].copy()

    def free(self, slots: NDArray[np.int64]) -> None:
        """Give slots back; their entries become void."""
        self.ids[slots] = None
        self.states[slots] = 0
        self.tickets[slots] = 0
        self._free[self.num_free : self.num_free + len(slots)] = slots
        self.num_free += len(slots)

    def name(self, slots: NDArray[np.int64], user_ids: Sequence[bytes]) -> None:
        """Set the user ids of slots."""
        ids = np.empty(len(slots), object)
        ids[:] = user_ids
        self.ids[slots] = ids

    def stamp(self, slots: NDArray[np.int64]) -> list[int]:
        """Give slots fresh tickets; return their entries. Older entries become void."""
        tickets = np.arange(self._next_ticket, self._next_ticket + len(slots), dtype=np.int64)
        self._next_ticket += len(slots)
        self.tickets[slots] = tickets
        entries: list[int] = (tickets << _SLOT_BITS | slots).tolist()
        return entries

    def is_current(self, entry: int) -> bool:
        """Whether the entry still stands for its user."""
        return int(self.tickets[entry & _SLOT_MASK]) == entry >> _SLOT_BITS

    @staticmethod
    def slot_of(entry: int) -> int:
        """Return the entry's slot."""
        return entry & _SLOT_MASK
