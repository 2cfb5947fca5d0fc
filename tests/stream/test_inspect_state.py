"""What is shown of users and items is what was folded, in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumers.configuration import (
    load_settings,
    make_answers,
    make_engine,
    make_fusion,
    make_pipeline,
)
from state.item_columns import AUTHOR, TAG, metadata_key
from stream.announcements import Announcements
from stream.answers import StateAnswers
from stream.replay import Replay
from tests.wire_logs import START_MS, event

SMALL = ("users.max_users=100", "catalogue.max_items=100", "catalogue.dim=8", "items.max_items=100")


def item(item_id: str, **more: Any) -> bytes:
    fields = {"item_id": item_id, "author_id": "mia", "created_at": START_MS, "tags": ["cats"]}
    return json.dumps(fields | more).encode()


def asked(log: list[bytes], items: list[bytes], partitions: int = 2) -> StateAnswers:
    settings = load_settings(SMALL)
    pipeline = make_pipeline(settings, make_engine(settings, partitions=partitions))
    replay = Replay(pipeline, signals_interval_ms=1000, announcements=Announcements(items))
    replay.feed(log)
    replay.publish_signals()
    return make_answers(settings, pipeline, make_fusion(settings))


LOG = [
    event(0, user_id="ann", item_id="a"),
    event(1, user_id="ann", item_id="b", type="like"),
    event(2, user_id="ben", item_id="a"),
    event(3, user_id="ben", item_id="b"),
    event(4, user_id="ben", item_id="b", type="share"),
]
ITEMS = [item("a"), item("b", duration_ms=9_000), item("c", ts=START_MS + 1, status="removed")]


def test_a_users_history_vectors_and_affinities_are_those_folded() -> None:
    answer = asked(LOG, ITEMS).inspect_user(b"ann")
    assert answer["is_known"] and answer["num_events"] == 2
    assert answer["events_to_ms"] == START_MS + 1000
    newest, oldest = answer["history"]
    assert (newest["item_id"], newest["actions"], newest["ts"]) == ("b", ["like"], START_MS + 1000)
    assert (oldest["item_id"], oldest["actions"]) == ("a", ["watch"])
    assert oldest["completion"] == pytest.approx(2 / 3, abs=0.01)
    assert answer["vectors"]["session_norm"] > 0 and answer["vectors"]["long_norm"] > 0
    kinds = {(each["key"], each["kind"]) for each in answer["affinities"]}
    assert kinds == {
        (f"{metadata_key(AUTHOR, b'mia'):016x}", "author"),
        (f"{metadata_key(TAG, b'cats'):016x}", "tag"),
    }
    assert answer["partition_counters"]["read"] >= 2
    assert answer["erased_at_offset"] is None


def test_an_erased_user_is_unknown_but_the_erase_is_remembered() -> None:
    erase = json.dumps(
        {"event_id": "x", "type": "erase", "user_id": "ann", "ts": START_MS + 9_000}
    ).encode()
    answer = asked([*LOG, erase], ITEMS).inspect_user(b"ann")
    assert answer["is_known"] is False and "history" not in answer
    assert answer["erased_at_offset"] is not None


def test_an_item_shows_its_row_its_counts_per_window_and_its_neighbours() -> None:
    answers = asked(LOG, ITEMS)
    answer = answers.inspect_item(b"b")
    assert (answer["status"], answer["duration_ms"]) == ("announced", 9_000)
    assert answer["author"] == f"{metadata_key(AUTHOR, b'mia'):016x}"
    assert answer["tags"] == [f"{metadata_key(TAG, b'cats'):016x}"]
    assert answer["action_counts"]["like"] == pytest.approx(1.0, abs=0.01)
    assert answer["action_counts"]["share"] == pytest.approx(1.0, abs=0.01)
    assert len(answer["popularity"]) == 5 and all(answer["popularity"].values())
    windows = answer["owner"]["windows"]
    assert [each["window_ms"] for each in windows] == [86_400_000, 30 * 86_400_000]
    assert all(each["interactions"] == 3 for each in windows)
    assert "a" in [each["item_id"] for each in answer["neighbours"]]


def test_status_tells_provisional_removed_and_unknown_apart() -> None:
    answers = asked([*LOG, event(9, user_id="ann", item_id="new")], ITEMS)
    assert answers.inspect_item(b"new")["status"] == "provisional"
    assert answers.inspect_item(b"c")["status"] == "removed"
    unknown = answers.inspect_item(b"nothing")
    assert unknown["is_known"] is False and "status" not in unknown


def test_an_item_of_another_worker_has_no_owner_here() -> None:
    answers = asked(LOG, ITEMS)
    partition = answers.inspect_item(b"b")["item_partition"]
    del answers._engine.items[partition]
    answer = answers.inspect_item(b"b")
    assert answer["is_known"] and answer["owner"] is None
