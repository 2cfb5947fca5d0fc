"""Runs of pytest in a process of its own, as an application would run it with our plugin."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The engine's command in this environment, whether its script is installed or not.
COMMAND = shlex.join([sys.executable, "-m", "consumers.cli"])


def environment(**changes: str) -> dict[str, str]:
    """Return an environment that finds the client and the engine, without settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    paths = [str(ROOT / "clients"), str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **changes}


def run_pytest(
    folder: Path, text: str, *words: str, bound_s: float = 300.0, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run one test file with the plugin; ``changes`` go into the environment."""
    path = folder / "test_application.py"
    path.write_text(text)
    # A file of its own, or pytest would look for one in the folders above.
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "headwater_client.testing"),
            *("-p", "no:cacheprovider", path.name, *words),
        ],
        cwd=folder,
        env=environment(**{"HEADWATER_COMMAND": COMMAND, **changes}),
        capture_output=True,
        text=True,
        timeout=bound_s,
        check=False,
    )
