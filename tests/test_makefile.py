"""The Makefile prints its own help and hands its variables on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = ["help", "demo", "test", "check", "fix", "test-integration", "chaos", "bench"]

# What `make check` runs side by side: pytest, and types, whose words come last if at all.
PROGRAMS = ("python", "mypy")


def make(*words: str, **environment: str) -> str:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    # Without the variables of a make that runs these tests.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_help_is_the_default_and_names_every_target() -> None:
    assert make() == make("help")
    for target in TARGETS:
        assert re.search(rf"^  make {target} +\w", make(), re.MULTILINE), target


def test_demo_hands_its_variables_on() -> None:
    command = make("-n", "demo", "SECONDS=60", "HEADLESS=1", "EVENTS=200", "SPEED=2").splitlines()
    words = command[-1].split()
    assert words[0].endswith("headwater")
    assert words[1:] == "demo --seconds 60 --events 200 --speed 2 --headless --json".split()


def test_seconds_survive_a_shell_that_counts_its_own() -> None:
    command = make("-n", "demo", "SHELL=/bin/bash", "SECONDS=60").splitlines()[-1]
    assert command.split()[1:] == ["demo", "--seconds", "60"]
    assert make("-n", "demo", "HEADLESS=0").splitlines()[-1].split()[1:] == ["demo"]


def played(folder: Path, **scripts: str) -> Path:
    """Return a checkout whose programs are these scripts; the others say their name."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (folder / "clients").mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "clients/pyproject.toml", "constraints.txt", ".venv/.installed"):
        (folder / name).touch()
    for name in ("ruff", "lint-imports", "mypy", "python"):
        path = programs / name
        path.write_text(f"#!/bin/sh\n{scripts.get(name, f'echo {name} said')}\n")
        path.chmod(0o755)
    return folder


@pytest.mark.parametrize("fails", ["mypy", "python", "ruff", None])
def test_check_fails_with_the_types_or_the_tests_beside_them(
    tmp_path: Path, fails: str | None
) -> None:
    scripts = {fails: f"echo {fails} failed; exit 1"} if fails else {}
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    done = subprocess.run(
        ["make", "check"],
        cwd=played(tmp_path, **scripts),
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == (fails is not None), done.stderr
    begun = PROGRAMS if fails != "ruff" else ()
    said = [f"{each} {'failed' if fails == each else 'said'}" for each in PROGRAMS]
    # Types that hold say nothing: what was skipped, and why, is to come last.
    heard = said if fails == "mypy" else said[:1]
    assert [word for word in done.stdout.splitlines() if word in said] == (heard if begun else [])


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==\S+", pin) for pin in pins)
    assert "torch==2.13.0" in pins
