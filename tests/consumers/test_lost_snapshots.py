"""Snapshots that were durable and are gone: told at a start, written again under a worker."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.ownership import USERS
from consumers.state_thread import WorkThread
from stream.digests import digests
from stream.errors import LogGap, ServerUnreachable
from tests.consumers.owners import LINES, TOPIC, Owner
from tests.consumers.snapshot_places import PLACES, Place

KEY = (TOPIC, 0)
END = len(LINES)


@pytest.fixture
def state() -> Iterator[WorkThread]:
    thread = WorkThread("state")
    yield thread
    thread.close()


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path / "snapshots") as made:
        yield made


def begin(owner: Owner, *, committed: int, log_begins: int = 0) -> Owner:
    """Restore an owner in a group that has committed, from a log that may have lost its head."""
    owner.logs.commits, owner.logs.begin = {KEY: committed}, log_begins
    asyncio.run(owner.ownership.restore({KEY}))
    return owner


def leave(folder: Path | str, state: WorkThread, fold: Callable[[Owner], None]) -> Owner:
    """Return an owner that has folded something and written a snapshot."""
    owner = begin(Owner(folder, state), committed=0)
    fold(owner)
    asyncio.run(owner.ownership.snapshot(KEY))
    return owner


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_group_that_committed_and_finds_no_snapshot_says_what_is_lost_and_what_to_check(
    tmp_path: Path, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    owner = begin(Owner(tmp_path, state), committed=30)
    (line,) = loud(caplog)
    assert f"lost in {tmp_path}: the group has committed more" in line
    assert f"{TOPIC}/0 (expected one up to 30, found none, reads from 0)" in line
    assert ". 30 records are read again" in line
    assert "is the volume mounted, is HEADWATER_WORKER__SNAPSHOTS right?" in line
    assert owner.ownership.next_offset(*KEY) == 0
    assert owner.ownership.lost.num_lost == {"users": 1, "items": 0}


def test_a_folder_that_was_missing_is_made_and_named_as_one(
    tmp_path: Path, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    begin(Owner(tmp_path / "mount" / "snapshots", state), committed=30)
    (line,) = loud(caplog)
    assert "snapshots (missing when this worker started, so made): " in line


def test_a_new_group_is_told_nothing_loud(
    tmp_path: Path, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    owner = begin(Owner(tmp_path / "new", state), committed=0)
    assert loud(caplog) == [] and owner.ownership.lost.num_lost["users"] == 0
    assert f"{TOPIC}/0: no snapshot, reading from offset 0" in caplog.text


def test_what_the_group_committed_and_the_snapshot_holds_is_not_lost(
    tmp_path: Path, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    leave(tmp_path, state, Owner.fold)
    begin(Owner(tmp_path, state), committed=END)
    assert loud(caplog) == []


def test_a_snapshot_older_than_what_the_group_committed_is_told_too(
    tmp_path: Path, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a backup, or of a volume that another one covered for a while."""
    leave(tmp_path, state, lambda owner: owner.fold(8))
    owner = begin(Owner(tmp_path, state), committed=30)
    (line,) = loud(caplog)
    assert "(expected one up to 30, found one up to 8, reads from 8). 22 records" in line
    assert owner.ownership.lost.num_lost["users"] == 1


def test_where_the_log_has_lost_its_head_too_a_lost_snapshot_is_refused(
    tmp_path: Path, state: WorkThread
) -> None:
    wanted = (
        rf"{TOPIC}/0: expected a snapshot up to offset 30 .* found none .* in {tmp_path}.* log "
        "begins at 12: .* is the volume mounted, .* a new group id, .* higher HEADWATER_EPOCH"
    )
    with pytest.raises(LogGap, match=wanted):
        begin(Owner(tmp_path, state), committed=30, log_begins=12)


def test_a_broken_snapshot_over_a_cut_log_is_refused_too(tmp_path: Path, state: WorkThread) -> None:
    (name,) = leave(tmp_path, state, Owner.fold).names()
    (tmp_path / name.file).write_bytes(b"cut")
    with pytest.raises(LogGap, match="found none that can be used"):
        begin(Owner(tmp_path, state), committed=END, log_begins=12)


