"""What a user sees: lists that follow actions, erasures, and a Redis that was away."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from consumers.configuration import load_settings, make_engine, make_pipeline
from consumers.sink_keys import list_keys
from local.redis import RedisServer
from stream.replay import Replay
from stream.shared_lists import similar_items
from tests.integration.answers import newest_applied
from tests.integration.conftest import Deploy
from tests.integration.workers import Deployment, WorkerProcess, summary_of, until
from tests.list_versions import Version, parse_version
from tests.wire_logs import START_MS, event, wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

SEED_LOG = wire_log(1200, seed=2, num_users=40, num_items=80)
NOW_MS = START_MS + 1_300_000


def version_of(deployment: Deployment, user_id: str) -> Version | None:
    found = deployment.newest_list(user_id)
    return parse_version(found[b"version"].decode()) if found else None


def items_of(deployment: Deployment, user_id: str) -> list[dict[str, object]]:
    found = deployment.newest_list(user_id)
    items: list[dict[str, object]] = json.loads(found[b"items"]) if found else []
    return items


def act(deployment: Deployment, index: int, user_id: str, **fields: object) -> int:
    """Produce one event; return its offset in the user's partition."""
    before = deployment.ends(deployment.interactions)
    line = event(1_000_000 + index, user_id=user_id, ts=NOW_MS + index, **fields)
    deployment.produce([line])
    after = deployment.ends(deployment.interactions)
    (moved,) = [key for key in after if after[key] > before[key]]
    return before[moved]


def readiness(worker: WorkerProcess) -> str:
    try:
        with urllib.request.urlopen(f"{worker.health}/readyz", timeout=30) as answer:
            return str(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read())


def keys_of(deployment: Deployment, prefix: str) -> set[bytes]:
    return set(deployment.redis.scan_iter(f"{prefix}*"))


