"""A simulated log of some hundred events, and commands run on it in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from consumers.commands import app
from consumers.simulated_logs import write_logs
from local.simulator import Simulator

SMALL = ["--set", "users.max_users=1000", "--set", "catalogue.dim=16"]


def make_world(folder: Path) -> Path:
    """Write ``log.jsonl`` and ``items.jsonl``; return the folder."""
    simulator = Simulator(seed=3, num_users=40, num_items=60, events_per_s=40.0)
    write_logs(simulator, folder / "log.jsonl", folder / "items.jsonl", 10.0)
    return folder


def run(*arguments: str | int | float | Path) -> dict[str, Any]:
    """Run a command with ``--json``; return its figures."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    summary: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return summary
