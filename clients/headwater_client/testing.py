"""A pytest plugin: the real Headwater in an application's own tests.

Installed with the client, found by pytest by itself (``headwater-client[testing]``). Fixtures:

- ``engine``: Kafka, Redis and a worker for the whole session (:class:`EngineProcess`);
- ``kafka``: its bootstrap servers, ``host:port``;
- ``redis``: its Redis URL;
- ``replay``: ``replay(log)`` folds a log and returns the figures (:class:`Replayed`);
- ``headwater_settings``: override it in a ``conftest.py`` to set the engine's settings.

The command is ``headwater``, or what ``--headwater-command`` or ``HEADWATER_COMMAND`` says. Where
it is missing, tests that want the engine are skipped with the reason.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import BaseModel

from headwater_client.engine_process import (
    EngineProcess,
    Replayed,
    find_command,
    run_replay,
)
from headwater_client.errors import EngineFailed

__all__ = ["EngineProcess", "Log", "Replay", "Replayed"]

# A file, or its lines: models of the contract, dictionaries, or JSON.
Log = Path | str | os.PathLike[str] | Iterable[BaseModel | Mapping[str, Any] | bytes]


class Replay(Protocol):
    """What the fixture ``replay`` gives."""

    def __call__(
        self,
        log: Log,
        *,
        items: Log | None = None,
        partitions: int = 4,
        settings: Mapping[str, object] | None = None,
    ) -> Replayed:
        """Fold a log, without any server, and return the figures.

        Args:
            log: A wire log: a path, or events in order of arrival.
            items: Announced items, likewise.
            partitions: As many as the log is split into; digests compare at equal numbers.
            settings: Beside ``headwater_settings``, for this replay.

        Raises:
            EngineFailed: The replay did not end well.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--headwater-command``."""
    parser.getgroup("headwater").addoption(
        "--headwater-command",
        metavar="WORDS",
        help="How to call Headwater, as in '/opt/headwater/.venv/bin/headwater' "
        "(default: HEADWATER_COMMAND, else headwater).",
    )


@pytest.fixture(scope="session")
def headwater_command(pytestconfig: pytest.Config) -> list[str]:
    """Give the words of Headwater's command, or skip."""
    named = pytestconfig.getoption("--headwater-command") or os.environ.get("HEADWATER_COMMAND")
    try:
        return find_command(named or "headwater")
    except EngineFailed as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def headwater_settings() -> dict[str, object]:
    """Give settings of the engine by their name without ``HEADWATER_``; override it for others.

    None of the environment's own ``HEADWATER_...`` reach the engine. ``KAFKA`` and ``REDIS`` name
    servers that are used instead of started ones.
    """
    return {}


@pytest.fixture(scope="session")
def engine(
    headwater_command: list[str],
    headwater_settings: Mapping[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[EngineProcess]:
    """Give a running Headwater that all tests of the session share: use users of your own."""
    # What trends and what is similar is otherwise made for people, every few seconds.
    quick = {"SIGNALS__INTERVAL_S": 0.2, "SIGNALS__TRENDING_INTERVAL_S": 0.2}
    process = EngineProcess(
        headwater_command,
        settings={**quick, **headwater_settings},
        log_path=tmp_path_factory.mktemp("headwater") / "engine.log",
    )
    try:
        process.start()
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="session")
def kafka(engine: EngineProcess) -> str:
    """Give the bootstrap servers of the engine's Kafka."""
    return engine.kafka


@pytest.fixture(scope="session")
def redis(engine: EngineProcess) -> str:
    """Give the URL of the engine's Redis."""
    return engine.redis


@pytest.fixture(scope="session")
def replay(
    headwater_command: list[str],
    headwater_settings: Mapping[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Replay:
    """Give ``replay(log)``."""
    folder = tmp_path_factory.mktemp("headwater-logs")
    numbers = itertools.count()

    def written(log: Log) -> Path:
        if isinstance(log, str | os.PathLike):
            return Path(log)
        path = folder / f"{next(numbers)}.jsonl"
        path.write_bytes(b"".join(_line(each) + b"\n" for each in log))
        return path

    def run(
        log: Log,
        *,
        items: Log | None = None,
        partitions: int = 4,
        settings: Mapping[str, object] | None = None,
    ) -> Replayed:
        return run_replay(
            headwater_command,
            written(log),
            items=None if items is None else written(items),
            partitions=partitions,
            settings={**headwater_settings, **(settings or {})},
        )

    return run


def _line(event: BaseModel | Mapping[str, Any] | bytes) -> bytes:
    if isinstance(event, BaseModel):
        return event.model_dump_json(exclude_none=True).encode()
    return event.rstrip(b"\r\n") if isinstance(event, bytes) else json.dumps(event).encode()
