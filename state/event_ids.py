"""Event ids: an exact set of 128-bit fingerprints over event time, for duplicates.

Fingerprints stand in a ring in order of arrival; an open-addressing table finds their places.
Before a new one comes in, the oldest arrivals leave while they are older than the grace: a copy
of such an event is late before anyone asks whether it is a duplicate. At the bound the oldest
arrival makes room and is counted. Each fingerprint points to the same user's one before, so that
an erase reaches all of them without a sweep.

Absent: the ids themselves. A fingerprint is (hash of user id, hash of event id seeded by it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.hashing import hash64
from state.kernels import kernel
from state.table import Arrays, grown_capacity

# Positions in EventIdColumns.counts. Sequence numbers start at 1; [HEAD, NEXT) is in the ring.
HEAD, NEXT, DEAD, DROPPED = range(4)
# The time of an erased fingerprint: older than any grace, so that it leaves when it comes first.
_DEAD_TIME_MS = -(1 << 62)


class EventIdColumns(NamedTuple):
    """The arrays of the set, for kernels. N places in the ring, S slots.

    Attributes:
        slots: uint64 (S,), ``hash >> 32 << 32 | place + 1``; 0 = empty; S a power of two.
        user_hashes: uint64 (N,).
        event_hashes: uint64 (N,).
        times_ms: int64 (N,), event time.
        steps_back: uint32 (N,), sequence numbers back to the user's one before; 0 = none.
        counts: int64 (4,), oldest sequence number in the ring, next one, erased in the ring,
            dropped for want of room so far.
    """

    slots: NDArray[np.uint64]
    user_hashes: NDArray[np.uint64]
    event_hashes: NDArray[np.uint64]
    times_ms: NDArray[np.int64]
    steps_back: NDArray[np.uint32]
    counts: NDArray[np.int64]


@kernel
def event_hash(
    buffer: NDArray[np.uint8], start: int, length: int, user_hash: np.uint64
) -> np.uint64:
    """Return the fingerprint's second half; ``user_hash`` is the first."""
    return np.uint64(hash64(buffer, start, length, user_hash))


@kernel
def _home(slots: NDArray[np.uint64], tag: np.uint64) -> np.uint64:
    """Return the slot where a search begins: the tag's high bits, so that slots tell it alone."""
    return (tag * np.uint64(len(slots))) >> np.uint64(32)


@kernel
def has_event_id(ids: EventIdColumns, user_hash: np.uint64, event_hash: np.uint64) -> bool:
    """Tell whether the fingerprint is in the set."""
    mask = np.uint64(len(ids.slots) - 1)
    tag = event_hash >> np.uint64(32)
    slot = _home(ids.slots, tag)
    while True:
        entry = ids.slots[slot]
        if entry == np.uint64(0):
            return False
        if entry >> np.uint64(32) == tag:
            place = (entry & np.uint64(0xFFFFFFFF)) - np.uint64(1)
            if ids.event_hashes[place] == event_hash and ids.user_hashes[place] == user_hash:
                return True
        slot = (slot + np.uint64(1)) & mask


@kernel
def _put_slot(ids: EventIdColumns, place: int) -> None:
    mask = np.uint64(len(ids.slots) - 1)
    tag = ids.event_hashes[place] >> np.uint64(32)
    slot = _home(ids.slots, tag)
    while ids.slots[slot] != np.uint64(0):
        slot = (slot + np.uint64(1)) & mask
    ids.slots[slot] = (tag << np.uint64(32)) | np.uint64(place + 1)


@kernel
def _remove_slot(ids: EventIdColumns, place: int) -> None:
    """Empty a place's slot and close the gap (Knuth, TAOCP 3, 6.4, algorithm R)."""
    mask = np.uint64(len(ids.slots) - 1)
    hole = _home(ids.slots, ids.event_hashes[place] >> np.uint64(32))
    while ids.slots[hole] & np.uint64(0xFFFFFFFF) != np.uint64(place + 1):
        hole = (hole + np.uint64(1)) & mask
    slot = hole
    while True:
        slot = (slot + np.uint64(1)) & mask
        entry = ids.slots[slot]
        if entry == np.uint64(0):
            break
        home = _home(ids.slots, entry >> np.uint64(32))
        if (slot - home) & mask >= (slot - hole) & mask:
            ids.slots[hole] = entry
            hole = slot
    ids.slots[hole] = np.uint64(0)


