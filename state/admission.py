"""Admission: record by record, what is late, what is a duplicate, and whose rows the rest takes.

Verdicts in this order: already applied (not counted), rejected, routed, late, duplicate, filtered
(more than the user's rate limit allows), applied.
Lateness is judged against the running maximum of admitted event times, so that batch cuts cannot
matter. The kernel stops where rows must be evicted or a user be erased; its caller folds what was
admitted until then, does that, and goes on at the same record.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.actions import ERASE
from state.event_ids import (
    EventIdColumns,
    add_event_id,
    event_hash,
    expire_event_ids,
    has_event_id,
)
from state.hashing import partition_of
from state.id_kernels import IdColumns, add_row, find_row, hash_id
from state.kernels import kernel
from state.row_facts import ItemFacts, UserFacts
from state.user_limits import UserRules

# Why the kernel stopped.
FINISHED, NO_USER_ROW, NO_ITEM_ROW, ERASED = range(4)
# Positions in the counters array; their names in that order.
APPLIED, DUPLICATE, LATE, REJECTED, FILTERED, ROUTED, EVICTED_USERS, EVICTED_ITEMS = range(8)
COUNTER_NAMES = (
    "applied",
    "duplicate",
    "late",
    "rejected",
    "filtered",
    "routed",
    "evicted_users",
    "evicted_items",
)
NO_ROW = -1
_MINUTE_MS = 60_000


class EventColumns(NamedTuple):
    """One batch of decoded events in log order, as in ``stream.events``. E = events."""

    buffer: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    types: NDArray[np.uint8]
    user_starts: NDArray[np.int64]
    user_lengths: NDArray[np.int32]
    item_starts: NDArray[np.int64]
    item_lengths: NDArray[np.int32]
    event_id_starts: NDArray[np.int64]
    event_id_lengths: NDArray[np.int32]
    watch_ms: NDArray[np.int64]
    duration_ms: NDArray[np.int64]
    is_skipped: NDArray[np.bool_]


class AdmittedColumns(NamedTuple):
    """The events admitted so far. Positions count events; ``counts[0]`` says how many.

    Attributes:
        events: int64 (E,), index into the batch.
        user_rows: int32 (E,).
        item_rows: int32 (E,), local; -1 for an event without an item.
        counts: int64 (1,).
    """

    events: NDArray[np.int64]
    user_rows: NDArray[np.int32]
    item_rows: NDArray[np.int32]
    counts: NDArray[np.int64]


def make_admitted(num_events: int) -> AdmittedColumns:
    """Return room for a batch."""
    return AdmittedColumns(
        events=np.empty(num_events, np.int64),
        user_rows=np.empty(num_events, np.int32),
        item_rows=np.empty(num_events, np.int32),
        counts=np.zeros(1, np.int64),
    )


class AdmissionTables(NamedTuple):
    """What admission reads and changes, for the kernel.

    Attributes:
        users, items: Id indexes.
        event_ids: Fingerprints.
        user_facts, item_facts: Facts by row.
        counters: int64 (8,), by COUNTER_NAMES.
        stream_time_ms: int64 (1,), largest admitted event time; 0 at first.
        num_item_partitions: Partitions of the item side.
    """

    users: IdColumns
    items: IdColumns
    event_ids: EventIdColumns
    user_facts: UserFacts
    item_facts: ItemFacts
    counters: NDArray[np.int64]
    stream_time_ms: NDArray[np.int64]
    num_item_partitions: int


@kernel
def _user_row(tables: AdmissionTables, events: EventColumns, i: int, user_hash: np.uint64) -> int:
    """Find or add the event's user; negative where there is no room."""
    start, length = events.user_starts[i], events.user_lengths[i]
    row = find_row(tables.users, events.buffer, start, length, user_hash)
    if row < 0:
        row = add_row(tables.users, events.buffer, start, length, user_hash)
        if row < 0:
            return int(row)
        tables.user_facts.num_events[row] = 0
        tables.user_facts.events_to_ms[row] = 0
        tables.user_facts.newest_event_ids[row] = 0
        tables.user_facts.debts[row] = 0
    tables.user_facts.touched_offsets[row] = events.offsets[i]
    return int(row)


