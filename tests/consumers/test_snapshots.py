import errno
import fcntl
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers import snapshot_folder
from consumers.snapshots import SnapshotName, SnapshotStore
from stream.errors import ConfigurationError, ServerUnreachable, StateMismatch


def write(store, next_offset, *, partition=0, kind="users", generation=0):
    arrays = {"column": np.arange(next_offset, dtype=np.int64)}
    meta = {"kind": kind, "next_offset": next_offset, "partition": partition}
    return store.write(kind, partition, next_offset, arrays, meta, generation=generation)


def file_of(folder, next_offset):
    (path,) = folder.glob(f"users.*.{next_offset:016d}.*")
    return path


def test_what_was_written_is_read(tmp_path):
    store = SnapshotStore(tmp_path)
    size = write(store, 7)
    snapshot = SnapshotStore(tmp_path).newest_valid("users", 0)
    assert snapshot.arrays["column"].tolist() == list(range(7))
    assert snapshot.meta["next_offset"] == 7
    assert snapshot.num_skipped == 0
    assert file_of(tmp_path, 7).stat().st_size == size


def test_the_highest_offset_wins_then_the_later_owner(tmp_path):
    store = SnapshotStore(tmp_path, keep=9)
    for next_offset, generation in ((5, 1), (9, 1), (9, 2), (7, 3)):
        write(store, next_offset, generation=generation)
    assert store.newest_valid("users", 0).name == SnapshotName(
        kind="users", partition=0, next_offset=9, generation=2
    )


def test_partitions_and_kinds_do_not_mix(tmp_path):
    store = SnapshotStore(tmp_path, keep=1)
    write(store, 3, partition=1)
    write(store, 4, kind="items", partition=1)
    write(store, 5, partition=11)
    assert store.newest_valid("users", 1).meta["next_offset"] == 3
    assert store.newest_valid("items", 1).meta["next_offset"] == 4
    assert store.newest_valid("users", 0) is None


@pytest.mark.parametrize(
    ("wanted", "says"),
    [("users/1", "users/0"), ("users/0", "users/0 at 7"), ("items/0", "users/0")],
)
def test_a_snapshot_under_another_ones_name_is_refused(tmp_path, wanted, says):
    kind, partition = wanted.split("/")
    write(SnapshotStore(tmp_path), 7)
    other = SnapshotName(kind=kind, partition=int(partition), next_offset=9, generation=0)
    file_of(tmp_path, 7).rename(tmp_path / other.file)
    with pytest.raises(StateMismatch, match=f"{other.file}.* {wanted} at offset 9.* one of {says}"):
        SnapshotStore(tmp_path).newest_valid(kind, int(partition))


def test_the_last_n_are_kept(tmp_path):
    store = SnapshotStore(tmp_path, keep=2)
    for next_offset in (1, 2, 3, 4):
        write(store, next_offset)
    assert [name.next_offset for name in store.names("users", 0)] == [3, 4]


def test_what_cannot_be_removed_keeps_no_other_file(tmp_path):
    store = SnapshotStore(tmp_path, keep=2)
    name = SnapshotName(kind="users", partition=0, next_offset=1, generation=0)
    (tmp_path / name.file).mkdir()
    write(store, 2)
    for next_offset in (3, 4, 5):
        with pytest.raises(OSError, match=name.file):
            write(store, next_offset)
    assert [each.next_offset for each in store.names("users", 0)] == [1, 4, 5]


def test_a_write_below_what_is_kept_is_not_pruned_at_once(tmp_path):
    store = SnapshotStore(tmp_path, keep=2)
    for next_offset in (8, 9, 2):
        write(store, next_offset)
    assert [name.next_offset for name in store.names("users", 0)] == [2, 8, 9]


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_broken_file_falls_back_to_the_one_before_loudly(tmp_path, caplog, damage):
    store = SnapshotStore(tmp_path)
    write(store, 50)
    write(store, 60)
    path = file_of(tmp_path, 60)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    elif damage == "truncate":
        del data[-1]
    else:
        data.clear()
    path.write_bytes(data)
    snapshot = store.newest_valid("users", 0)
    assert (snapshot.meta["next_offset"], snapshot.num_skipped) == (50, 1)
    assert path.name in caplog.text


