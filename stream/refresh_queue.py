"""Which users get a new list next: dirty users, coalesced, urgent first, bounded.

Pure: time comes in as ``now_ms``; one thread uses it. A user is in at most one of these states::

    (unknown) --offer--> READY --take--> IN_FLIGHT --written--> COOLING --interval--> (unknown)
                           ^                 |                     |
                           +-- not written --+----- dirty again ---+

Urgency is a deadline: an explicit action's is now, a passive watch's is ``passive_delay_ms`` later,
so that explicit goes first and nothing starves. Work per event is a few NumPy operations per slab;
only taking (some hundred users per batch, each worth a millisecond of scoring) loops in Python.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from stream.dirty_users import EXPLICIT, PASSIVE, DirtyUsers, RefreshBatch
from stream.refresh_slots import COOLING, IN_FLIGHT, NONE, READY, RefreshSlots

_FOREVER_MS = 1 << 62
_COMPACT_SLACK = 1024


class _Lane:
    """Ready users of one partition: one queue of entries per level, oldest first."""

    __slots__ = ("entries", "num_ready", "slot_of_row")

    def __init__(self) -> None:
        self.entries: tuple[deque[int], deque[int]] = (deque(), deque())
        self.num_ready = 0
        self.slot_of_row = np.full(1024, NONE, np.int32)

    def slots_of(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the slot per row, -1 for none; grows to cover the rows."""
        top = int(rows.max(initial=-1))
        if top >= len(self.slot_of_row):
            grown = np.full(max(top + 1, 2 * len(self.slot_of_row)), NONE, np.int32)
            grown[: len(self.slot_of_row)] = self.slot_of_row
            self.slot_of_row = grown
        return self.slot_of_row[rows]


