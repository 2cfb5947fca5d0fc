"""A temporary folder goes with its process, at the latest when the next one starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from local.scratch import ScratchFolder, remove_abandoned

OWNER = """
import sys
from pathlib import Path
from local.scratch import ScratchFolder
scratch = ScratchFolder("kind-", parent=Path(sys.argv[1]))
(scratch.path / "data").write_text("large")
print(scratch.path, flush=True)
sys.stdin.read()
"""


def test_a_folder_ends_with_its_block(tmp_path: Path) -> None:
    with ScratchFolder("kind-", parent=tmp_path) as folder:
        (folder / "data").write_text("x")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_a_living_ones_is_not(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().decode().strip())
        with ScratchFolder("kind-", parent=tmp_path):
            assert (folder / "data").exists()
        owner.kill()
        owner.wait()
        assert (folder / "data").exists()
        with ScratchFolder("kind-", parent=tmp_path) as ours:
            assert list(tmp_path.iterdir()) == [ours]


@pytest.mark.parametrize("kind", ["without a lock", "a link", "another prefix"])
def test_folders_that_are_not_surely_ours_are_left_alone(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "owner.lock").touch()
    if kind == "without a lock":
        (tmp_path / "kind-1").mkdir()
    elif kind == "a link":
        (tmp_path / "kind-1").symlink_to(other)
    assert remove_abandoned("kind-", parent=tmp_path) == 0
    assert (other / "owner.lock").exists()