def test_every_flipped_byte_is_noticed(tmp_path):
    store = SnapshotStore(tmp_path)
    write(store, 3)
    path = file_of(tmp_path, 3)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        assert store.newest_valid("users", 0) is None, f"byte {position}"


def test_nothing_valid_is_none_and_says_what_to_do(tmp_path, caplog):
    store = SnapshotStore(tmp_path)
    write(store, 3)
    file_of(tmp_path, 3).write_bytes(b"rubbish")
    assert store.newest_valid("users", 0) is None
    assert "restore a copy" in caplog.text


def test_a_full_store_leaves_what_was_there(tmp_path, monkeypatch):
    store = SnapshotStore(tmp_path)
    write(store, 3)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshot_folder.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(store, 4)
    assert [name.next_offset for name in store.names("users", 0)] == [3]
    assert len(list(tmp_path.iterdir())) == 1


def test_files_of_dead_writers_are_removed_and_those_of_living_ones_are_not(tmp_path):
    name = "users.00000.0000000000000001.0000000000.snapshot"
    dead = tmp_path / f"{name}.dead.writing"
    dead.write_bytes(b"half")
    living = tmp_path / f"{name}.living.writing"
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        SnapshotStore(tmp_path)
        assert not dead.exists()
        assert living.exists()
    assert SnapshotStore(tmp_path).newest_valid("users", 0) is None
    assert not living.exists()


def test_an_unfinished_file_is_never_read(tmp_path):
    store = SnapshotStore(tmp_path)
    write(store, 3)
    file_of(tmp_path, 3).rename(tmp_path / "users.00000.0000000000000009.0000000000.writing")
    assert store.newest_valid("users", 0) is None


def test_a_writer_whose_file_was_taken_for_a_dead_one_tries_again(tmp_path, monkeypatch):
    store = SnapshotStore(tmp_path)
    taken = []
    real = fcntl.flock

    def lock(file, operation):
        if not taken:  # Somebody removes the file between open and lock.
            taken.append(file.name)
            os.unlink(file.name)
        real(file, operation)

    monkeypatch.setattr(snapshot_folder.fcntl, "flock", lock)
    write(store, 5)
    assert len(taken) == 1
    assert store.newest_valid("users", 0).meta["next_offset"] == 5


NAMES = st.builds(
    SnapshotName,
    kind=st.sampled_from(["users", "items"]),
    partition=st.integers(0, 1_023),
    next_offset=st.integers(0, 10**16 - 1),
    generation=st.integers(0, 10**10 - 1),
)


@given(NAMES, NAMES)
def test_names_round_trip_and_sort_as_files_do(left, right):
    assert SnapshotName.parse(left.file) == left
    assert (left < right) == (left.file < right.file)


@pytest.mark.parametrize("file", ["x", "users.0.1.2.snapshot", "..snapshot", ".DS_Store"])
def test_other_files_are_left_alone(file):
    assert SnapshotName.parse(file) is None


def test_a_folder_that_is_gone_is_no_empty_one(tmp_path):
    store = SnapshotStore(tmp_path / "snapshots")
    (tmp_path / "snapshots").rmdir()
    with pytest.raises(ServerUnreachable, match=r"snapshots to be there, .* deleted or unmounted"):
        store.newest_valid("users", 0)
    write(store, 5)  # Whoever has the state makes it again.
    assert store.newest_valid("users", 0).meta["next_offset"] == 5


def test_a_place_that_cannot_be_a_folder_is_a_bad_setting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for place in ("s3:/bucket", "file:/there", str(tmp_path / "file"), tmp_path / "file" / "under"):
        with pytest.raises(ConfigurationError, match="HEADWATER_WORKER__SNAPSHOTS: expected a fol"):
            SnapshotStore(place)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