@kernel
def _item_row(tables: AdmissionTables, events: EventColumns, i: int) -> int:
    """Find or add the event's item; negative where there is no room."""
    start, length = events.item_starts[i], events.item_lengths[i]
    item_hash = hash_id(tables.items, events.buffer, start, length)
    row = find_row(tables.items, events.buffer, start, length, item_hash)
    if row < 0:
        row = add_row(tables.items, events.buffer, start, length, item_hash)
        if row < 0:
            return int(row)
        facts = tables.item_facts
        facts.first_seen_ms[row] = events.timestamps_ms[i]
        facts.catalogue_rows[row] = NO_ROW
        facts.destinations[row] = partition_of(
            events.buffer, start, length, tables.num_item_partitions
        )
    tables.item_facts.touched_offsets[row] = events.offsets[i]
    return int(row)


@kernel
def _enter(
    tables: AdmissionTables,
    rules: UserRules,
    time_ms: int,
    user_hash: np.uint64,
    fingerprint: np.uint64,
    previous: int,
) -> int:
    """Count an applied event, move stream time, remember its id; return the id's number."""
    tables.counters[APPLIED] += 1
    stream_time_ms = max(tables.stream_time_ms[0], time_ms)
    tables.stream_time_ms[0] = stream_time_ms
    expire_event_ids(tables.event_ids, stream_time_ms - rules.grace_ms)
    return int(add_event_id(tables.event_ids, user_hash, fingerprint, time_ms, previous))


@kernel
def _debt_after(facts: UserFacts, rules: UserRules, user_row: int, time_ms: int) -> int:
    """Return what a user owes after one more event: 60,000 each, less N per ms of event time.

    A token bucket of N = ``max_events_per_minute`` in integers, upside down: what is owed may not
    exceed 60,000 N. Time that a late event goes back over pays nothing.
    """
    passed_ms = min(max(time_ms - facts.events_to_ms[user_row], 0), _MINUTE_MS)
    paid = passed_ms * rules.max_events_per_minute
    return int(max(facts.debts[user_row] - paid, 0) + _MINUTE_MS)


@kernel
def admit(
    tables: AdmissionTables,
    rules: UserRules,
    events: EventColumns,
    begin: int,
    admitted: AdmittedColumns,
) -> tuple[int, int]:
    """Judge the events from ``begin`` on; append what is applied to ``admitted``.

    Returns:
        ``(stop, reason)``: the first event not dealt with, and why it stopped there. After ERASED
        the event at ``stop - 1`` is the erase: counted and remembered, its user still there.
    """
    facts = tables.user_facts
    for i in range(begin, len(events.offsets)):
        if events.is_skipped[i]:
            continue
        time_ms = events.timestamps_ms[i]
        if time_ms < tables.stream_time_ms[0] - rules.grace_ms:
            tables.counters[LATE] += 1
            continue
        user_hash = hash_id(
            tables.users, events.buffer, events.user_starts[i], events.user_lengths[i]
        )
        fingerprint = event_hash(
            events.buffer, events.event_id_starts[i], events.event_id_lengths[i], user_hash
        )
        if has_event_id(tables.event_ids, user_hash, fingerprint):
            tables.counters[DUPLICATE] += 1
            continue
        if events.types[i] == ERASE:
            # Tied to no user, so that the erase does not forget itself and a copy stays one.
            _enter(tables, rules, time_ms, user_hash, fingerprint, 0)
            return i + 1, ERASED
        user_row = _user_row(tables, events, i, user_hash)
        if user_row < 0:
            return i, NO_USER_ROW
        debt = np.int64(0)
        if rules.max_events_per_minute > 0:
            debt = np.int64(_debt_after(facts, rules, user_row, time_ms))
            if debt > _MINUTE_MS * rules.max_events_per_minute:
                tables.counters[FILTERED] += 1
                continue
        item_row = np.int64(NO_ROW)
        if events.item_lengths[i] > 0:
            item_row = np.int64(_item_row(tables, events, i))
            if item_row < 0:
                return i, NO_ITEM_ROW
        previous = facts.newest_event_ids[user_row]
        facts.newest_event_ids[user_row] = _enter(
            tables, rules, time_ms, user_hash, fingerprint, previous
        )
        facts.debts[user_row] = debt
        facts.num_events[user_row] += 1
        facts.events_to_ms[user_row] = max(facts.events_to_ms[user_row], time_ms)
        count = admitted.counts[0]
        admitted.events[count] = i
        admitted.user_rows[count] = user_row
        admitted.item_rows[count] = item_row
        admitted.counts[0] = count + 1
    return len(events.offsets), FINISHED
