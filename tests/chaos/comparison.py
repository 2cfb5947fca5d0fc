"""The comparison of an engine with the oracle: integers exactly, floats to a millionth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple

import numpy as np
import pytest

from state.hashing import hash64
from state.item_partition import ItemPartition
from state.user_partition import UserPartition
from stream.engine import Engine
from tests.chaos import exported_state
from tests.chaos.oracle import Oracle
from tests.chaos.oracle_items import ItemPartitionOracle
from tests.chaos.oracle_users import UserPartitionOracle

# What is compared: its name, what the engine has, what the oracle expects.
Part = tuple[str, object, object]


def user_parts(tables: UserPartition, oracle: UserPartitionOracle) -> Iterator[Part]:
    """Yield what is compared of one user partition: verdicts, histories, ids, erases."""
    yield "counters", exported_state.user_counters(tables), oracle.counters
    yield "next offset", tables.next_offset, oracle.next_offset
    yield "stream time", tables.stream_time_ms, oracle.stream_time_ms
    expected = {
        user_id: {
            "num_events": user.num_events,
            "events_to_ms": user.events_to_ms,
            "history": [
                (each.item, each.time_ms, each.strength, each.actions, each.completion)
                for each in user.history
            ],
        }
        for user_id, user in oracle.users.items()
    }
    yield "users", exported_state.users(tables), expected
    hashes = {user: exported_state.user_hash(tables, user) for user, _, _ in oracle.event_ids}
    ids = sorted(
        (hashes[user], _fingerprint(event_id, hashes[user]), time_ms)
        for user, event_id, time_ms in oracle.event_ids
    )
    yield "event ids", exported_state.event_ids(tables), ids
    erased = {
        exported_state.user_hash(tables, user): offset for user, offset in oracle.erased.items()
    }
    yield "erased", exported_state.erased(tables), erased


def check_users(tables: UserPartition, oracle: UserPartitionOracle) -> None:
    """Compare one user partition."""
    for name, found, expected in user_parts(tables, oracle):
        assert found == expected, name


def _fingerprint(event_id: str, seed: int) -> int:
    data = np.frombuffer(event_id.encode(), np.uint8)
    return int(hash64(data, 0, len(data), np.uint64(seed)))


def item_parts(partition: ItemPartition, oracle: ItemPartitionOracle) -> Iterator[Part]:
    """Yield what is compared of one item partition: tiles, marginals, pairs, touches."""
    yield "stream time", partition.stream_time_ms, oracle.stream_time_ms
    expected = {
        item: {
            "tiles": state.tiles,
            "marginals": {part: astuple(sums) for part, sums in state.marginals.items()},
            "pairs": state.pairs,
            "touched_ms": state.touched_ms,
        }
        for item, state in oracle.items.items()
    }
    yield "items", exported_state.items(partition), expected


def check_items(engine: Engine, oracle: ItemPartitionOracle) -> None:
    """Compare one item partition, and popularity as it is read."""
    partition = engine.items[oracle.partition]
    for name, found, expected in item_parts(partition, oracle):
        assert found == expected, name
    for item in oracle.items:
        described = partition.describe(item.encode())
        assert described is not None
        for half_life_ms, popularity in described["popularity"].items():
            value = oracle.popularity(item, int(half_life_ms))
            assert popularity == pytest.approx(value, rel=1e-6, abs=1e-6), item


def wrong_keys(engine: Engine, oracle: Oracle) -> list[str]:
    """Return every key that differs between an engine that holds all partitions and the oracle."""
    wrong = []
    sides: list[tuple[str, Iterator[Part]]] = [
        *(
            (f"users/{each.partition}", user_parts(engine.users[each.partition].tables, each))
            for each in oracle.users
        ),
        *(
            (f"items/{each.partition}", item_parts(engine.items[each.partition], each))
            for each in oracle.items
        ),
    ]
    for side, parts in sides:
        for name, found, expected in parts:
            if not isinstance(found, dict) or not isinstance(expected, dict):
                wrong += [f"{side} {name}"] if found != expected else []
                continue
            for key in found.keys() | expected.keys():
                if found.get(key) != expected.get(key):
                    wrong.append(f"{side} {name} {key}: {found.get(key)}, not {expected.get(key)}")
    return sorted(wrong)


def check(engine: Engine, oracle: Oracle) -> None:
    """Compare an engine that holds every partition."""
    for users in oracle.users:
        check_users(engine.users[users.partition].tables, users)
    for items in oracle.items:
        check_items(engine, items)
    assert engine.counters() == oracle.counters()
