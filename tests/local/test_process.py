"""A child process ends when told to, at the latest by SIGKILL, and says how it failed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.process import LocalServerError, ServerProcess, run_to_end

STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess("a test", tmp_path / "log")
    yield process
    process.kill()


def wait_for_log(server: ServerProcess, word: str) -> None:
    while word not in server.log_tail():
        assert server.is_running


def test_a_process_that_ignores_sigterm_is_killed(server: ServerProcess) -> None:
    server.start([sys.executable, "-c", STUBBORN])
    wait_for_log(server, "ready")
    pid = server.pid
    server.stop(grace_s=0.1)
    assert not psutil.pid_exists(pid)
    assert not server.is_running


def test_stop_and_kill_are_no_ops_when_nothing_runs(server: ServerProcess) -> None:
    server.stop()
    server.kill()
    with pytest.raises(LocalServerError, match="not running"):
        _ = server.pid


def test_a_second_start_is_refused(server: ServerProcess) -> None:
    server.start([sys.executable, "-c", STUBBORN])
    with pytest.raises(LocalServerError, match="runs already as process"):
        server.start([sys.executable, "-c", STUBBORN])


def test_a_server_outlives_the_thread_that_started_it(server: ServerProcess) -> None:
    # Linux counts the forking thread as the parent whose death ends the child.
    thread = threading.Thread(target=server.start, args=([sys.executable, "-c", STUBBORN],))
    thread.start()
    thread.join()
    wait_for_log(server, "ready")
    assert server.is_running


def test_java_options_of_the_user_do_not_reach_a_server(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1k")
    script = "import os; print(os.environ.get('JAVA_TOOL_OPTIONS'), flush=True)"
    assert run_to_end([sys.executable, "-c", script], name="a test") == "None"


def test_ctrl_c_does_not_reach_a_short_command() -> None:
    script = "import os; print(os.getsid(0) == os.getpid())"
    assert run_to_end([sys.executable, "-c", script], name="a test") == "True"


def test_a_failed_command_shows_its_own_words() -> None:
    script = "import sys; print('no room'); sys.exit(3)"
    with pytest.raises(LocalServerError, match="a test ended with code 3: no room"):
        run_to_end([sys.executable, "-c", script], name="a test")


def test_a_command_has_a_time_bound() -> None:
    with pytest.raises(LocalServerError, match="did not end within"):
        run_to_end([sys.executable, "-c", STUBBORN], name="a test", timeout_s=0.2)
