"""Runs the benchmarks that lie beside the package in a checkout, by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[1]
_PREFIX = "bench_"
# Seconds instead of minutes; one that is not named here runs as it is.
_QUICK: Mapping[str, tuple[str, ...]] = {
    "agent": ("--events", "100000", "--rounds", "1"),
    "decode": ("--events", "5000", "--rounds", "3"),
    "fold": ("--events", "40000", "--rounds", "1"),
    "network": ("--users", "16", "--rounds", "5"),
    "refresh": ("--rounds", "1"),
}
_TIMEOUT_S = 3600.0
_MAX_ERROR_LINES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one benchmark gave.

    Attributes:
        figures: The JSON object of its last line; empty where it failed.
        error: Why there are no figures; empty where there are.
    """

    figures: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def benchmark_names(root: Path | None = None) -> list[str]:
    """Return the names of the benchmarks, sorted.

    Raises:
        ConfigurationError: There are none: this is an installed wheel.
    """
    root = root or ROOT
    found = sorted((root / "benchmarks").glob(f"{_PREFIX}*.py"))
    if not found:
        message = (
            f"expected the folder benchmarks of a checkout in {root}, there is none: benchmarks "
            "are no part of the wheel; clone the repository and run `headwater bench` from there"
        )
        raise ConfigurationError(message)
    return [path.stem.removeprefix(_PREFIX) for path in found]


def run_benchmark(name: str, *, is_full: bool = False, root: Path | None = None) -> Outcome:
    """Run one benchmark in a process of its own; what it says is kept for a failure.

    Args:
        name: One of :func:`benchmark_names`.
        is_full: With the benchmark's own defaults instead of quick ones.
        root: The checkout; None for the one that this package lies in.
    """
    root = root or ROOT
    options = () if is_full else _QUICK.get(name, ())
    # Benchmarks fill the servers that settings name: never those of somebody's lists.
    kept = {name: value for name, value in os.environ.items() if "HEADWATER_" not in name}
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [sys.executable, str(root / "benchmarks" / f"{_PREFIX}{name}.py"), *options],
            cwd=root,
            env={**kept, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(error=f"no end within {_TIMEOUT_S:.0f} s")
    if done.returncode:
        last = " / ".join(done.stderr.strip().splitlines()[-_MAX_ERROR_LINES:])
        return Outcome(error=f"ended with exit code {done.returncode}: {last}")
    return _parse(done.stdout)


def _parse(text: str) -> Outcome:
    lines = text.strip().splitlines()
    try:
        figures = json.loads(lines[-1]) if lines else None
    except ValueError:
        figures = None
    if not isinstance(figures, dict):
        return Outcome(error="expected one line of JSON at the end, there was none")
    return Outcome(figures=figures)


def figures_of(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, text) of every figure, nested ones too.

    >>> list(figures_of({"a": {"b": 1234.5}, "c": [1, 2]}))
    [('a.b', '1,234.5'), ('c', '[1, 2]')]
    """
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from figures_of(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", f"{value:,}"
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)
