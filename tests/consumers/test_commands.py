"""How a command tells of what ended it: one line on stderr, and a code."""

from __future__ import annotations

import errno
import logging
import tomllib
from pathlib import Path

import pytest
from aiokafka.errors import ConsumerStoppedError, KafkaTimeoutError, OffsetOutOfRangeError
from redis.exceptions import ResponseError
from typer.testing import CliRunner

from consumers import commands
from stream.errors import ConfigurationError, ServerUnreachable


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            ResponseError("BUSY running a script"),
            1,
            "expected Redis to do as asked, came ResponseError: BUSY running a script",
        ),
        (KafkaTimeoutError(), 1, "expected Kafka to do as asked, came KafkaTimeoutError;"),
        (TimeoutError(), 1, "expected the system to do as asked, came TimeoutError;"),
        (OSError(errno.ENOSPC, "disk full", "a.json"), 1, "disk full: 'a.json'"),
        (ServerUnreachable("expected Redis, came silence"), 1, "expected Redis, came silence"),
        (ConfigurationError("--top: expected 1, got 0"), 2, "--top: expected 1, got 0"),
    ],
)
def test_whatever_ends_a_command_is_one_line_with_what_to_do(
    error: Exception,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def app() -> None:
        raise error

    monkeypatch.setattr(commands, "app", app)
    with pytest.raises(SystemExit) as ended:
        commands.run()
    told = capsys.readouterr().err
    assert ended.value.code == code
    assert told.startswith("headwater: ") and line in told and told.count("\n") == 1
    is_ours = isinstance(error, ServerUnreachable | ConfigurationError)
    assert is_ours or "'headwater doctor' looks for the reason" in told


@pytest.mark.parametrize(
    ("logger", "error", "line"),
    [
        ("faust.transport", OffsetOutOfRangeError({"t": 7}), "OffsetOutOfRangeError: "),
        ("mode.services", ConsumerStoppedError(), "ConsumerStoppedError: "),
        ("aiokafka.conn", ConnectionResetError(104, "reset 100%"), "[Errno 104] reset 100%"),
        ("asyncio", OSError(24, "Too many open files"), "[Errno 24] Too many open files"),
        ("faust.app", ServerUnreachable("expected Kafka"), "Crashed: 50%"),
        ("mode.services", KeyError("a defect"), None),
        ("asyncio", KeyError("a defect"), None),
        ("consumers.app", OSError("ours"), None),
    ],
)
def test_of_an_error_of_the_world_libraries_log_a_line_and_no_trace(
    logger: str, error: Exception, line: str | None
) -> None:
    record = logging.LogRecord(
        logger, logging.ERROR, "file.py", 1, "Crashed: %d%%", (50,), (type(error), error, None)
    )
    assert commands._without_trace(record)
    told = record.getMessage()
    assert told.startswith("Crashed: 50%")
    assert (record.exc_info is None) == (line is not None)
    assert line is None or line in told


def test_the_version_is_the_distributions() -> None:
    result = CliRunner().invoke(commands.app, ["--version"])
    project = Path(__file__).parents[2] / "pyproject.toml"
    version = tomllib.loads(project.read_text())["project"]["version"]
    assert (result.exit_code, result.stdout) == (0, f"headwater {version}\n")
