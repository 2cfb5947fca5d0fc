"""How a worker's tasks end: by the first failure, by a stop, or by the bound on stopping."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from consumers.probes import EXIT_STUCK
from consumers.supervision import finish_or_stop, first_end
from stream.errors import HeadwaterError, LogGap


async def forever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    message = "records are gone"
    raise LogGap(message)


async def ends() -> None:
    return None


def end_of(*works, may_end=ends, stops=False):
    async def run():
        stop = asyncio.Event()
        tasks = {asyncio.create_task(work(), name=work.__name__) for work in works}
        ready = asyncio.create_task(may_end())
        if stops:
            asyncio.get_running_loop().call_soon(stop.set)
        try:
            return await asyncio.wait_for(first_end(tasks, ready, stop), 10)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, ready, return_exceptions=True)

    return asyncio.run(run())


def test_a_stop_is_no_failure() -> None:
    assert end_of(forever, stops=True) is None


def test_the_first_failure_is_the_reason() -> None:
    assert isinstance(end_of(forever, fails), LogGap)


def test_a_task_that_ends_quietly_is_a_failure() -> None:
    failure = end_of(forever, ends)
    assert isinstance(failure, HeadwaterError) and "expected ends to run" in str(failure)


def test_what_fails_before_the_worker_is_ready_is_the_reason() -> None:
    assert isinstance(end_of(forever, may_end=fails), LogGap)


def test_a_stop_cancels_a_start() -> None:
    async def run():
        stop = asyncio.Event()
        stop.set()
        return await asyncio.wait_for(finish_or_stop(forever(), stop), 10)

    assert asyncio.run(run()) is False


def test_a_start_that_fails_is_raised() -> None:
    assert asyncio.run(finish_or_stop(ends(), asyncio.Event())) is True
    with pytest.raises(LogGap):
        asyncio.run(finish_or_stop(fails(), asyncio.Event()))


def test_a_stop_that_hangs_ends_the_process_with_a_reason() -> None:
    program = (
        "import threading\n"
        "from consumers.supervision import StopBound\n"
        "bound = StopBound(0.05)\n"
        "bound.start()\n"
        "bound.start()\n"
        "threading.Event().wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert done.returncode == EXIT_STUCK
    assert b"did not stop within 0.05 s" in done.stderr


def test_a_stop_in_time_ends_nothing() -> None:
    program = (
        "import threading\n"
        "from consumers.supervision import StopBound\n"
        "bound = StopBound(60.0)\n"
        "bound.start()\n"
        "bound.cancel()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
