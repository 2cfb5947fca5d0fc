"""The documentation's code runs: every Python block, in order, against real servers.

Blocks of a page make one program. A block with tests in it is a test file instead, named by its
first line (``# test_feed.py``), and runs under pytest with the client's plugin. Blocks of shell are
not run; the commands of ``headwater`` in them have to exist.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from consumers.cli import app
from headwater_client import EventProducer, RecommendationReader
from headwater_client.engine_process import EngineProcess
from tests.clients.pytest_runs import COMMAND, ROOT, environment, run_pytest_files

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

# Pages whose code is run; add yours.
PAGES = [
    "README.md",
    "clients/README.md",
    "docs/produce-from-your-application.md",
    "docs/read-from-your-application.md",
    "docs/replay-logs-in-your-tests.md",
]
# How pages name the servers of the reader; longer names first.
REDIS_NAMES = ("redis://HOST:PORT/0", "redis://localhost:6379/0")
KAFKA_NAMES = ("HOST:PORT", "localhost:9092")
COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
BOUND_S = 300.0


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def is_for_pytest(block: str) -> bool:
    return block.startswith("# test_") or block.startswith("# conftest.py")


PROGRAMS = [page for page in PAGES if any(not is_for_pytest(b) for b in blocks(page, "python"))]
TESTED = [page for page in PAGES if any(map(is_for_pytest, blocks(page, "python")))]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, warm_kernels: None) -> Iterator[EngineProcess]:
    """Give a running Headwater that knows the users and items of the pages."""
    process = EngineProcess(
        COMMAND,
        settings={"SIGNALS__INTERVAL_S": 0.2, "SIGNALS__TRENDING_INTERVAL_S": 0.2},
        log_path=tmp_path_factory.mktemp("docs") / "engine.log",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
        process.start()
    try:
        with EventProducer(process.kafka) as producer:
            for user in ("ann", "bob", "cid"):
                for item in ("clip-7", "clip-8", "clip-9", f"clip-of-{user}"):
                    producer.like(user, item)
        process.settle()
        with RecommendationReader(process.redis) as reader:
            process.until(reader.trending)
            process.until(lambda: reader.similar("clip-7"))
        yield process
    finally:
        process.stop()


@pytest.mark.parametrize("page", PROGRAMS)
def test_python_of_a_page_runs(page: str, engine: EngineProcess, tmp_path: Path) -> None:
    program = "\n".join(block for block in blocks(page, "python") if not is_for_pytest(block))
    for names, address in ((REDIS_NAMES, engine.redis), (KAFKA_NAMES, engine.kafka)):
        for name in names:
            program = program.replace(name, address)
    path = tmp_path / "page.py"
    path.write_text(program)
    done = subprocess.run(
        # kafka-python complains about itself where it is imported as it is.
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", path],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


@pytest.mark.parametrize("page", TESTED)
def test_tests_of_a_page_pass(page: str, tmp_path: Path) -> None:
    files = {}
    for block in filter(is_for_pytest, blocks(page, "python")):
        files[block.splitlines()[0].removeprefix("# ")] = block
    done = run_pytest_files(tmp_path, files, bound_s=BOUND_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout, done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_shell_blocks_exist(page: str) -> None:
    for block in blocks(page, "sh"):
        called = re.findall(r"^(?:.*\| )?headwater ([a-z-]+)", block, re.MULTILINE)
        assert set(called) <= COMMANDS, block
