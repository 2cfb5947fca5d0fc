"""Crash points: each is one place of the worker, and none is reached by mistake."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from consumers import crash_points
from stream.errors import ConfigurationError

ROOM = Path(crash_points.__file__).parent


def test_every_point_is_one_place_and_every_place_is_named() -> None:
    calls: Counter[str] = Counter()
    for path in ROOM.glob("*.py"):
        if path.name != "crash_points.py":
            calls.update(re.findall(r'\bcrash_point\("([a-z-]+)"\)', path.read_text()))
    assert calls == dict.fromkeys(crash_points.POINTS, 1)


def run(text: str, code: str) -> subprocess.CompletedProcess[str]:
    whole = f"""
from consumers.crash_points import arm, crash_point, first_half
arm({text!r})
{code}
"""
    command = [sys.executable, "-c", whole]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_nth_time_ends_the_process_and_nothing_is_flushed() -> None:
    done = run("after-fold:3", "for n in range(5): crash_point('after-fold'); print(n, flush=True)")
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, ["0", "1"])


def test_without_a_name_nothing_ends() -> None:
    done = run("", "crash_point('after-fold'); print(len(first_half('mid-pipeline', 'abcd')))")
    assert (done.returncode, done.stdout) == (0, "4\n")


def test_amid_a_pipeline_half_of_it_is_done_when_it_ends() -> None:
    code = """
for n in range(3):
    print(first_half('mid-pipeline', 'abcd'), flush=True)
    crash_point('mid-pipeline')
"""
    done = run("mid-pipeline:2", code)
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, ["abcd", "ab"])


@pytest.mark.parametrize("text", ["after-lunch", "after-fold:0", "after-fold:x", "after-fold:-1"])
def test_what_is_no_point_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected NAME or NAME:N of before-fold"):
        crash_points.arm(text)