def test_a_new_group_may_begin_where_the_log_does(
    tmp_path: Path, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    owner = begin(Owner(tmp_path, state), committed=0, log_begins=12)
    assert owner.ownership.next_offset(*KEY) == 12
    (line,) = loud(caplog)
    assert "without the log's head, which retention took" in line


def test_what_is_deleted_under_a_worker_is_written_again_without_news(
    place: Place, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    owner = leave(place.url, state, Owner.fold)
    ownership = owner.ownership
    place.clear()

    async def rounds() -> None:
        await ownership.snapshot_due(3600.0)
        assert ownership.durable_offset(*KEY) == END and loud(caplog) == []  # Not yet looked.
        await ownership.lost.forget(ownership.held, interval_s=0.0)
        assert ownership.durable_offset(*KEY) is None  # Nothing to commit.
        await ownership.snapshot_due(3600.0)

    asyncio.run(rounds())
    assert ownership.durable_offset(*KEY) == END == owner.names()[-1].next_offset
    lines = [line for line in loud(caplog) if "made the snapshot folder" not in line]
    (line,) = lines
    assert "under this worker" in line and f"{TOPIC}/0 up to {END}. It writes them again" in line
    assert ownership.lost.num_lost == {"users": 1, "items": 0}
    place.clear()
    ownership.lost._looked_at_s, ownership._rest_until_s = -3600.0, 0.0  # Its round has come.
    asyncio.run(ownership.snapshot_due(3600.0))
    again = begin(Owner(place.url, state), committed=END)
    assert digests(again.pipeline.engine) == digests(owner.pipeline.engine)


def test_a_round_is_one_listing_and_finds_nothing_where_nothing_is_lost(
    tmp_path: Path, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    owner = leave(tmp_path, state, Owner.fold)
    asked = []
    ask = owner.store.newest_offsets

    def newest_offsets() -> dict[tuple[str, int], int]:
        asked.append(1)
        return ask()

    owner.store.newest_offsets = newest_offsets  # type: ignore[method-assign]
    now_s = [0.0]
    lost = owner.ownership.lost
    lost._monotonic_s, lost._looked_at_s = lambda: now_s[0], 0.0
    for now_s[0] in (1.0, 9.9, 10.0, 10.1, 19.9, 20.0):
        asyncio.run(lost.forget(owner.ownership.held, interval_s=10.0))
    assert len(asked) == 2 and loud(caplog) == []
    assert owner.ownership.durable_offset(*KEY) == END


def test_a_later_owners_newer_snapshot_stands_for_ours(tmp_path: Path, state: WorkThread) -> None:
    owner = leave(tmp_path, state, lambda owner: owner.fold(8))
    (mine,) = owner.names()
    owner.store.write(USERS, 0, END, {}, {}, generation=2)
    (tmp_path / mine.file).unlink()
    asyncio.run(owner.ownership.lost.forget(owner.ownership.held, interval_s=0.0))
    assert owner.ownership.durable_offset(*KEY) == 8


def test_a_store_that_does_not_answer_has_lost_nothing(
    tmp_path: Path, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    owner = leave(tmp_path, state, Owner.fold)

    def newest_offsets() -> dict[tuple[str, int], int]:
        message = "expected the store to answer"
        raise ServerUnreachable(message)

    owner.store.newest_offsets = newest_offsets  # type: ignore[method-assign]
    for _ in range(3):
        asyncio.run(owner.ownership.lost.forget(owner.ownership.held, interval_s=0.0))
    (line,) = loud(caplog)
    assert line == "expected the store to answer; asked again at every interval"
    assert owner.ownership.durable_offset(*KEY) == END


def test_a_folder_that_went_with_its_volume_is_not_made_on_the_disk_below(
    tmp_path: Path, state: WorkThread
) -> None:
    owner = leave(tmp_path / "volume" / "snapshots", state, Owner.fold)
    folder = tmp_path / "volume" / "snapshots"
    shutil.rmtree(folder)
    owner.store._files._device += 1  # type: ignore[attr-defined]  # As of a volume that was there.
    with pytest.raises(ServerUnreachable, match="deleted or unmounted"):
        owner.store.newest_offsets()
    assert not folder.exists()
    shutil.rmtree(folder.parent)
    with pytest.raises(ServerUnreachable, match="deleted or unmounted"):
        owner.store.newest_offsets()
    assert not folder.parent.exists()


def test_the_empty_folder_where_a_volume_was_mounted_is_left_alone_until_it_is_back(
    tmp_path: Path, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    owner = leave(tmp_path, state, Owner.fold)
    (mine,) = owner.names()
    whole = (tmp_path / mine.file).read_bytes()
    (tmp_path / mine.file).unlink()
    owner.store._files._device += 1  # type: ignore[attr-defined]  # As of a volume mounted there.
    asyncio.run(owner.ownership.lost.forget(owner.ownership.held, interval_s=0.0))
    assert owner.ownership.durable_offset(*KEY) == END
    (line,) = loud(caplog)
    assert "came an empty folder of another disk: a volume was unmounted" in line
    with pytest.raises(OSError, match="a volume was unmounted"):
        owner.store.write(USERS, 0, END + 1, {}, {}, generation=1)
    assert not list(tmp_path.iterdir())
    (tmp_path / mine.file).write_bytes(whole)  # Mounted again, as another device.
    assert owner.store.newest_offsets() == {(USERS, 0): END}
    owner.store.write(USERS, 0, END + 1, {}, {}, generation=1)
