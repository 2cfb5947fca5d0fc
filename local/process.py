"""One server as a child process: it logs to a file, and ends when its parent does.

Nothing is looked up by name: a process is ended by the pid that was started here.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

logger = logging.getLogger(__name__)

# Linux: ask for SIGKILL on the parent's death, make sure that it has not died already, become the
# server. The request survives exec. A preexec_fn would run Python between fork and exec, which may
# lock up in a process with threads.
_EXEC_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent ended before its server started")
os.execv(sys.argv[2], sys.argv[2:])
"""

# Variables through which a user's own Java or shell set-up would change the server.
_DROPPED_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")

_running: weakref.WeakSet[ServerProcess] = weakref.WeakSet()


class LocalServerError(RuntimeError):
    """A local server cannot be had or did not start; says why and what to do."""


class ServerProcess:
    """A child process with a log file.

    Args:
        name: For messages: "Apache Kafka".
        log_path: stdout and stderr are appended here; its folder must exist.
    """

    def __init__(self, name: str, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server.

        Raises:
            LocalServerError: The server does not run.
        """
        if self._process is None or self._process.poll() is not None:
            message = f"expected a running {self.name}, but it is not running: call start() first"
            raise LocalServerError(message)
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, command: Sequence[str], *, cwd: Path | None = None) -> None:
        """Start the command; its first word is an absolute path. Does not wait for readiness."""
        if self.is_running:
            message = f"{self.name} runs already as process {self.pid}: stop it first"
            raise LocalServerError(message)
        with self.log_path.open("ab") as log:
            # The kernel's "parent" is the thread that forks, so that one thread, which lives as
            # long as this process, does it for all.
            self._process = _spawner().submit(_spawn, list(command), log.fileno(), cwd).result()
        _running.add(self)

    def stop(self, grace_s: float = 30.0) -> None:
        """End the process with SIGTERM, with SIGKILL after the grace; no-op if it has ended."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                logger.warning("%s ignored SIGTERM for %.0f s: killed", self.name, grace_s)
        self.kill()

    def kill(self) -> None:
        """End the process with SIGKILL and collect it; no-op if it has ended."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        _running.discard(self)

    def log_tail(self, max_bytes: int = 2_000) -> str:
        """Return the last lines of the log, for an error message."""
        try:
            text = self.log_path.read_bytes()[-max_bytes:].decode(errors="replace")
        except OSError:
            return ""
        return text.strip()


def ending_with_us(command: Sequence[str]) -> list[str]:
    """Return a command that runs another one, which ends when the thread that starts it does.

    On Linux; elsewhere it just runs it. The first word of the command is an absolute path.
    """
    return [sys.executable, "-I", "-S", "-c", _EXEC_WITH_PARENT, str(os.getpid()), *command]


def _spawn(command: list[str], log_fd: int, cwd: Path | None) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if k not in _DROPPED_VARIABLES}
    return subprocess.Popen(
        ending_with_us(command),
        stdin=subprocess.DEVNULL,
        stdout=log_fd,
        stderr=log_fd,
        cwd=cwd,
        env=environment,
        # Ctrl-C belongs to the program in front, which stops its servers in order.
        start_new_session=True,
    )


@lru_cache(maxsize=1)
def _spawner() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "local-servers")


def run_to_end(command: Sequence[str], *, name: str, timeout_s: float = 60.0) -> str:
    """Run a short command and return what it printed.

    Raises:
        LocalServerError: It failed or outlived its time; the message ends with its output.
    """
    environment: Mapping[str, str] = {
        k: v for k, v in os.environ.items() if k not in _DROPPED_VARIABLES
    }
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=timeout_s,
            check=False,
            # Ctrl-C is the program's in front: what it stops in order did not fail.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as expired:
        message = f"{name} did not end within {timeout_s:.0f} s"
        raise LocalServerError(message) from expired
    output = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0:
        message = f"{name} ended with code {done.returncode}: {output[-2_000:]}"
        raise LocalServerError(message)
    return output


@atexit.register
def _stop_all() -> None:
    """End what a caller forgot, where the kernel does not do it (macOS)."""
    for process in list(_running):
        process.kill()
