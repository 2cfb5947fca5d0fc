"""The comparison of an engine with the oracle: integers exactly, floats to a millionth."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from state.hashing import hash64
from state.user_partition import UserPartition
from stream.engine import Engine
from tests.chaos import exported_state
from tests.chaos.oracle import Oracle
from tests.chaos.oracle_items import ItemPartitionOracle
from tests.chaos.oracle_users import UserPartitionOracle


def check_users(tables: UserPartition, oracle: UserPartitionOracle) -> None:
    """Compare one user partition: verdicts, histories, the window of ids, erases."""
    assert exported_state.user_counters(tables) == oracle.counters
    assert tables.next_offset == oracle.next_offset
    assert tables.stream_time_ms == oracle.stream_time_ms
    assert exported_state.users(tables) == {
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
    hashes = {user: exported_state.user_hash(tables, user) for user, _, _ in oracle.event_ids}
    assert exported_state.event_ids(tables) == sorted(
        (hashes[user], _fingerprint(event_id, hashes[user]), time_ms)
        for user, event_id, time_ms in oracle.event_ids
    )
    assert exported_state.erased(tables) == {
        exported_state.user_hash(tables, user): offset for user, offset in oracle.erased.items()
    }


def _fingerprint(event_id: str, seed: int) -> int:
    data = np.frombuffer(event_id.encode(), np.uint8)
    return int(hash64(data, 0, len(data), np.uint64(seed)))


def check_items(engine: Engine, oracle: ItemPartitionOracle) -> None:
    """Compare one item partition: tiles, marginals, pairs, and popularity as it is read."""
    partition = engine.items[oracle.partition]
    assert partition.stream_time_ms == oracle.stream_time_ms
    found = exported_state.items(partition)
    assert found == {
        item: {
            "tiles": state.tiles,
            "marginals": {part: astuple(sums) for part, sums in state.marginals.items()},
            "pairs": state.pairs,
        }
        for item, state in oracle.items.items()
    }
    for item in found:
        described = partition.describe(item.encode())
        assert described is not None
        for half_life_ms, popularity in described["popularity"].items():
            expected = oracle.popularity(item, int(half_life_ms))
            assert popularity == pytest.approx(expected, rel=1e-6, abs=1e-6), item


def check(engine: Engine, oracle: Oracle) -> None:
    """Compare an engine that holds every partition."""
    for users in oracle.users:
        check_users(engine.users[users.partition].tables, users)
    for items in oracle.items:
        check_items(engine, items)
    assert engine.counters() == oracle.counters()
