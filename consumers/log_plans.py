"""What an evaluation does differently with single logs: a TOML file with a section per log.

    [news-clicks]
    every = 40                       # test every 40th event
    limit = 1_000_000                # of the first million

    [news-clicks.tuned]              # evaluate once more, with these settings over the command's
    items.windows_ms = [3_600_000]

A section is named as its log's file or folder is, up to the first dot. Absent: anything that
would let a log decide what is tested of it beyond how much.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.errors import ConfigurationError

_COUNTS = ("every", "limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlan:
    """What is different for one log.

    Attributes:
        every: Test every K-th event; None leaves it to the command.
        limit: Take only the first events; None leaves it to the command.
        tuned: ``NAME=VALUE`` over settings, for a second evaluation; empty makes none.
    """

    every: int | None = None
    limit: int | None = None
    tuned: tuple[str, ...] = ()


def short_name(log: str) -> str:
    """Return a log's name without where it lies.

    >>> short_name("data/ml-100k"), short_name("day.jsonl.gz")
    ('ml-100k', 'day')
    """
    return Path(log).name.split(".")[0]


def read_log_plans(path: Path) -> dict[str, LogPlan]:
    """Read the sections of a file, by the short name of their log.

    Raises:
        ConfigurationError: The file cannot be read, or says what is not known.
    """
    try:
        sections = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"--per-log: expected a TOML file with a section per log, got {path}: {error}"
        raise ConfigurationError(message) from error
    return {name: _plan(path, name, section) for name, section in sections.items()}


def _plan(path: Path, name: str, section: object) -> LogPlan:
    if not isinstance(section, Mapping):
        message = f"--per-log: {path}: expected a section [{name}], got {name} = {section!r}"
        raise ConfigurationError(message)
    tuned = section.get("tuned", {})
    counts = {key: section[key] for key in _COUNTS if key in section}
    unknown = sorted(set(section) - {*_COUNTS, "tuned"})
    bad = [key for key, value in counts.items() if type(value) is not int or value < 1]
    if unknown or bad or not isinstance(tuned, Mapping):
        message = (
            f"--per-log: {path}: expected in [{name}] every and limit (whole numbers from 1) and a "
            f"table tuned; got {', '.join(unknown or bad or ['tuned'])}"
        )
        raise ConfigurationError(message)
    return LogPlan(tuned=tuple(_overrides(tuned)), **counts)


def _overrides(tuned: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Flatten nested tables into ``NAME=VALUE``, in the order of the file.

    >>> _overrides({"users": {"max_lags": 20}, "epoch": 1})
    ['users.max_lags=20', 'epoch=1']
    """
    found: list[str] = []
    for name, value in tuned.items():
        if isinstance(value, Mapping):
            found += _overrides(value, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}={json.dumps(value)}")
    return found
