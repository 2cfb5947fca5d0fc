"""What workers left in a folder is the state that they had."""

from __future__ import annotations

from pathlib import Path

from consumers.configuration import make_engine, make_pipeline
from consumers.ownership import ITEMS, USERS
from consumers.snapshot_digests import load_snapshots
from consumers.snapshots import SnapshotStore
from stream.digests import digests
from stream.replay import Replay
from stream.settings import Settings
from tests.wire_logs import wire_log


def test_snapshots_of_all_partitions_give_the_digest_of_the_state(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, topics={"partitions": 2, "item_partitions": 2})
    engine = make_engine(settings)
    Replay(make_pipeline(settings, engine), signals_interval_ms=1000).feed(wire_log(500))
    store = SnapshotStore(tmp_path / "snapshots")
    for number in range(2):
        users, items = engine.users[number], engine.items[number]
        store.write(USERS, number, users.tables.next_offset, users.arrays(), {}, generation=1)
        store.write(ITEMS, number, items.next_offset, items.arrays(), {}, generation=1)
    loaded = load_snapshots(settings)
    assert digests(loaded) == digests(engine)
    assert loaded.counters() == engine.counters() and loaded.counters()["applied"]


def test_a_partition_without_a_snapshot_is_empty(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, topics={"partitions": 2, "item_partitions": 3})
    loaded = load_snapshots(settings)
    assert (len(loaded.users), len(loaded.items)) == (2, 3)
    assert loaded.counters()["read"] == 0
