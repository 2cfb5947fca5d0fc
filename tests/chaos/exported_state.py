"""The engine's state as plain dicts by id, never by row: what the oracle is compared with.

Reads the arrays as they are; nothing here goes through a read path of the engine, so that a
mistake in reading and its twin in folding cannot hide each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from state.history import place_of
from state.id_kernels import hash_id
from state.item_counts import NUM_COLUMNS
from state.item_limits import DAY_MS, HOUR_MS, MINUTE_MS
from state.item_partition import ItemPartition
from state.pair_arena import CF, GENERATION, IN, LANES, NUM_LINES, OUT, START
from state.user_partition import UserPartition
from tests.chaos.oracle_items import COUNTED, STRENGTH

VERDICTS = ("applied", "duplicate", "late", "rejected", "filtered", "routed")


def user_counters(tables: UserPartition) -> dict[str, int]:
    """Return the six verdicts, after checking that they make up what was read."""
    counters = tables.counters
    found = {name: counters[name] for name in VERDICTS}
    assert counters["read"] == sum(found.values()), counters
    assert counters["evicted_users"] == counters["evicted_items"] == 0, "not comparable"
    assert counters["dropped_event_ids"] == 0, "not comparable"
    return found


def users(tables: UserPartition) -> dict[str, dict[str, Any]]:
    """Return user id -> facts and history, oldest first."""
    found = {}
    history, facts = tables._tables.history, tables._tables.user_facts
    rows = tables.users.live_rows()
    for row, user_id in zip(rows.tolist(), tables.users.ids(rows), strict=True):
        entries = []
        for entry in range(int(history.lengths[row])):
            place = place_of(history, row, entry)
            entries.append(
                (
                    tables.items.id(int(history.item_rows[row, place])).decode(),
                    int(history.times_ms[row, place]),
                    int(history.strengths[row, place]),
                    int(history.actions[row, place]) & 0xFF,
                    int(history.completions[row, place]),
                )
            )
        found[user_id.decode()] = {
            "num_events": int(facts.num_events[row]),
            "events_to_ms": int(facts.events_to_ms[row]),
            "history": entries,
        }
    return found


def event_ids(tables: UserPartition) -> list[tuple[int, int, int]]:
    """Return the fingerprints known: (hash of user, hash of event id, event time), sorted."""
    columns = tables._tables.event_ids.canonical()
    names = ("user_hashes", "event_hashes", "times_ms")
    return sorted(zip(*(columns[name].tolist() for name in names), strict=True))


def user_hash(tables: UserPartition, user_id: str) -> int:
    """Return the hash that stands for an erased user."""
    data = np.frombuffer(user_id.encode(), np.uint8)
    return int(hash_id(tables.users.columns, data, 0, len(data)))


def erased(tables: UserPartition) -> dict[int, int]:
    """Return hash of user -> offset of the last erase."""
    arrays = tables.erased_users()
    return dict(zip(arrays["hashes"].tolist(), arrays["offsets"].tolist(), strict=True))


def _tiles_of(unrolled: list[int], items: ItemPartition) -> dict[tuple[str, int, str], int]:
    limits, now_ms = items.limits, items.stream_time_ms
    columns = (*COUNTED, STRENGTH)
    found: dict[tuple[str, int, str], int] = {}
    at = limits.num_minutes
    for age in range(at):
        found["minute", now_ms // MINUTE_MS - age, STRENGTH] = unrolled[age]
    for ring, size_ms, number in (
        ("hour", HOUR_MS, limits.num_hours),
        ("day", DAY_MS, limits.num_days),
    ):
        for age in range(number):
            for place, column in enumerate(columns):
                found[ring, now_ms // size_ms - age, column] = unrolled[at + place]
            at += NUM_COLUMNS
    return {key: count for key, count in found.items() if count}


def items(partition: ItemPartition) -> dict[str, dict[str, Any]]:
    """Return item id -> tiles, marginals and pairs of what the windows hold; zeros left out."""
    assert partition.counters["evicted"] == partition.counters["overflowed"] == 0, "not comparable"
    rows = partition.live_rows()
    unrolled = partition.counts.unroll(rows, now_ms=partition.stream_time_ms).tolist()
    found = {}
    for index, row in enumerate(rows.tolist()):
        state: dict[str, Any] = {
            "tiles": _tiles_of(unrolled[index], partition),
            "marginals": {},
            "pairs": {},
        }
        for window, generation, slot in _held_slots(partition):
            header = partition.pairs.headers[row, slot]
            if header[GENERATION] != generation:
                continue
            sums = tuple(int(each) for each in header[NUM_LINES + 1 :])
            if any(sums):
                state["marginals"][window, generation] = sums
            if pairs := _pairs_of(partition, header):
                state["pairs"][window, generation] = pairs
        if any(state.values()):
            touched_ms = partition.counts.touched_ms(np.array([row], np.int32))
            state["touched_ms"] = int(touched_ms[0])
            found[partition.ids.id(int(partition.id_rows[row])).decode()] = state
    return found


def _held_slots(partition: ItemPartition) -> list[tuple[int, int, int]]:
    """Return (window, generation, slot) of the generations that the windows still hold."""
    pairs = partition.pairs
    held = []
    for slot, head in enumerate(pairs.heads):
        window, generation = slot // pairs.num_generations, int(head[GENERATION])
        if 0 <= generation and generation > int(pairs.newest[window]) - pairs.num_generations:
            held.append((window, generation, slot))
    return held


def _pairs_of(partition: ItemPartition, header: Any) -> dict[str, list[int]]:
    found = {}
    for line in partition.pairs.lines[header[START] : header[START] + header[NUM_LINES]]:
        for lane in range(LANES):
            if line[lane]:
                neighbour = partition.ids.id(int(line[lane]) - 1).decode()
                assert neighbour not in found, "a pair stands twice"
                found[neighbour] = [int(line[field + lane]) for field in (OUT, IN, CF)]
    return found