@kernel
def _drop_oldest(ids: EventIdColumns) -> bool:
    """Take the oldest arrival out; tell whether it was there (not erased before)."""
    place = ids.counts[HEAD] % len(ids.times_ms)
    was_alive = ids.times_ms[place] != _DEAD_TIME_MS
    if was_alive:
        _remove_slot(ids, place)
    else:
        ids.counts[DEAD] -= 1
    ids.user_hashes[place] = np.uint64(0)
    ids.event_hashes[place] = np.uint64(0)
    ids.times_ms[place] = 0
    ids.steps_back[place] = 0
    ids.counts[HEAD] += 1
    return bool(was_alive)


@kernel
def expire_event_ids(ids: EventIdColumns, horizon_ms: int) -> None:
    """Drop the oldest arrivals while their event time is below ``horizon_ms``."""
    while ids.counts[HEAD] < ids.counts[NEXT]:
        if ids.times_ms[ids.counts[HEAD] % len(ids.times_ms)] >= horizon_ms:
            break
        _drop_oldest(ids)


@kernel
def add_event_id(
    ids: EventIdColumns,
    user_hash: np.uint64,
    event_hash: np.uint64,
    time_ms: int,
    previous: int,
) -> int:
    """Add a fingerprint that is not there; return its sequence number.

    ``previous`` is the user's one before (0 = none). A full ring drops its oldest arrival; the
    caller has reserved places short of the bound.
    """
    if ids.counts[NEXT] - ids.counts[HEAD] == len(ids.times_ms) and _drop_oldest(ids):
        ids.counts[DROPPED] += 1
    sequence = ids.counts[NEXT]
    place = sequence % len(ids.times_ms)
    ids.user_hashes[place] = user_hash
    ids.event_hashes[place] = event_hash
    ids.times_ms[place] = time_ms
    back = sequence - previous
    is_near = previous >= ids.counts[HEAD] and back <= np.int64(0xFFFFFFFF)
    ids.steps_back[place] = np.uint32(back) if is_near else np.uint32(0)
    ids.counts[NEXT] += 1
    _put_slot(ids, place)
    return int(sequence)


@kernel
def erase_event_ids(ids: EventIdColumns, newest: int) -> int:
    """Wipe a user's fingerprints, ``newest`` and all before it; return how many there were."""
    num_erased = 0
    sequence = np.int64(newest)
    while sequence > 0 and sequence >= ids.counts[HEAD]:
        place = sequence % len(ids.times_ms)
        back = np.int64(ids.steps_back[place])
        _remove_slot(ids, place)
        ids.user_hashes[place] = np.uint64(0)
        ids.event_hashes[place] = np.uint64(0)
        ids.times_ms[place] = _DEAD_TIME_MS
        ids.steps_back[place] = 0
        ids.counts[DEAD] += 1
        num_erased += 1
        sequence = sequence - back if back > 0 else np.int64(0)
    return num_erased


@kernel
def _fill_ring(ids: EventIdColumns, old: EventIdColumns) -> None:
    """Copy ``old`` (its places count from the head) into empty arrays, by sequence number."""
    for sequence in range(ids.counts[HEAD], ids.counts[NEXT]):
        source = (sequence - old.counts[HEAD]) % len(old.times_ms)
        place = sequence % len(ids.times_ms)
        ids.user_hashes[place] = old.user_hashes[source]
        ids.event_hashes[place] = old.event_hashes[source]
        ids.times_ms[place] = old.times_ms[source]
        ids.steps_back[place] = old.steps_back[source]
        if ids.times_ms[place] != _DEAD_TIME_MS:
            _put_slot(ids, place)


def ring_places(counts: NDArray[np.int64], num_places: int) -> NDArray[np.int64]:
    """Return the places in use of a ring, oldest arrival first: int64."""
    return np.arange(int(counts[HEAD]), int(counts[NEXT]), dtype=np.int64) % num_places


