"""All commands of ``headwater`` in one application, and how their failures are told.

Exit codes: 0 done; 1 something was lost or a server was unreachable; 2 bad arguments or settings;
130 interrupted by Ctrl-C. Imported by :mod:`consumers.cli`, which is where a process begins.
"""

# ruff: noqa: E402 - first of all, what the imports themselves need.

from __future__ import annotations

import gc

gc.disable()  # What is imported stays; to look through it again and again costs a sixth of it.

import logging
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer
from aiokafka.errors import ConsumerStoppedError, KafkaError

from consumers import (
    cli_checks,
    cli_data,
    cli_dead_letters,
    cli_erased,
    cli_evaluate,
    cli_learn,
    cli_run,
    cli_state,
)
from consumers.console import errors
from consumers.log_repeats import HoldRepeats
from consumers.redis_client import REDIS_ERRORS
from stream.errors import ConfigurationError, HeadwaterError

gc.freeze()
gc.enable()

_LIBRARIES = ("aiokafka", "faust", "mode", "kafka", "numba")
# asyncio logs what the system refuses it, a hundred times a second where descriptors run out.
_TERSE = (*_LIBRARIES, "asyncio")
_OF_THE_WORLD = (KafkaError, ConsumerStoppedError, *REDIS_ERRORS)

app = typer.Typer(
    help="Headwater: streaming recommendations. Events in by Kafka, lists out by Redis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (
    cli_run.demo,
    cli_run.up,
    cli_run.worker,
    cli_run.simulate,
    cli_data.produce,
    cli_data.replay,
    cli_data.recs,
    cli_state.similar,
    cli_state.explain,
    cli_state.inspect,
    cli_evaluate.evaluate,
    cli_learn.train,
    cli_checks.bench,
    cli_checks.doctor,
):
    app.command()(command)
app.command("verify-erased")(cli_erased.verify_erased_user)
app.add_typer(cli_dead_letters.app, name="dead-letters", no_args_is_help=True)


def _say_version(is_asked: bool) -> None:
    """Print the version, and end."""
    if not is_asked:
        return
    try:
        found = version("headwater")
    except PackageNotFoundError:  # A checkout that is not installed.
        project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())
        found = project["project"]["version"]
    typer.echo(f"headwater {found}")
    raise typer.Exit


@app.callback()
def _root(
    log_level: str = typer.Option("INFO", help="DEBUG, INFO, WARNING or ERROR; logs go to stderr."),
    is_version: bool = typer.Option(
        False, "--version", callback=_say_version, is_eager=True, help="Print the version and end."
    ),
) -> None:
    """Set up logging for every command."""
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        message = f"--log-level: expected DEBUG, INFO, WARNING or ERROR, got {log_level!r}"
        raise ConfigurationError(message)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in _LIBRARIES:
        logging.getLogger(noisy).setLevel(max(level, logging.ERROR))
    if level > logging.DEBUG:
        repeats = HoldRepeats(_TERSE)
        for handler in logging.getLogger().handlers:
            handler.addFilter(repeats)
            handler.addFilter(_without_trace)
            handler.addFilter(_is_not_said_anyway)


def _without_trace(record: logging.LogRecord) -> bool:
    """Drop the trace of an error that explains itself; Faust logs one for whatever crashes.

    Of an error of Kafka, Redis or the system that a library logs its text is kept: a trace would
    say where in the library it came up. What else fails is a defect, whose trace is wanted.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HeadwaterError | None):
        record.exc_info = None
    elif isinstance(error, _OF_THE_WORLD) and record.name.split(".")[0] in _TERSE:
        told = f"{record.getMessage()} ({type(error).__name__}: {error})"
        record.msg, record.args, record.exc_info = told, (), None
    return True


def _is_not_said_anyway(record: logging.LogRecord) -> bool:
    """Drop aiokafka's line on a broker to bootstrap from: the command's own line names it."""
    return not (record.name == "aiokafka" and str(record.msg).startswith('Unable connect to "'))


def run() -> None:
    """Run the command line; every failure of the world is one line on stderr.

    Raises:
        SystemExit: With the exit code.
        KeyboardInterrupt: Ctrl-C, where the command does not see to it.
    """
    try:
        app()
    except ConfigurationError as error:
        errors.print(f"headwater: {error}", markup=False)
        raise SystemExit(2) from None
    except (HeadwaterError, KafkaError, *REDIS_ERRORS) as error:
        errors.print(f"headwater: {_told(error)}", markup=False)
        raise SystemExit(1) from None


def _told(error: Exception) -> str:
    """Return what an error of the world says; our own say what to do, of others we say it."""
    if isinstance(error, HeadwaterError):
        return str(error)
    redis = dict.fromkeys(REDIS_ERRORS, "Redis")
    kinds = {KafkaError: "Kafka", **redis, OSError: "the system"}
    who = next(name for kind, name in kinds.items() if isinstance(error, kind))
    # A TimeoutError, of which OSError is a base, often says nothing.
    what, name = str(error), type(error).__name__
    what = what if name in what else f"{name}: {what}".removesuffix(": ")
    return f"expected {who} to do as asked, came {what}; 'headwater doctor' looks for the reason"
