"""Runs of pytest in a process of its own, as an application would run it with our plugin."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The engine's command in this environment, whether its script is installed or not.
COMMAND = [sys.executable, "-m", "consumers.cli"]


def environment(**changes: str) -> dict[str, str]:
    """Return an environment that finds the client and the engine, without settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    paths = [str(ROOT / "clients"), str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **changes}


def run_pytest(
    folder: Path, text: str, *words: str, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run one test file with the plugin; ``changes`` go into the environment."""
    return run_pytest_files(folder, {"test_application.py": text}, *words, **changes)


def run_pytest_files(
    folder: Path,
    files: Mapping[str, str],
    *words: str,
    bound_s: float = 300.0,
    **changes: str,
) -> subprocess.CompletedProcess[str]:
    """Run test files by their names with the plugin; ``changes`` go into the environment."""
    for name, text in files.items():
        (folder / name).write_text(text)
    # A file of its own, or pytest would look for one in the folders above.
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "headwater_client.testing"),
            *("-p", "no:cacheprovider", *words),
        ],
        cwd=folder,
        env=environment(**{"HEADWATER_COMMAND": shlex.join(COMMAND), **changes}),
        capture_output=True,
        text=True,
        timeout=bound_s,
        check=False,
    )
