"""Which snapshots still know an erased user, and what each store's finding says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from consumers.configuration import make_snapshot_store
from consumers.erased_check import (
    Erased,
    _holds,
    _is_erase,
    _look_at_snapshots,
    _quoted,
    verify_erased,
)
from local.ports import free_port
from state import snapshot
from state.id_index import IdIndex
from stream.settings import Settings

GONE = Erased(partition=0, offset=10, time_ms=1, is_back=False)
BACK = Erased(partition=0, offset=10, time_ms=1, is_back=True)


def arrays_of(*user_ids: bytes, waiting: bytes | None = None) -> dict[str, np.ndarray]:
    index = IdIndex(max_ids=100)
    joined = b"".join(user_ids)
    lengths = np.array([len(each) for each in user_ids], np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    index.reserve(len(user_ids), len(joined))
    rows = np.empty(len(user_ids), np.int32)
    index.intern(np.frombuffer(joined, np.uint8), starts, lengths, rows)
    found = {f"users.{name}": array for name, array in index.arrays().items()}
    text = json.dumps({waiting.hex(): "v"} if waiting else {}).encode()
    return {**found, "pending.erasures": np.frombuffer(text, np.uint8)}


def test_an_id_is_found_whole_and_not_as_a_part_of_others() -> None:
    assert _holds(arrays_of(b"joann", b"ann"), b"ann")
    assert not _holds(arrays_of(b"joann", b"anne"), b"ann")
    assert not _holds(arrays_of(b"jo", b"an", b"n"), b"ann")
    assert _holds(arrays_of(b"bob", waiting=b"ann"), b"ann")


@pytest.mark.parametrize(
    ("next_offset", "erased", "status"),
    [
        (10, GONE, "waits"),
        (11, GONE, "found"),
        (11, BACK, "back"),
        (11, None, "found"),
    ],
)
def test_a_snapshot_is_judged_by_what_it_has_read(
    tmp_path: Path, next_offset: int, erased: Erased | None, status: str
) -> None:
    settings = Settings(data_dir=tmp_path)
    store = make_snapshot_store(settings)
    store.write("users", 0, next_offset, arrays_of(b"ann", b"bob"), {}, generation=0)
    assert _look_at_snapshots(settings, b"ann", erased).status == status
    assert _look_at_snapshots(settings, b"carla", erased).status == "none"


def test_a_user_who_stays_may_have_an_erase_that_does_not_count(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    store = make_snapshot_store(settings)
    store.write("users", 0, 11, arrays_of(b"ann"), {}, generation=0)
    assert "was it late, a duplicate?" in _look_at_snapshots(settings, b"ann", GONE).text


@pytest.mark.parametrize("damage", ["broken", "of another schema"])
def test_a_snapshot_that_cannot_be_read_is_not_taken_for_one_without_the_user(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path)
    store = make_snapshot_store(settings)
    with monkeypatch.context() as patch:
        if damage == "of another schema":
            patch.setattr(snapshot, "SCHEMA_VERSION", 99)
        store.write("users", 0, 10, arrays_of(b"ann"), {}, generation=0)
    if damage == "broken":
        (path,) = (tmp_path / "snapshots").iterdir()
        path.write_bytes(path.read_bytes()[:-1])
    finding = _look_at_snapshots(settings, b"ann", GONE)
    assert finding.status == "unknown" and finding.text.startswith("1 cannot be read")


@pytest.mark.parametrize("name", ["", "none", "file://none", "empty"])
def test_a_place_without_snapshots_was_not_looked_at_and_is_not_made(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    settings = Settings(data_dir=tmp_path / "data", worker={"snapshots": name})
    finding = _look_at_snapshots(settings, b"ann", GONE)
    assert finding.status == "unknown" and "run this where" in finding.text
    assert [each.name for each in tmp_path.iterdir()] == ["empty"]


ID = 'a+/"\\é\U0001f600\t'
# As Python, JavaScript, PHP and .NET write it.
WRITTEN = (
    json.dumps(ID),
    json.dumps(ID, ensure_ascii=False),
    json.dumps(ID).replace("/", r"\/"),
    r'"a\u002B/\u0022\\\u00E9\uD83D\uDE00\t"',
)


@pytest.mark.parametrize("text", WRITTEN)
def test_an_id_is_found_whichever_of_its_characters_are_escaped(text: str) -> None:
    assert json.loads(text) == ID
    assert _quoted(ID).search(f'{{"user_id": {text}}}'.encode())
    assert not _quoted(ID).search(text.replace("a", "b").encode())


def test_only_an_erase_of_the_user_is_one() -> None:
    assert _is_erase(b'{"type": "erase", "user_id": "ann"}', b"ann")
    bob, deep = b'{"type": "erase", "user_id": "bob"}', b"[" * 20_000
    for value in (None, b"", b"[]", b"{", bob, b'"erase"', deep, b'{"user_id":"ann","x":' + deep):
        assert not _is_erase(value, b"ann")


def test_a_store_that_does_not_answer_is_a_finding_and_the_others_are_looked_at(
    tmp_path: Path,
) -> None:
    settings = Settings(data_dir=tmp_path)
    store = make_snapshot_store(settings)
    store.write("users", 0, 5, arrays_of(b"ann"), {}, generation=0)
    silent = f"127.0.0.1:{free_port()}"

    def look(user: str) -> dict[str, str]:
        erased, findings = asyncio.run(
            verify_erased(settings, user, brokers=silent, redis_url=f"redis://{silent}/0", now_ms=0)
        )
        assert erased is None
        return {each.store: f"{each.status}: {each.text}" for each in findings}

    found = look("ann")
    topics = ("interactions", "dead-letters", "headwater-item-deltas", "headwater-item-signals")
    assert list(found) == [*topics, "snapshots", "redis"]
    for name in (*topics, "redis"):
        assert found[name].startswith("unknown: not looked at: expected "), name
    assert found["snapshots"].startswith("unknown: 1 with the id; Kafka did not say")
    assert look("bob")["snapshots"] == "none: nothing"
