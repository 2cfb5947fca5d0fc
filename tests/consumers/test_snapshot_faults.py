"""A store that takes no snapshots for a while: nothing is committed, work goes on, it heals."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace

import fsspec
import pytest

from consumers.snapshot_faults import SnapshotFaults
from consumers.state_thread import WorkThread
from stream.errors import HeadwaterError, SnapshotNotWritten
from tests.consumers.owners import LINES, TOPIC, Owner

KEY = (TOPIC, 0)


@pytest.fixture
def state() -> Iterator[WorkThread]:
    thread = WorkThread("state")
    yield thread
    thread.close()


class FlakyMemory:
    """fsspec's memory file system, whose puts or removals fail while told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.url = f"memory://{uuid.uuid4().hex}"
        self.fails: str | None = None
        self.num_asked = 0
        objects = fsspec.filesystem("memory")
        for name in ("pipe_file", "rm_file"):
            patch.setattr(objects, name, self._flaky(name, getattr(objects, name)))

    def _flaky(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def ask(*args: object) -> object:
            if self.fails == name:
                self.num_asked += 1
                message = f"SlowDown {self.num_asked}"
                raise RuntimeError(message)  # Drivers have exceptions of their own.
            return call(*args)

        return ask


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> FlakyMemory:
    return FlakyMemory(monkeypatch)


def run(scenario: Callable[[Owner], Coroutine[None, None, None]], owner: Owner) -> None:
    async def whole() -> None:
        await owner.ownership.restore({KEY})
        owner.fold()
        await scenario(owner)

    asyncio.run(whole())


def test_failed_puts_end_nothing_and_commit_nothing_and_the_next_interval_heals(
    objects: FlakyMemory, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="consumers")

    async def scenario(owner: Owner) -> None:
        objects.fails = "pipe_file"
        for _ in range(3):
            await owner.ownership.snapshot_due(0.0)
            owner.ownership._rest_until_s = 0.0
        assert owner.ownership.durable_offset(*KEY) is None and owner.snapshots == []
        assert owner.ownership.faults.num_failed == {"users": 3, "items": 0}
        objects.fails = None
        await owner.ownership.snapshot_due(0.0)
        assert owner.ownership.durable_offset(*KEY) == len(LINES)
        assert [name.next_offset for name in owner.names()] == [len(LINES)]

    run(scenario, Owner(objects.url, state))
    (failed,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "SlowDown 1: is there room" in failed.getMessage()
    assert "not committed" in failed.getMessage()
    assert sum("snapshots are written again" in each.message for each in caplog.records) == 1


def test_a_failed_try_waits_for_its_interval(objects: FlakyMemory, state: WorkThread) -> None:
    async def scenario(owner: Owner) -> None:
        objects.fails = "pipe_file"
        owner.ownership.held[KEY].tried_at_s -= 3600
        for _ in range(3):
            await owner.ownership.snapshot_due(600)
            owner.ownership._rest_until_s = 0.0

    run(scenario, Owner(objects.url, state))
    assert objects.num_asked == 1


@pytest.mark.parametrize(("took_s", "rest_s"), [(2.0, 6.0), (600.0, 30.0)])
def test_after_a_snapshot_there_is_a_rest_of_three_times_its_length_or_three_intervals(
    objects: FlakyMemory,
    state: WorkThread,
    monkeypatch: pytest.MonkeyPatch,
    took_s: float,
    rest_s: float,
) -> None:
    now_s = 1e6

    async def scenario(owner: Owner) -> None:
        nonlocal now_s
        ownership, tries = owner.ownership, 0

        async def snapshot(_key: tuple[str, int]) -> None:
            nonlocal now_s, tries
            now_s, tries = now_s + took_s, tries + 1

        monkeypatch.setattr("consumers.ownership.time", SimpleNamespace(monotonic=lambda: now_s))
        monkeypatch.setattr(ownership, "snapshot", snapshot)
        ownership.held[KEY].tried_at_s = 0.0
        await ownership.snapshot_due(10.0)
        now_s += rest_s - 0.1
        await ownership.snapshot_due(10.0)
        assert tries == 1
        now_s += 0.2
        await ownership.snapshot_due(10.0)
        assert tries == 2

    run(scenario, Owner(objects.url, state))


def test_snapshots_that_fail_for_too_long_end_the_worker_with_a_line(
    objects: FlakyMemory, state: WorkThread
) -> None:
    async def scenario(owner: Owner) -> None:
        objects.fails = "pipe_file"
        wanted = r"SlowDown 2.*within 10 s \(HEADWATER_WORKER__SNAPSHOTS_TIMEOUT_S\)"
        await owner.ownership.snapshot_due(0.0)
        owner.ownership._rest_until_s = 0.0
        with pytest.raises(HeadwaterError, match=wanted):
            await owner.ownership.snapshot_due(0.0)

    now_s = iter((0.0, 10.0))
    owner = Owner(objects.url, state)
    owner.ownership.faults = SnapshotFaults(limit_s=10, monotonic_s=lambda: next(now_s))
    run(scenario, owner)


def test_one_partition_that_works_does_not_hide_one_that_fails() -> None:
    now_s = [0.0]
    faults = SnapshotFaults(limit_s=10, monotonic_s=lambda: now_s[0])
    faults.failed(KEY, "users", SnapshotNotWritten("too large"))
    for now_s[0] in (3.0, 6.0, 9.0):
        faults.written((TOPIC, 1))
        faults.failed(KEY, "users", SnapshotNotWritten("too large"))
    faults.forget(KEY)
    faults.failed(KEY, "users", SnapshotNotWritten("too large"))  # Came back: its clock is new.
    now_s[0] = 19.0
    with pytest.raises(HeadwaterError, match="too large; expected one within 10 s"):
        faults.failed(KEY, "users", SnapshotNotWritten("too large"))


def test_what_cannot_be_removed_is_no_success_either(
    objects: FlakyMemory, state: WorkThread
) -> None:
    """Otherwise a store that lets nothing be removed would grow without a bound."""

    async def scenario(owner: Owner) -> None:
        for next_offset in (1, 2, 3, 4):
            owner.store.write("users", 0, next_offset, {}, {}, generation=1)
        objects.fails = "rm_file"
        await owner.ownership.snapshot_due(0.0)
        assert owner.ownership.durable_offset(*KEY) is None

    owner = Owner(objects.url, state)
    run(scenario, owner)
    assert owner.ownership.faults.num_failed["users"] == 1


def test_a_hand_over_without_a_snapshot_is_told_and_ends_nothing(
    objects: FlakyMemory, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    """The next owner reads again what is above the snapshot before: the worker goes on."""

    async def scenario(owner: Owner) -> None:
        objects.fails = "pipe_file"
        await owner.ownership.release({KEY})
        assert isinstance(owner.ownership.release_failure, SnapshotNotWritten)  # For a stop.
        await owner.ownership.retain(set())
        objects.fails = None
        await owner.ownership.restore({KEY})
        assert owner.ownership.release_failure is None
        assert owner.ownership.next_offset(*KEY) == 0
        owner.fold()
        await owner.ownership.release({KEY})
        assert owner.ownership.release_failure is None and len(owner.names()) == 1

    run(scenario, Owner(objects.url, state))
    assert "will be read again" in caplog.text
