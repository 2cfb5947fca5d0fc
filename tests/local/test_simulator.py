"""The simulator tells valid events that hold something to learn, the same for the same seed."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from local.simulator import Rates, SimulatedRecord, Simulator
from local.simulator_world import CATEGORIES, NUM_CATEGORIES, World
from stream.wire import Interaction, Item

START_MS = 1_800_000_000_000


@lru_cache(maxsize=4)
def told(count: int = 25_000, seed: int = 5) -> tuple[SimulatedRecord, ...]:
    simulator = Simulator(seed, 800, 600, START_MS, 200.0)
    return tuple(itertools.islice(simulator, count))


def interactions() -> list[tuple[SimulatedRecord, dict[str, Any]]]:
    return [(r, json.loads(r.value or b"")) for r in told() if r.topic == "interactions"]


def test_every_record_is_valid_wire_and_keyed_by_its_owner() -> None:
    for record in told():
        if record.topic == "interactions":
            event = Interaction.model_validate_json(record.value or b"")
            assert record.key.decode() == event.user_id
        elif record.value is not None:
            assert record.key.decode() == Item.model_validate_json(record.value).item_id


def test_records_arrive_in_order_and_no_event_is_from_the_future() -> None:
    times = [record.time_ms for record in told()]
    assert times == sorted(times)
    assert times[0] == START_MS
    assert all(event["ts"] <= record.time_ms for record, event in interactions())


def test_the_same_arguments_give_the_same_records_in_any_process() -> None:
    script = (
        "import hashlib, itertools; from local.simulator import Simulator;"
        f"s = Simulator(5, 800, 600, {START_MS}, 200.0);"
        "print(hashlib.sha256(repr(list(itertools.islice(s, 25_000))).encode()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().strip() == hashlib.sha256(repr(list(told())).encode()).hexdigest()


def test_another_seed_tells_something_else() -> None:
    assert told(2_000, seed=6) != told(2_000, seed=5)


def test_all_types_occur_and_watches_most() -> None:
    simulator = Simulator(3, 800, 600, START_MS, 500.0, Rates(erase=0.001))
    values = [r.value for r in itertools.islice(simulator, 20_000) if r.topic == "interactions"]
    counts = Counter(json.loads(value or b"")["type"] for value in values)
    names = {"watch", "like", "comment", "share", "not_interested", "follow", "unlike", "erase"}
    assert counts.keys() == names
    assert counts.most_common(2)[0][0] == "watch"
    assert counts.most_common(2)[1][0] == "like"


@pytest.mark.parametrize("rate", [20.0, 200.0, 5_000.0])
def test_the_event_rate_is_as_asked_from_the_first_minute(rate: float) -> None:
    simulator = Simulator(2, 500, 200, START_MS, rate)
    seconds = 60 if rate < 1_000 else 5
    count = 0
    for block in simulator.blocks():
        count += sum(record.topic == "interactions" for record in block)
        if block and block[-1].time_ms >= START_MS + seconds * 1000:
            break
    assert count == pytest.approx(rate * seconds, rel=0.12)
    assert simulator.num_interactions == count


def test_a_duplicate_repeats_an_event_sent_before_and_nothing_else_does() -> None:
    seen: set[bytes] = set()
    for record, event in interactions():
        assert record.is_duplicate == (record.value in seen)
        assert len(event["event_id"]) <= 64
        seen.add(record.value or b"")
    share = sum(record.is_duplicate for record, _ in interactions()) / len(interactions())
    assert 0.005 < share < 0.015
    assert len({event["event_id"] for _, event in interactions()}) == len(seen)


def test_some_events_are_late_and_a_few_beyond_a_day() -> None:
    ages_ms = np.array([record.time_ms - event["ts"] for record, event in interactions()])
    assert 0.003 < np.mean(ages_ms > 20_000) < 0.03
    assert 0.0001 < np.mean(ages_ms > 24 * 3_600_000) < 0.002
    assert np.median(ages_ms) < 200


def test_items_are_announced_once_and_taken_away_after_it() -> None:
    alive: set[bytes] = set()
    num_removed = 0
    for record in told():
        if record.topic == "items":
            if record.value is None:
                alive.remove(record.key)
                num_removed += 1
            else:
                assert record.key not in alive
                alive.add(record.key)
    assert num_removed > 100
    embedded = [
        record.value
        for record in told()
        if record.topic == "items" and record.value and b"embedding" in record.value
    ]
    assert 0.5 < len(embedded) / sum(r.topic == "items" and r.value is not None for r in told()) < 1


def test_a_few_items_are_watched_though_nobody_announced_them() -> None:
    announced = {record.key.decode() for record in told() if record.topic == "items"}
    watched = {event.get("item_id") for _, event in interactions()} - {None}
    assert 0 < len(watched - announced) < 0.1 * len(watched)


def test_completion_falls_with_the_position_in_the_page() -> None:
    parts: dict[int, list[float]] = defaultdict(list)
    for _, event in interactions():
        if event["type"] == "watch":
            parts[event["position"]].append(event["watch_ms"] / event["duration_ms"])
    top = np.mean([part for position in (0, 1, 2) for part in parts[position]])
    bottom = np.mean([part for position in (7, 8, 9) for part in parts[position]])
    assert top > bottom + 0.02


def test_users_like_what_matches_their_own_interests() -> None:
    categories = {
        record.key.decode(): json.loads(record.value)["category"]
        for record in told()
        if record.topic == "items" and record.value
    }
    liked: dict[str, Counter[str]] = defaultdict(Counter)
    for _, event in interactions():
        if event["type"] == "like" and event["item_id"] in categories:
            liked[event["user_id"]][categories[event["item_id"]]] += 1
    regulars = [counts for counts in liked.values() if counts.total() >= 4]
    assert len(regulars) > 50
    own = np.mean([counts.most_common(1)[0][1] / counts.total() for counts in regulars])
    # Users without a taste of their own would put about a third of a few likes on one category.
    assert own > 0.45


def test_tastes_drift_at_session_starts_only() -> None:
    world = World(seed=1, num_users=50, num_items=60, life_ms=1e6, start_ms=START_MS)
    before = world.tastes.copy()
    world.show(np.arange(10), np.full(10, -1), np.zeros(10, np.int64))
    assert np.array_equal(world.tastes, before)
    for _ in range(40):
        world.start_sessions(np.arange(10))
    closeness = np.einsum("ud,ud->u", world.tastes, before)
    assert (closeness[:10] < 0.95).all()
    assert np.array_equal(world.tastes[10:], before[10:])


def test_items_age_out_of_sight() -> None:
    world = World(seed=1, num_users=300, num_items=600, life_ms=1e6, start_ms=START_MS)
    slots, _ = world.show(np.arange(300), np.full(300, -1), np.zeros(300, np.int64))
    assert np.median(world.born_ms[slots]) > np.median(world.born_ms) + 1e5


def test_a_world_that_cannot_be_is_refused() -> None:
    assert len(CATEGORIES) == NUM_CATEGORIES
    with pytest.raises(ValueError, match="expected at least 10 users"):
        Simulator(1, 3, 600, START_MS, 200.0)
    with pytest.raises(ValueError, match="rate above 0"):
        Simulator(1, 30, 600, START_MS, 0.0)
