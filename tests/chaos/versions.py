"""Versions of the code whose workers can be started beside this checkout's.

An older commit is put into a folder beside the caches of compiled kernels, with a cache of its own,
and kept for the next run: compiling takes minutes, and nothing of that belongs into a scenario's
clock. A newer version of frames, which there is not yet, is this checkout's code, changed as it is
imported.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.scenarios import NotPlayable
from tests.integration.workers import ROOT, Code

# Its frames, signals and snapshots are of the versions of now, so that workers of both share a
# group, there and back. Where a format's version grows: the first commit that writes it
# (docs/decisions/0015-formats.md).
EQUAL_FORMATS = "9af0398f93689787e8a9f50ebeb75a9a734940e0"
# The last commit that writes and reads frames of version 1.
OLDER_FRAMES = "df69c1e00bbcc3f3fa971928e728350e612a7412"

# Where a format's version stands.
FORMATS = ("stream/frames.py", "stream/signals.py", "state/snapshot.py")

_ROOMS = ("clients", "consumers", "local", "models", "state", "stream")
# The same bytes under a version that nobody else reads.
_NEWER = """
import consumers
from stream import frames

frames.VERSION += 1
frames.READABLE += (frames.VERSION,)
frames._MAGIC = int.from_bytes(frames._TAG + bytes([frames.VERSION]), "little")
frames._READABLE_MAGICS |= {frames._MAGIC}
"""
_IS_WARM = "is-warm"
_KEPT = 3
_COMPILE_S = 900.0


def newer_frames(folder: Path) -> Code:
    """Return this checkout's code as it would be if frames were of one version more.

    Args:
        folder: For the file that Python imports before anything of ours.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_NEWER)
    return Code(ROOT, {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}, name="newer frames")


def old_version(reference: str) -> Code:
    """Return a commit's code in a folder of its own, its kernels compiled.

    Raises:
        NotPlayable: This checkout has no git history, or no such commit in it.
    """
    commit = _commit(reference)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headwater"
    folder = cache / f"version-{commit[:12]}"
    environment = {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "kernels")}
    if not (folder / _IS_WARM).exists():
        shutil.rmtree(folder, ignore_errors=True)
        _export(commit, folder)
        subprocess.run(
            [sys.executable, "-m", "consumers.warm_up"],
            env=_without_ours(os.environ) | environment,
            cwd=folder,
            check=True,
            timeout=_COMPILE_S,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    (folder / _IS_WARM).touch()
    known = sorted(cache.glob("version-*"), key=_used_s)
    for old in known[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return Code(folder, environment, name=commit[:9])


def formats_of(reference: str) -> dict[str, int]:
    """Return by file which version of its format a commit writes.

    Raises:
        NotPlayable: As :func:`old_version`.
    """
    texts = {name: text_of(reference, name) for name in FORMATS}
    return {
        name: int(re.findall(r"^(?:SCHEMA_)?VERSION = (\d+)$", text, re.MULTILINE)[0])
        for name, text in texts.items()
    }


def text_of(reference: str, name: str) -> str:
    """Return a file as a commit has it.

    Raises:
        NotPlayable: As :func:`old_version`.
    """
    return _git("show", f"{_commit(reference)}:{name}").decode()


def _used_s(folder: Path) -> float:
    mark = folder / _IS_WARM
    return mark.stat().st_mtime if mark.exists() else folder.stat().st_mtime


def _commit(reference: str) -> str:
    """Return the full id of a commit of this checkout."""
    try:
        found = _git("rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}")
    except (OSError, subprocess.CalledProcessError):
        message = f"expected a git history that knows {reference}, this checkout has none"
        raise NotPlayable(message) from None
    return found.decode().strip()


def _export(commit: str, folder: Path) -> None:
    packed = _git("archive", "--format=tar", commit, *_ROOMS)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def _git(*words: str) -> bytes:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ).stdout


def _without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if "HEADWATER_" not in name}