class EventIds:
    """The fingerprints of one partition's recent events."""

    def __init__(self, *, max_event_ids: int, initial: int = 1024) -> None:
        """Make an empty set that remembers at most ``max_event_ids``."""
        self._max_event_ids = max_event_ids
        self.columns = self._make(min(initial, max_event_ids), np.array([1, 1, 0, 0], np.int64))

    def __len__(self) -> int:
        counts = self.columns.counts
        return int(counts[NEXT] - counts[HEAD] - counts[DEAD])

    @property
    def num_dropped(self) -> int:
        """Fingerprints dropped at the bound before their time."""
        return int(self.columns.counts[DROPPED])

    def reserve(self, num_events: int) -> None:
        """Make room for so many more, short of the bound."""
        old = self.columns
        used = int(old.counts[NEXT] - old.counts[HEAD])
        needed = min(used + num_events, self._max_event_ids)
        capacity = len(old.times_ms)
        if needed > capacity:
            bound = self._max_event_ids
            size = grown_capacity(capacity=capacity, needed=needed, bound=bound)
            ring = self._ring()
            self.columns = self._make(size, old.counts)
            _fill_ring(self.columns, ring)

    def canonical(self) -> Arrays:
        """Return the living fingerprints sorted by value: user_hashes, event_hashes, times_ms."""
        ring = self._ring()
        alive = ring.times_ms != _DEAD_TIME_MS
        users, events = ring.user_hashes[alive], ring.event_hashes[alive]
        order = np.lexsort((events, users))
        return {
            "user_hashes": users[order],
            "event_hashes": events[order],
            "times_ms": ring.times_ms[alive][order],
        }

    def arrays(self) -> Arrays:
        """Return the ring from its oldest arrival on (copies: a ring wraps)."""
        ring = self._ring()
        return {
            "user_hashes": ring.user_hashes,
            "event_hashes": ring.event_hashes,
            "times_ms": ring.times_ms,
            "steps_back": ring.steps_back,
            "counts": ring.counts,
        }

    def ring(self) -> Arrays:
        """Return what :meth:`arrays` gives as the ring stands (views): place = sequence % N."""
        columns = self.columns._asdict()
        del columns["slots"]
        return columns

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace everything; a smaller bound drops the oldest arrivals, counted."""
        counts = np.array(arrays["counts"], np.int64)
        used = len(arrays["times_ms"])
        old = EventIdColumns(
            slots=np.zeros(1, np.uint64),
            user_hashes=np.array(arrays["user_hashes"], np.uint64),
            event_hashes=np.array(arrays["event_hashes"], np.uint64),
            times_ms=np.array(arrays["times_ms"], np.int64),
            steps_back=np.array(arrays["steps_back"], np.uint32),
            counts=counts.copy(),
        )
        too_many = max(0, used - self._max_event_ids)
        num_dead = int((old.times_ms[:too_many] == _DEAD_TIME_MS).sum())
        counts += (too_many, 0, -num_dead, too_many - num_dead)
        capacity = min(1024, self._max_event_ids)
        needed = used - too_many
        if needed > capacity:
            bound = self._max_event_ids
            capacity = grown_capacity(capacity=capacity, needed=needed, bound=bound)
        self.columns = self._make(capacity, counts)
        if needed:
            _fill_ring(self.columns, old)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return fingerprints against their bound."""
        return {"event_ids": (len(self), self._max_event_ids)}

    def _make(self, capacity: int, counts: NDArray[np.int64]) -> EventIdColumns:
        return EventIdColumns(
            slots=np.zeros(1 << max(4, (2 * capacity - 1).bit_length()), np.uint64),
            user_hashes=np.zeros(capacity, np.uint64),
            event_hashes=np.zeros(capacity, np.uint64),
            times_ms=np.zeros(capacity, np.int64),
            steps_back=np.zeros(capacity, np.uint32),
            counts=counts,
        )

    def _ring(self) -> EventIdColumns:
        """Return copies of the ring's used places, oldest arrival first."""
        columns = self.columns
        places = ring_places(columns.counts, len(columns.times_ms))
        return EventIdColumns(
            slots=columns.slots,
            user_hashes=columns.user_hashes[places],
            event_hashes=columns.event_hashes[places],
            times_ms=columns.times_ms[places],
            steps_back=columns.steps_back[places],
            counts=columns.counts.copy(),
        )
