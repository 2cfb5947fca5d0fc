"""Every place for snapshots obeys the same laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from consumers.snapshots import SnapshotStore
from state import snapshot
from stream.errors import ConfigurationError, ServerUnreachable, StateMismatch
from tests.consumers.snapshot_places import PLACES, Place


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path) as made:
        yield made


def write(
    store: SnapshotStore, next_offset: int, *, kind: str = "users", partition: int = 0
) -> int:
    arrays = {"column": np.arange(next_offset), "wide": np.ones((3, 100_000))}
    return store.write(
        kind, partition, next_offset, arrays, {"next_offset": next_offset}, generation=1
    )


def test_what_was_written_is_read_by_another(place: Place) -> None:
    assert place.store().newest_valid("users", 0) is None
    size = write(place.store(), 7)
    write(place.store(), 9, kind="items")
    write(place.store(), 9, partition=1)
    found = place.store().newest_valid("users", 0)
    assert found is not None and found.meta == {"next_offset": 7}
    assert found.arrays["column"].tolist() == list(range(7))
    (name,) = [each for each in place.files() if each.startswith("users.00000")]
    assert len(place.read(name)) == size


def test_the_last_few_are_kept_and_another_writers_are_seen_at_once(place: Place) -> None:
    mine, other = place.store(), place.store()
    for next_offset in (1, 2, 3):
        write(mine, next_offset)
        write(other, next_offset + 10)
    offsets = [name.next_offset for name in mine.names("users", 0)]
    assert offsets == [name.next_offset for name in other.names("users", 0)] == [12, 13]


def test_a_cut_or_changed_file_falls_back_to_the_one_before_and_says_so(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    store = place.store()
    write(store, 5)
    write(store, 6)
    name = store.names("users", 0)[-1].file
    whole = place.read(name)
    for broken in (whole[: len(whole) // 2], b"", whole[:-40] + b"x" + whole[-39:]):
        caplog.clear()
        place.damage(name, broken)
        found = store.newest_valid("users", 0)
        assert found is not None and found.name.next_offset == 5 and found.num_skipped == 1
        assert name in caplog.text


def test_a_whole_one_of_another_schema_is_refused_with_what_to_do(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.store()
    write(store, 5)
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "SCHEMA_VERSION", 3)
        write(store, 6)
    name = store.names("users", 0)[-1].file
    with pytest.raises(StateMismatch, match=rf"{name} in .*expected .* 2, found 3; run .* or move"):
        store.newest_valid("users", 0)


def test_a_failed_put_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("memory://failing")
    store = place.store()
    write(store, 5)

    def fail(path: str, data: bytes) -> None:
        raise RuntimeError

    monkeypatch.setattr(place._objects, "pipe_file", fail)
    with pytest.raises(OSError, match="RuntimeError"):
        write(store, 6)
    assert [name.next_offset for name in store.names("users", 0)] == [5]


def test_a_store_that_does_not_answer_is_no_empty_store(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("memory://silent")
    store = place.store()
    write(store, 5)

    def fail(*args: object, **kwargs: object) -> None:
        raise TimeoutError

    for name in ("cat_file", "ls"):
        with monkeypatch.context() as patch:
            patch.setattr(place._objects, name, fail)
            with pytest.raises(ServerUnreachable, match="memory:///silent .*TimeoutError"):
                store.newest_valid("users", 0)


@pytest.mark.parametrize("url", ["nothing://secret@there", "reference://there"])
def test_a_url_that_nothing_opens_is_a_bad_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADWATER_WORKER__SNAPSHOTS.*://"):
        SnapshotStore(url)


def test_a_store_that_is_asked_at_once_and_does_not_answer_is_named(
    free_port: Callable[[], int],
) -> None:
    url = f"ftp://user:secret@127.0.0.1:{free_port()}/there"
    with pytest.raises(ServerUnreachable, match="HEADWATER_WORKER__SNAPSHOTS.*ftp://") as refused:
        SnapshotStore(url)
    assert "secret" not in str(refused.value)
