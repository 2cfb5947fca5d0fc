"""Whenever Ctrl-C comes, a command ends with what a shell expects, and without a traceback.

Python's own `-X importtime` says on stderr which module was just imported: at which one the signal
is sent is chosen by name, and no clock is asked.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.interrupts import interrupts_end_quietly

ROOT = Path(__file__).parents[2]
BOUND_S = 120
# No server is asked for before all is imported.
WORKER = "worker --kafka 127.0.0.1:1 --redis redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def sigint_of_a_terminal() -> Iterator[None]:
    """A shell starts what runs in its background with SIGINT ignored, and all below inherits it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(command: str, at: str, number: signal.Signals) -> tuple[int, list[str]]:
    """Send a signal once stderr has such a line; return the code and all other lines but logs."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "consumers.cli", *shlex.split(command)],
        cwd=ROOT,
        env={**os.environ, "HEADWATER_RANKING__RANKER": "network"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    timer = threading.Timer(BOUND_S, process.kill)
    timer.start()
    said = []
    try:
        for line in process.stderr:
            if line.rstrip().endswith(at):
                process.send_signal(number)
                at = "\0"
            said.append(line)
        code = process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.stderr.close()
    assert at == "\0", f"nothing ended with {at!r}"
    return code, [line for line in said if not line.startswith("import time:")]


@pytest.mark.parametrize(
    "at",
    [
        "numpy",
        "numba.core.config",
        "consumers",  # Between the package and the command.
        "typer",
        "consumers.commands",
    ],
)
def test_ctrl_c_while_a_command_is_imported_ends_it_without_a_word(at: str) -> None:
    code, said = interrupted("evaluate --help", f" {at}", signal.SIGINT)
    assert (code, said) == (130, [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_worker_that_still_imports_ends_without_a_word(number: signal.Signals, code: int) -> None:
    assert interrupted(WORKER, " faust.types", number) == (code, [])


def test_ctrl_c_in_a_running_command_is_no_traceback(tmp_path: Path) -> None:
    endless = f"simulate --seconds 30000000 --out {tmp_path / 'log.jsonl'}"
    code, said = interrupted(endless, "start 1750000000000 ms", signal.SIGINT)
    assert code == 130
    assert [line for line in said if " INFO local.simulator: " not in line] == []


def test_what_was_imported_leaves_sigint_to_python() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts_end_quietly():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


ENDS = """
import asyncio, os, signal, sys
sys.argv = [sys.argv[1]]
from consumers.stopping import stop_on_signals

async def command():
    async with stop_on_signals():
        pass
    os.kill(os.getpid(), signal.SIGTERM)

asyncio.run(command())
print("why it ended")
"""


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("/bin/headwater", 0),
        ("/its/consumers/cli.py", 0),  # As `python -m consumers.cli` has it.
        ("other", -signal.SIGTERM),
    ],
)
def test_a_sigterm_while_a_command_ends_does_not_cut_off_why(program: str, code: int) -> None:
    """A program of somebody else's keeps its own ways."""
    done = subprocess.run(
        [sys.executable, "-c", ENDS, program, "consumers.cli"],
        cwd=ROOT,
        capture_output=True,
        timeout=BOUND_S,
    )
    assert (done.returncode, done.stderr) == (code, b"")
    assert (done.stdout == b"why it ended\n") is (code == 0)
