"""The documentation's code runs: Python and shell, in order, against real servers.

Python blocks of a page make one program. A block with tests in it is a test file instead, named by
its first line (``# test_feed.py``), and runs under pytest with the client's plugin. Blocks marked
``sh`` run one after the other, as a person types them, all of one page in one folder that has a
``log.jsonl`` and the folders of tiny data sets; lines that something else here stands for
(``NOT_HERE``) are left out. What no test here runs is named with its reason (``NOT_RUN``).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from consumers.commands import app
from headwater_client import EventProducer, RecommendationReader
from headwater_client.engine_process import EngineProcess
from headwater_client.kafka_python import KafkaProducer
from tests.clients.pytest_runs import COMMAND, ROOT, environment, run_pytest_files
from tests.evaluation import data_set_samples
from tests.integration.workers import until
from tests.wire_logs import START_MS, event, wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

# Pages whose code is run; add yours.
PAGES = [
    "README.md",
    "clients/README.md",
    "docs/data-sets.md",
    "docs/dead-letters.md",
    "docs/getting-started.md",
    "docs/how-it-works.md",
    "docs/operations.md",
    "docs/produce-from-your-application.md",
    "docs/read-from-your-application.md",
    "docs/replay-logs-in-your-tests.md",
]
# How pages name the servers of the reader; longer names first.
REDIS_NAMES = ("redis://HOST:PORT/0", "redis://localhost:6379/0")
HEALTH_NAMES = ("http://HOST:PORT", "http://localhost:9108")
KAFKA_NAMES = ("HOST:PORT", "localhost:9092")
# Lines of shell that are not run, and what stands for them.
NOT_HERE = {
    r"([A-Z_]+=\S+ )*(\S+/)?headwater (up|worker)\b": "the fixture `engine` is `headwater up`",
    r"headwater demo\b": "tests/integration/test_commands.py runs it",
    r"(git clone|cd|make|pip install) ": "the environment that these tests run in",
    r"export HEADWATER_COMMAND=": "run_pytest_files names the command",
}
# Code of other pages: the page, how a block of it begins, and why nothing here runs it.
NOT_RUN = {
    ("benchmarks/README.md", ""): "minutes each, for their figures; test_benches.py starts them",
    ("docs/commands.md", ""): "forms, not commands; test_docs.py holds them to the command line",
    ("docs/containers.md", ""): "there is no Docker; tests/docker reads what these commands read",
    ("docs/quality.md", ""): "minutes to hours; test_cli_evaluate.py asks for all of these options",
    ("docs/reliability.md", ""): "minutes to hours; tests/chaos tests their parts",
    ("docs/security.md", ""): "servers with certificates; test_security.py has these settings",
    ("docs/weights.md", ""): "minutes; test_cli_learn.py trains and ranks by what was learned",
}
# A simulated log that takes minutes to make and to learn, made short.
SHORTER = (r"--seconds \d{3,}", "--seconds 5")
# How data-sets.md names folders, and whose samples lie there.
DATA_SETS = {
    "KuaiRand-Pure/data": "kuairand",
    "ml-100k": "movielens-100k",
    "ml-1m": "movielens-1m",
}
# What a block may need beside the engine; a page waits for machines that have it.
PROGRAMS_OF_OTHERS = ("kcat", "redis-cli", "curl", "jq")
COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
BOUND_S = 300.0


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return [block for found, block in fences(page) if found == language]


def fences(page: str) -> list[tuple[str, str]]:
    """Return each fenced block with its language, which may be empty."""
    text = (ROOT / page).read_text()
    return re.findall(r"^```([a-z]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def is_for_pytest(block: str) -> bool:
    return block.startswith("# test_") or block.startswith("# conftest.py")


PROGRAMS = [page for page in PAGES if any(not is_for_pytest(b) for b in blocks(page, "python"))]
TESTED = [page for page in PAGES if any(map(is_for_pytest, blocks(page, "python")))]


def commands_of(block: str) -> list[str]:
    """Return the commands of a shell block that are to be run."""
    lines = block.replace("\\\n", " ").splitlines()
    return [line for line in lines if not any(re.match(each, line) for each in NOT_HERE)]


def shell_of(page: str) -> list[str]:
    """Return the shell blocks of a page, without the lines that are not run."""
    found = ["\n".join(commands_of(block)) for block in blocks(page, "sh")]
    return [block for block in found if block.strip()]


SHELLS = [page for page in PAGES if shell_of(page)]


def with_addresses(text: str, engine: EngineProcess) -> str:
    """Put the running servers in the place of the reader's, and a short log in that of a long."""
    text = re.sub(*SHORTER, text)
    for names, address in (
        (REDIS_NAMES, engine.redis),
        (HEALTH_NAMES, engine.health),
        (KAFKA_NAMES, engine.kafka),
    ):
        for name in names:
            text = text.replace(name, address)
    return text


