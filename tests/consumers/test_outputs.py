"""Places to write are judged before work begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from consumers.outputs import check_file, check_folder
from stream.errors import ConfigurationError


def test_what_can_be_written_passes(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    for name in ("there", "new"):
        check_file("--out", tmp_path / name)
    check_folder("--out", tmp_path)
    check_folder("--out", tmp_path / "new" / "deeper")
    check_folder("--out", Path("relative"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["there"]


def test_what_cannot_be_written_is_said_with_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, words in (("", "the folder"), ("none/x", "found none at"), ("file/x", "found none")):
        with pytest.raises(ConfigurationError, match=f"--out: .*{words}"):
            check_file("--out", tmp_path / place)
    for place in ("file", "file/deeper"):
        with pytest.raises(ConfigurationError, match="--out: expected a folder, .* is a file"):
            check_folder("--out", tmp_path / place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_rights_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    for check in (check_file, check_folder):
        with pytest.raises(ConfigurationError, match="the right to write"):
            check("--out", tmp_path / "x")
