"""A snapshot store that hangs: a bound, a line, and nothing that waits for it."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from consumers.ownership import Ownership
from consumers.state_thread import WorkThread
from consumers.store_calls import StoreCalls
from stream.errors import ServerUnreachable, SnapshotNotWritten
from tests.consumers.owners import LINES, TOPIC, Owner

KEYS = {(TOPIC, 0), (TOPIC, 1)}


@pytest.fixture
def state() -> Iterator[WorkThread]:
    thread = WorkThread("state")
    yield thread
    thread.close()


@pytest.fixture
def answers() -> Iterator[threading.Event]:
    """Set while the store answers; set in the end, so that no thread stays."""
    event = threading.Event()
    event.set()
    yield event
    event.set()


def hanging(call: Callable[..., object], answers: threading.Event) -> Callable[..., object]:
    def ask(*arguments: object, **named: object) -> object:
        answers.wait()
        return call(*arguments, **named)

    return ask


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, answers: threading.Event) -> str:
    objects = fsspec.filesystem("memory")
    for name in ("pipe_file", "ls", "cat_file"):
        monkeypatch.setattr(objects, name, hanging(getattr(objects, name), answers))
    return f"memory://{uuid.uuid4().hex}"


def test_a_call_gives_what_it_returns_and_raises_what_it_raises() -> None:
    def fail() -> None:
        message = "of the driver"
        raise TimeoutError(message)

    async def scenario() -> None:
        calls = StoreCalls("there", timeout_s=60.0)
        assert await calls.run(divmod, 7, 2) == (3, 1)
        assert await calls.run(int, "11", base=2) == 3
        with pytest.raises(TimeoutError, match="of the driver"):
            await calls.run(fail)

    asyncio.run(scenario())


def test_while_one_call_hangs_others_are_refused_and_then_taken_again(
    answers: threading.Event,
) -> None:
    async def scenario() -> None:
        calls = StoreCalls("there", timeout_s=0.05)
        answers.clear()
        with pytest.raises(ServerUnreachable, match=r"store there, came none within 0\.05 s"):
            await calls.run(hanging(int, answers))
        begun: list[int] = []
        with pytest.raises(ServerUnreachable, match="an earlier call still waits"):
            await calls.run(begun.append, 1)
        assert begun == []
        (thread,) = calls._hanging
        answers.set()
        thread.join()
        assert await calls.run(int) == 0

    asyncio.run(scenario())


def test_a_hand_over_and_a_stop_do_not_wait_for_a_store_that_hangs(
    url: str, state: WorkThread, answers: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(owner: Owner) -> None:
        await owner.ownership.restore(KEYS)
        owner.fold()
        owner.store.calls._timeout_s = 0.05
        answers.clear()
        await owner.ownership.release(KEYS)

    owner = Owner(url, state, partitions=2)
    asyncio.run(scenario(owner))  # Ends: no thread of the loop's own waits.
    assert isinstance(owner.ownership.release_failure, SnapshotNotWritten)
    lines = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert [("none within" in line, "still waits" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]
    assert all("will be read again" in line for line in lines)
    answers.set()


def test_a_restore_from_a_store_that_hangs_ends_with_a_line(
    url: str, state: WorkThread, answers: threading.Event
) -> None:
    owner = Owner(url, state)
    owner.store.calls._timeout_s = 0.05
    answers.clear()
    with pytest.raises(ServerUnreachable, match="STORE_TIMEOUT_S"):
        asyncio.run(owner.ownership.restore({(TOPIC, 0)}))


def test_a_round_of_snapshots_goes_on_once_the_store_answers(
    url: str, state: WorkThread, answers: threading.Event
) -> None:
    async def scenario(owner: Owner) -> None:
        ownership: Ownership = owner.ownership
        await ownership.restore({(TOPIC, 0)})
        owner.fold()
        owner.store.calls._timeout_s = 0.05
        answers.clear()
        await ownership.snapshot_due(0.0)
        assert ownership.durable_offset(TOPIC, 0) is None
        hung = set(owner.store.calls._hanging)
        answers.set()
        for thread in hung:
            thread.join()
        owner.store.calls._timeout_s = 60.0
        await ownership.snapshot_due(0.0)
        assert ownership.durable_offset(TOPIC, 0) == len(LINES)

    asyncio.run(scenario(Owner(url, state)))


def test_the_bound_is_a_setting(tmp_path: Path) -> None:
    from consumers.configuration import load_settings, make_snapshot_store

    settings = load_settings([f"worker.snapshots={tmp_path}", "worker.store_timeout_s=7"])
    assert make_snapshot_store(settings).calls._timeout_s == 7.0