def write_log(folder: Path) -> None:
    """Write the log that pages take for the reader's own, and data sets."""
    lines = wire_log(200, num_users=10, late_share=0.0)
    (folder / "log.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    for name, sample in DATA_SETS.items():
        data_set_samples.write(folder / name, data_set_samples.SAMPLES[sample][0])


def send_what_is_to_be_mended(process: EngineProcess) -> None:
    """Produce an event whose time is text, as dead-letters.md has it."""
    producer = KafkaProducer(bootstrap_servers=process.kafka)
    try:
        value = event(1, type="like", user_id="bob", ts=str(START_MS))
        producer.send("interactions", key=b"bob", value=value).get(timeout=BOUND_S)
    finally:
        producer.close()


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
        send_what_is_to_be_mended(process)
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
    path = tmp_path / "page.py"
    path.write_text(with_addresses(program, engine))
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


@pytest.mark.parametrize("page", SHELLS)
def test_shell_of_a_page_runs(page: str, engine: EngineProcess, tmp_path: Path) -> None:
    for program in PROGRAMS_OF_OTHERS:
        if re.search(rf"(^|\| |\"){program} ", "\n".join(shell_of(page)), re.MULTILINE):
            if shutil.which(program) is None:
                pytest.skip(f"there is no {program} on the PATH")
    write_log(tmp_path)
    kept: list[str] = []
    for block in shell_of(page):
        script = "\n".join(["set -euo pipefail", *kept, block])
        run_shell(with_addresses(script, engine), tmp_path)
        kept += [line for line in block.splitlines() if line.startswith("export ")]
        engine.settle()


def run_shell(script: str, folder: Path) -> None:
    """Run one block; one that only reads Redis is read again until something is there."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    headwater = programs / "headwater"
    headwater.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    headwater.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    lines = [line for line in script.splitlines()[1:] if not line.startswith("export ")]
    reads_only = bool(lines) and all(line.startswith("redis-cli ") for line in lines)

    def run() -> str:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=environment(PATH=path),
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    output = run()
    if reads_only:
        until(lambda: (said := run().splitlines()) and all(said), f"an answer to {script}")
    assert "Traceback" not in output and "(error)" not in output, output


@pytest.mark.parametrize("page", TESTED)
def test_tests_of_a_page_pass(page: str, tmp_path: Path) -> None:
    files = {}
    for block in filter(is_for_pytest, blocks(page, "python")):
        files[block.splitlines()[0].removeprefix("# ")] = block
    write_log(tmp_path)
    done = run_pytest_files(tmp_path, files, bound_s=BOUND_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout, done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_shell_blocks_exist(page: str) -> None:
    for block in blocks(page, "sh"):
        called = re.findall(r"^(?:.*\| )?headwater ([a-z-]+)", block, re.MULTILINE)
        assert set(called) <= COMMANDS, block


def test_code_of_every_page_is_run_or_said_why_not() -> None:
    pages = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*.md"))
    for folder in ("docs", "benchmarks", "clients"):
        pages += sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.md"))
    used = set()
    for page in pages:
        for language, block in fences(page):
            reasons = {
                (named, begin)
                for named, begin in NOT_RUN
                if named == page and block.startswith(begin)
            }
            used |= reasons
            is_run = page in PAGES and language in ("sh", "python")
            is_code = language not in ("text", "json")
            assert not is_code or is_run != bool(reasons), f"{page}: {language} {block[:200]}"
    assert used == set(NOT_RUN)