class RefreshQueue:
    """Bounded queue of users to refresh.

    Args:
        max_users: Bound on ready, in-flight and cooling users together.
        interval_ms: A user is taken at most once in this time.
        max_batch: Users per batch.
        max_wait_ms: How long a batch that is not full may wait for more users.
        passive_delay_ms: How much later a passive watch's deadline is than an explicit action's.
    """

    def __init__(
        self,
        *,
        max_users: int,
        interval_ms: int = 200,
        max_batch: int = 64,
        max_wait_ms: int = 5,
        passive_delay_ms: int = 1_000,
    ) -> None:
        assert max_batch >= 1
        self._interval_ms = interval_ms
        self._max_batch = max_batch
        self._max_wait_ms = max_wait_ms
        self._delays_ms = (passive_delay_ms, 0)
        self._lanes: dict[int, _Lane] = {}
        self._slots = RefreshSlots(max_users)
        self._cooling: deque[tuple[int, int]] = deque()  # (due_ms, entry), ascending.
        self.num_in_flight = 0
        self._held: set[int] = set()
        self.num_shed = 0
        self.num_coalesced = 0

    def __len__(self) -> int:
        """Return the number of ready users."""
        return sum(lane.num_ready for lane in self._lanes.values())

    @property
    def num_takeable(self) -> int:
        """Ready users of partitions that are not held."""
        return sum(
            lane.num_ready for partition, lane in self._lanes.items() if partition not in self._held
        )

    @property
    def num_known(self) -> int:
        """Users in any state; bounded by ``max_users``."""
        return len(self._slots)

    @property
    def num_dirty(self) -> int:
        """Users who get another list: ready, in flight, or cooling and dirty again; O(bound)."""
        states = self._slots.states
        is_again = (states == COOLING) & (self._slots.dirty_levels >= 0)
        return int(((states == READY) | (states == IN_FLIGHT) | is_again).sum())

    def hold(self, partition: int) -> None:
        """Take nobody of a partition that still catches up with its log."""
        self._held.add(partition)

    def release(self, partition: int) -> None:
        """End :meth:`hold`."""
        self._held.discard(partition)

    def offer(self, users: DirtyUsers, now_ms: int) -> int:
        """Mark users dirty; return how many were shed for want of room.

        Someone already waiting is not queued again, only raised in urgency. Without room the
        least urgent give way: first passive newcomers, then passive waiters, newest first.
        """
        if not len(users):
            return 0
        lane = self._lanes.setdefault(users.partition, _Lane())
        slots = lane.slots_of(users.user_rows).astype(np.int64)
        is_known = slots >= 0
        if is_known.any():
            self._mark_known(lane, users, slots, is_known, now_ms)
        is_new = ~is_known
        num_shed = 0
        if is_new.any():
            num_shed = self._add(lane, users, np.flatnonzero(is_new), now_ms)
        self.num_shed += num_shed
        return num_shed

    def take(self, now_ms: int, *, flush: bool = False) -> RefreshBatch | None:
        """Return the most urgent partition's batch if it is full or has waited; None otherwise.

        ``flush`` takes whatever is dirty at once, interval or not (a drain before a hand-over).
        """
        self._warm(_FOREVER_MS if flush else now_ms)
        choice: tuple[int, int, _Lane] | None = None
        for partition, lane in self._lanes.items():
            if not lane.num_ready or partition in self._held:
                continue
            deadline, since = self._head(lane)
            is_due = lane.num_ready >= self._max_batch or now_ms - since >= self._max_wait_ms
            if (is_due or flush) and (choice is None or deadline < choice[0]):
                choice = (deadline, partition, lane)
        if choice is None:
            return None
        _, partition, lane = choice
        slots = np.fromiter(self._pop(lane), np.int64)
        lane.num_ready -= len(slots)
        self._slots.states[slots] = IN_FLIGHT
        self._slots.dirty_levels[slots] = NONE
        self.num_in_flight += len(slots)
        self._slots.stamp(slots)
        return RefreshBatch(
            partition=partition,
            user_rows=self._slots.rows[slots],
            user_ids=tuple(self._slots.ids[slots].tolist()),
            slots=slots,
            tickets=self._slots.tickets[slots],
            taken_ms=now_ms,
        )

    def finish(
        self,
        batch: RefreshBatch,
        *,
        is_done: NDArray[np.bool_],
        is_gone: NDArray[np.bool_] | None = None,
        now_ms: int,
    ) -> NDArray[np.bool_]:
        """Give a taken batch back; return bool (B,), its partition was not dropped meanwhile.

        Args:
            batch: What :meth:`take` returned; each batch is finished exactly once.
            is_done: bool (B,), a list stands in Redis. The others are ready again at once, with
                their old deadline.
            is_gone: bool (B,), the row no longer means this user: forgotten, unless dirty again.
            now_ms: Time of the call.
        """
        # A partition may have been dropped meanwhile: its slots belong to nobody or to others.
        is_ours: NDArray[np.bool_] = self._slots.tickets[batch.slots] == batch.tickets
        if is_gone is None:
            is_gone = np.zeros(len(batch), np.bool_)
        self.num_in_flight -= int(is_ours.sum())
        due_ms = batch.taken_ms + self._interval_ms
        if self._cooling:
            due_ms = max(due_ms, self._cooling[-1][0])
        is_again = self._slots.dirty_levels[batch.slots] >= 0
        retried = batch.slots[is_ours & ~is_done & ~is_gone]
        self._slots.levels[retried] = np.maximum(
            self._slots.levels[retried], self._slots.dirty_levels[retried]
        )
        renewed = batch.slots[is_ours & ~is_done & is_gone & is_again]
        self._slots.levels[renewed] = self._slots.dirty_levels[renewed]
        self._slots.dirty_ms[renewed] = self._slots.again_ms[renewed]
        self._free_slots(batch.slots[is_ours & ~is_done & is_gone & ~is_again])
        self._queue_again(np.concatenate([retried, renewed]))
        cooling = batch.slots[is_ours & is_done]
        self._slots.states[cooling] = COOLING
        self._cooling.extend((due_ms, entry) for entry in self._slots.stamp(cooling))
        self._warm(now_ms)
        return is_ours

    def next_due_ms(self, now_ms: int) -> int | None:
        """Return when :meth:`take` may have something, at the earliest; None when never."""
        due: list[int] = [self._cooling[0][0]] if self._cooling else []
        for partition, lane in self._lanes.items():
            if partition in self._held:
                continue
            if lane.num_ready >= self._max_batch:
                return now_ms
            if lane.num_ready:
                due.append(self._head(lane)[1] + self._max_wait_ms)
        return max(min(due), now_ms) if due else None

    def knows(self, partition: int, user_rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return bool (n,): the row waits, flies or cools."""
        lane = self._lanes.get(partition)
        return np.zeros(len(user_rows), bool) if lane is None else lane.slots_of(user_rows) >= 0

    def drop(self, partition: int) -> int:
        """Forget a partition's users (it moved to another worker); return how many."""
        lane = self._lanes.pop(partition, None)
        if lane is None:
            return 0
        slots = lane.slot_of_row[lane.slot_of_row >= 0].astype(np.int64)
        self.num_in_flight -= int((self._slots.states[slots] == IN_FLIGHT).sum())
        self._free_slots(slots)
        return len(slots)

    def _mark_known(
        self,
        lane: _Lane,
        users: DirtyUsers,
        slots: NDArray[np.int64],
        is_known: NDArray[np.bool_],
        now_ms: int,
    ) -> None:
        """Raise the urgency of waiters; remember that the others are dirty again."""
        known = slots[is_known]
        levels = users.levels[is_known]
        self.num_coalesced += len(known)
        positions = np.flatnonzero(is_known).tolist()
        # A reused row: from now on the entry means its new owner.
        self._slots.name(known, [users.user_ids[position] for position in positions])
        is_ready = self._slots.states[known] == READY
        raised = known[is_ready & (levels > self._slots.levels[known])]
        if len(raised):
            self._slots.levels[raised] = EXPLICIT
            self._slots.dirty_ms[raised] = now_ms  # The explicit action's own deadline.
            lane.entries[EXPLICIT].extend(self._slots.stamp(raised))
        others, levels = known[~is_ready], levels[~is_ready]
        is_first = self._slots.dirty_levels[others] < 0
        self._slots.again_ms[others[is_first]] = now_ms
        self._slots.dirty_levels[others] = np.maximum(self._slots.dirty_levels[others], levels)

    def _add(
        self, lane: _Lane, users: DirtyUsers, positions: NDArray[np.int64], now_ms: int
    ) -> int:
        """Queue newcomers; return how many users (new or waiting) were shed."""
        levels = users.levels[positions]
        num_shed = 0
        if len(positions) > self._slots.num_free:
            wanted = int((levels == EXPLICIT).sum())
            num_shed += self._shed(max(wanted - self._slots.num_free, 0))
            order = np.argsort(-levels, kind="stable")[: self._slots.num_free]
            num_shed += len(positions) - len(order)
            positions, levels = positions[np.sort(order)], levels[np.sort(order)]
        slots = self._slots.allocate(len(positions))
        rows = users.user_rows[positions]
        lane.slot_of_row[rows] = slots
        self._slots.partitions[slots] = users.partition
        self._slots.rows[slots] = rows
        self._slots.name(slots, [users.user_ids[position] for position in positions.tolist()])
        self._slots.states[slots] = READY
        self._slots.levels[slots] = levels
        self._slots.dirty_levels[slots] = NONE
        self._slots.dirty_ms[slots] = now_ms
        lane.num_ready += len(slots)
        for level in (PASSIVE, EXPLICIT):
            lane.entries[level].extend(self._slots.stamp(slots[levels == level]))
            self._compact(lane, level)
        return num_shed

    def _shed(self, count: int) -> int:
        """Drop up to ``count`` passive waiters, newest first, from the fullest partitions."""
        shed = 0
        for lane in sorted(self._lanes.values(), key=lambda lane: -lane.num_ready):
            entries = lane.entries[PASSIVE]
            dropped: list[int] = []
            while entries and shed + len(dropped) < count:
                entry = entries.pop()
                if self._slots.is_current(entry):
                    dropped.append(self._slots.slot_of(entry))
            lane.num_ready -= len(dropped)
            self._free_slots(np.array(dropped, np.int64))
            shed += len(dropped)
        return shed

    def _free_slots(self, slots: NDArray[np.int64]) -> None:
        for partition in np.unique(self._slots.partitions[slots]).tolist():
            lane = self._lanes.get(partition)
            if lane is not None:
                mine = slots[self._slots.partitions[slots] == partition]
                lane.slot_of_row[self._slots.rows[mine]] = NONE
        self._slots.free(slots)

    def _queue_again(self, slots: NDArray[np.int64]) -> None:
        """Make slots ready at the front of their queues, keeping order among themselves."""
        if not len(slots):
            return
        lane = self._lanes[int(self._slots.partitions[slots[0]])]
        self._slots.states[slots] = READY
        self._slots.dirty_levels[slots] = NONE
        lane.num_ready += len(slots)
        for level in (PASSIVE, EXPLICIT):
            entries = self._slots.stamp(slots[self._slots.levels[slots] == level])
            lane.entries[level].extendleft(reversed(entries))

    def _warm(self, now_ms: int) -> None:
        """End the cooling of users whose interval is over; dirty ones are ready again."""
        while self._cooling and self._cooling[0][0] <= now_ms:
            _, entry = self._cooling.popleft()
            slot = self._slots.slot_of(entry)
            if not self._slots.is_current(entry):
                continue  # Dropped with its partition.
            level = int(self._slots.dirty_levels[slot])
            if level < 0:
                self._free_slots(np.array([slot], np.int64))
                continue
            self._slots.states[slot] = READY
            self._slots.levels[slot] = level
            self._slots.dirty_levels[slot] = NONE
            self._slots.dirty_ms[slot] = self._slots.again_ms[slot]
            lane = self._lanes[int(self._slots.partitions[slot])]
            lane.num_ready += 1
            lane.entries[level].extend(self._slots.stamp(np.array([slot], np.int64)))

    def _head(self, lane: _Lane) -> tuple[int, int]:
        """Return (earliest deadline, oldest change) of a lane that has ready users."""
        heads = []
        for level, entries in enumerate(lane.entries):
            while entries and not self._slots.is_current(entries[0]):
                entries.popleft()
            if entries:
                since = int(self._slots.dirty_ms[self._slots.slot_of(entries[0])])
                heads.append((since + self._delays_ms[level], since))
        return min(heads)[0], min(since for _, since in heads)

    def _pop(self, lane: _Lane) -> list[int]:
        """Remove up to ``max_batch`` ready slots by deadline and return them."""
        slots: list[int] = []
        while len(slots) < min(self._max_batch, lane.num_ready):
            self._head(lane)  # Clears void entries from both fronts.
            passive, explicit = lane.entries
            level = PASSIVE if passive else EXPLICIT
            if passive and explicit:
                times = [
                    int(self._slots.dirty_ms[self._slots.slot_of(entries[0])]) + delay
                    for entries, delay in zip(lane.entries, self._delays_ms, strict=True)
                ]
                level = EXPLICIT if times[EXPLICIT] <= times[PASSIVE] else PASSIVE
            slots.append(self._slots.slot_of(lane.entries[level].popleft()))
        return slots

    def _compact(self, lane: _Lane, level: int) -> None:
        """Drop void entries where they outnumber the live ones: the queue stays bounded."""
        entries = lane.entries[level]
        if len(entries) > 2 * lane.num_ready + _COMPACT_SLACK:
            live = [entry for entry in entries if self._slots.is_current(entry)]
            entries.clear()
            entries.extend(live)