def metrics_of(worker: WorkerProcess) -> str:
    with urllib.request.urlopen(f"{worker.health}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def wait_covered(deployment: Deployment, user_id: str, offset: int) -> Version:
    def covered() -> Version | None:
        version = version_of(deployment, user_id)
        return version if version is not None and version.next_offset > offset else None

    found: Version = until(covered, "the list reflects the event")
    return found


def test_lists_follow_what_users_do(deploy: Deploy) -> None:
    deployment = deploy()
    worker = deployment.worker()
    deployment.produce(SEED_LOG)
    deployment.drain()

    # A new user gets trending and fresh items.
    newcomer = "newcomer-4711"
    offset = act(deployment, 1, newcomer, type="watch", item_id="i1", watch_ms=500)
    wait_covered(deployment, newcomer, offset)
    sources = {name for item in items_of(deployment, newcomer) for name in item["sources"]}
    assert {"trending", "fresh"} <= sources
    done = deployment.run("recs", "stranger", "--json")
    stranger = summary_of(done)
    assert stranger["key"] == "rec:trending" and stranger["items"]

    # A "not interested" acts on the very next list.
    unwanted = str(items_of(deployment, newcomer)[0]["id"])
    offset = act(deployment, 2, newcomer, type="not_interested", item_id=unwanted)
    wait_covered(deployment, newcomer, offset)
    assert unwanted not in {item["id"] for item in items_of(deployment, newcomer)}

    # An erase takes the list, leaves a tombstone, and later events start anew.
    offset = act(deployment, 3, newcomer, type="erase")
    list_key, tombstone_key = list_keys(newcomer.encode())
    until(lambda: deployment.redis.get(tombstone_key), "there is a tombstone")
    assert not deployment.redis.exists(list_key)
    offset = act(deployment, 4, newcomer, type="like", item_id="i2")
    version = wait_covered(deployment, newcomer, offset)
    assert (
        version.next_offset
        > parse_version(deployment.redis.get(tombstone_key).decode()).next_offset
    )
    shown = {item["id"] for item in items_of(deployment, newcomer)}
    assert "i2" not in shown and shown

    # No id of a user stands in a log.
    assert newcomer not in worker.log and "stranger" not in worker.log


def items_with_neighbours(lines: list[bytes]) -> set[str]:
    """Return the items that have similar items once a log is folded."""
    settings = load_settings()
    engine = make_engine(settings, partitions=1)
    Replay(make_pipeline(settings, engine), signals_interval_ms=0).feed(lines)
    ids = engine.catalogue.items.ids(engine.catalogue.live_rows())
    similar = similar_items(
        engine.catalogue, ids, partition=0, next_offset=0, now_ms=NOW_MS, size=20
    )
    sizes = np.diff(similar.splits).tolist()
    return {item_id.decode() for item_id, size in zip(ids, sizes, strict=True) if size}


def test_items_of_one_burst_have_their_similar_items(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.worker()
    deployment.produce(SEED_LOG)
    deployment.drain()
    expected = items_with_neighbours(SEED_LOG)
    assert len(expected) > 20

    def all_written() -> bool:
        keys = [f"sim:{{{item_id}}}" for item_id in expected]
        return all(json.loads(deployment.redis.hget(key, "items") or "[]") for key in keys)

    until(all_written, "every item with neighbours has similar items")


def test_while_redis_is_away_state_goes_on_and_lists_catch_up(
    deploy: Deploy, redis_server: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = redis_server(data_dir=tmp_path / "redis")
    deployment = deploy(redis_url=server.url)
    worker = deployment.worker()
    deployment.produce(SEED_LOG[:400])
    deployment.drain()
    until(lambda: not worker.stats()["freshness_ms"]["outstanding"], "every event has a list")

    def away(lines: list[bytes]) -> None:
        server.kill()
        deployment.produce(lines)
        deployment.drain()
        until(lambda: "cannot be written to Redis" in readiness(worker), "the outage is noticed")
        assert worker.stats()["freshness_ms"]["outstanding"]

    def all_caught_up() -> bool:
        records = deployment.records(deployment.interactions, deployment.partitions)
        for user_id, (offset, is_erased) in newest_applied(records).items():
            if is_erased:
                continue
            version = version_of(deployment, user_id)
            if version is None or version.next_offset <= offset:
                return False
        return True

    away(SEED_LOG[400:800])
    server.start()
    until(all_caught_up, "every list reflects the newest event")

    # What is owed survives the worker too.
    away(SEED_LOG[800:])
    deployment.stop_all()
    server.start()
    assert not all_caught_up()
    worker = deployment.worker()
    until(all_caught_up, "every list reflects the newest event")

    # An erase that was confirmed long ago, by a worker that has stopped since.
    act(deployment, 1, "forget-me", type="erase")
    deployment.drain()
    _, tombstone = list_keys(b"forget-me")
    version = until(lambda: deployment.redis.get(tombstone), "there is a tombstone")
    similar = until(lambda: keys_of(deployment, "sim:"), "there are similar items")
    deployment.stop_all()
    worker = deployment.worker()

    # Redis comes back empty: those who do nothing get their lists again as well, items their
    # similar items, and the tombstone stands where it stood.
    assert 'headwater_lost_keys_total{kind="rec"}' not in metrics_of(worker)
    deployment.redis.flushall()
    until(all_caught_up, "every user has a list again")
    until(lambda: keys_of(deployment, "sim:") >= similar, "every item has its similar items again")
    until(lambda: deployment.redis.get(tombstone) == version, "the tombstone is back")
    assert deployment.redis.pttl(tombstone) > 0
    assert all(json.loads(deployment.redis.hget(key, "items")) is not None for key in similar)
    until(lambda: not worker.stats()["freshness_ms"]["outstanding"], "every event has a list")
    assert worker.stats()["read"] == len(SEED_LOG) + 1
    # Similar items may come back sooner: a new life publishes again what the last one just had.
    for kind in ("rec", "erased"):
        until(
            lambda: f'headwater_lost_keys_total{{kind="{kind}"}}' in metrics_of(worker),  # noqa: B023
            f"lost keys of {kind} are counted",
        )
    deployment.stop_all()
