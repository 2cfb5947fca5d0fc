"""An app that crashed ends, and says why, whatever Faust does meanwhile (law 9)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, cast

import pytest

from consumers.faust_app import App, create_app, run_app
from stream.errors import ConfigurationError, LogGap
from tests.consumers.ledgers import MemoryLedger

# Never waited for when all is well.
BOUND_S = 60.0


class FaustThatHangs:
    """What ``run_app`` uses of an app; the hangs are Faust's, seen under load.

    Args:
        crash: What crashes it when it starts; None for nothing.
        start_hangs: Whether ``start`` never returns.
        stop_hangs: Whether ``stop`` never returns.
    """

    def __init__(
        self, *, crash: Exception | None, start_hangs: bool = False, stop_hangs: bool = False
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.crash_reason: Exception | None = None
        self.is_stopped = False
        self._crash, self._start_hangs, self._stop_hangs = crash, start_hangs, stop_hangs

    @property
    def crashed(self) -> bool:
        return self.crash_reason is not None

    def finalize(self) -> None:
        assert self.loop is not None

    async def start(self) -> None:
        self.crash_reason = self._crash
        if self._start_hangs:
            await asyncio.Event().wait()

    async def wait_until_stopped(self) -> None:
        if self._crash is not None:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        await asyncio.sleep(0)
        if self._stop_hangs:
            await asyncio.Event().wait()
        self.is_stopped = True


def run(app: FaustThatHangs, *, crashed_stop_s: float = BOUND_S) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(BOUND_S):
            await run_app(cast(App, cast(Any, app)), crashed_stop_s=crashed_stop_s)

    asyncio.run(bounded())


@pytest.mark.parametrize("start_hangs", [False, True])
def test_a_crash_is_raised_also_while_the_app_starts(start_hangs: bool) -> None:
    app = FaustThatHangs(crash=LogGap("records are gone"), start_hangs=start_hangs)
    with pytest.raises(LogGap, match="records are gone"):
        run(app)
    assert app.is_stopped


def test_a_crashed_app_that_never_stops_is_left_behind_with_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FaustThatHangs(crash=LogGap("records are gone"), stop_hangs=True)
    with pytest.raises(LogGap, match="records are gone"):
        run(app, crashed_stop_s=0.01)
    assert not app.is_stopped
    (line,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert line.getMessage() == "the crashed app did not stop within 0.01 s"


def test_a_stop_without_a_crash_has_no_such_bound() -> None:
    app = FaustThatHangs(crash=None)
    run(app, crashed_stop_s=0.0)
    assert app.is_stopped


@pytest.mark.parametrize(("session_timeout_s", "interval_s"), [(4.0, 0.8), (45.0, 1.0)])
def test_members_hear_of_a_hand_over_within_a_second_however_long_a_session_is(
    session_timeout_s: float, interval_s: float, tmp_path: Path
) -> None:
    app = create_app(
        brokers="a:1",
        group="g",
        topics=["t"],
        ledger=MemoryLedger({}),
        data_dir=tmp_path,
        session_timeout_s=session_timeout_s,
    )
    assert app.conf.broker_heartbeat_interval == pytest.approx(interval_s)


def test_a_folder_for_data_is_made_with_what_holds_it_or_named(tmp_path: Path) -> None:
    """With snapshots in an object store nobody else makes it."""

    def create(data_dir: Path) -> App:
        ledger = MemoryLedger({})
        return create_app(brokers="b:1", group="g", topics=[], ledger=ledger, data_dir=data_dir)

    for holder in ("there", "ünd {there} %s"):
        folder = tmp_path / "not" / holder / "faust"
        assert create(folder).conf.datadir == folder and folder.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="HEADWATER_DATA_DIR: .*file/faust: Not a dir"):
        create(tmp_path / "file" / "faust")


def test_a_worker_that_holds_no_partition_stays_in_its_group(tmp_path: Path) -> None:
    # aiokafka makes a member leave that has not fetched for so long, and join never again.
    app = create_app(
        brokers="a:1", group="g", topics=["t"], ledger=MemoryLedger({}), data_dir=tmp_path
    )
    assert app.conf.broker_max_poll_interval > 3 * 366 * 86_400
