"""The commands as a person runs them: exit codes, one line per failure, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import Deploy
from tests.integration.workers import BOUND_S, ROOT, read_line, run_cli, summary_of, until
from tests.wire_logs import wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

DEMO_FIGURES = {
    *("produced", "read", "applied", "duplicate", "late", "rejected", "filtered", "routed"),
    *("lists_written", "users_with_list", "first_list_s", "freshness_ms", "lag_end"),
    "exit_reason",
}


def environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "HEADWATER_" not in name}
    return {**kept, **{f"HEADWATER_{name}": value for name, value in settings.items()}}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "up.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "consumers.cli", "up", "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(TOPICS__PARTITIONS="2"),
                cwd=ROOT,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_up_names_its_servers_serves_and_leaves_nothing_behind(
    up: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = up()
    addresses = json.loads(read_line(process, BOUND_S))
    assert set(addresses) == {"kafka", "redis", "health"}
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join(wire_log(300)) + b"\n")
    ours = environment(KAFKA=addresses["kafka"], REDIS=addresses["redis"])
    produced = summary_of(run_cli("produce", str(log), "--json", environment=ours))
    assert produced["produced"] == produced["acknowledged"] == 300 and produced["failed"] == 0

    def is_done() -> bool:
        with urllib.request.urlopen(f"{addresses['health']}/stats", timeout=30) as answer:
            stats = json.load(answer)
        return bool(stats["read"] == 300 and not stats["freshness_ms"]["outstanding"])

    until(is_done, "every event is answered")
    assert summary_of(run_cli("recs", "u1", "--json", environment=ours))["items"]
    whole = summary_of(run_cli("replay", "interactions", "--json", environment=ours))
    assert whole["read"] == 300
    others = run_cli("replay", "interactions", "--partitions", "9", environment=ours)
    assert others.returncode == 2 and b"--partitions: expected 2" in others.stderr

    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2  # Kafka and Redis.
    process.send_signal(signal.SIGINT)
    assert process.wait(BOUND_S) == 0, (tmp_path / "up.log").read_text()
    assert [child for child in children if child.is_running()] == []


def test_demo_ends_by_itself_with_its_summary() -> None:
    done = run_cli(
        *("demo", "--headless", "--seconds", "8", "--events", "100", "--json"),
        environment=environment(),
        bound_s=170,
    )
    summary = summary_of(done)
    assert set(summary) >= DEMO_FIGURES
    assert set(summary["freshness_ms"]) == {"p50", "p99", "max"}
    assert summary["exit_reason"] == "done"
    assert summary["produced"] == summary["read"] - summary["routed"] > 0
    assert summary["rejected"] == 0 and summary["lag_end"] == 0
    assert 0 < summary["users_with_list"] <= summary["lists_written"]


NOWHERE = "127.0.0.1:1"
PASSWORD = "s3cr3t"
# Command, settings, exit code, what its line names.
FAILURES: list[tuple[list[str], dict[str, str], int, str]] = [
    (["replay", "no-such-file"], {}, 2, "no-such-file"),
    (["replay", "x", "--partitions", "0"], {}, 2, "--partitions"),
    (["replay", "x", "--set", "users.nothing=1"], {}, 2, "users.nothing"),
    (["replay", "no-such-topic"], {"KAFKA": NOWHERE}, 1, "HEADWATER_KAFKA"),
    (["replay", "no/such/file"], {"KAFKA": NOWHERE}, 2, "no/such/file"),
    (["replay", "no-such-topic", "--limit", "5"], {"KAFKA": NOWHERE}, 2, "--limit"),
    (["replay", "-", "--items", "no-such-file"], {}, 2, "no-such-file"),
    (["train", "x", "--out", "README.md"], {}, 2, "--out"),
    (["evaluate", "x", "--table", "no-such-folder/x.md"], {}, 2, "--table"),
    (["simulate", "--out", "no-such-folder/x"], {}, 2, "--out"),
    (["simulate", "--out", "no-such-x", "--items-out", "no-such-x"], {}, 2, "--items-out"),
    (["simulate", "--out", "no-such-x", "--events", "inf"], {}, 2, "--events"),
    (["simulate", "--out", "no-such-x", "--seconds", "inf"], {}, 2, "--seconds"),
    (["simulate", "--out", "no-such-x", "--users", "1000000000000"], {}, 2, "--users"),
    (["produce", "no-such-file"], {"KAFKA": NOWHERE}, 2, "no-such-file"),
    (["produce", "x", "--resume", "no-such-folder/x"], {"KAFKA": NOWHERE}, 2, "--resume"),
    (["simulate", "--seconds", "1"], {"KAFKA": NOWHERE}, 1, "HEADWATER_KAFKA"),
    (["recs", "u1"], {"REDIS": f"redis://u:{PASSWORD}@{NOWHERE}/0"}, 1, "HEADWATER_REDIS"),
    (["recs", "u1"], {"REDIS": f"redis://u:{PASSWORD}#@{NOWHERE}/0"}, 2, "HEADWATER_REDIS"),
    (["recs", "u1"], {"REDIS": "nonsense"}, 2, "redis://"),
    (["recs", "\udcff"], {"REDIS": f"redis://{NOWHERE}/0"}, 2, "UTF-8"),
    (["similar", "i1"], {"REDIS": f"redis://u:{PASSWORD}@{NOWHERE}/0"}, 1, "HEADWATER_REDIS"),
    (["explain", "u1", "i1"], {}, 2, "HEADWATER_WORKER__HEALTH_PORT"),
    (["explain", "u1", "i1", "--health", f"http://{NOWHERE}"], {}, 1, "is it running"),
    (["explain", "u1", "i1", "--health", "http://127.0.0.1:x"], {}, 2, "--health"),
    (["explain", "u1", "\udcff", "--log", "no-such-file"], {}, 2, "UTF-8"),
    (["explain", "u1", "i1", "--log", "no-such-file"], {}, 2, "no-such-file"),
    (["inspect", "user", "u1"], {"WORKER__HEALTH_PORT": "1"}, 1, "http://127.0.0.1:1"),
    (["inspect", "thing", "u1"], {}, 2, "thing"),
    (["bench", "nothing"], {}, 2, "nothing"),
    (["--log-level", "LOUD", "replay", "x"], {}, 2, "--log-level"),
    (["no-such-command"], {}, 2, "no-such-command"),
    # Last: a worker bounds the end of its process, which here goes on.
    (["worker"], {"REDIS": f"redis://{NOWHERE}/0"}, 2, "HEADWATER_KAFKA"),
    (["worker"], {"KAFKA": NOWHERE}, 2, "HEADWATER_REDIS"),
    (["worker"], {"TOPICS__PARTITIONS": "many"}, 2, "HEADWATER_TOPICS__PARTITIONS"),
    (["worker"], {"KAFKA": NOWHERE, "REDIS": f"redis://{NOWHERE}/0"}, 1, "HEADWATER_KAFKA"),
]
# Runs each command in one process (importing takes seconds): its code, stdout and stderr.
RUN_EACH = """
import contextlib, io, json, logging, os, sys, traceback
from consumers.cli import main
for command, settings in json.load(sys.stdin):
    ours = {f"HEADWATER_{name}": value for name, value in settings.items()}
    os.environ.update(ours)
    sys.argv = ["headwater", *command]
    out, err = io.StringIO(), io.StringIO()
    logging.getLogger().handlers.clear()  # The log of the one before.
    code = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
    for name in ours:
        del os.environ[name]
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def test_a_failure_is_one_clear_line_and_an_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN_EACH],
        input=json.dumps([case[:2] for case in FAILURES]).encode(),
        capture_output=True,
        env=environment(),
        cwd=ROOT,
        timeout=BOUND_S,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for (command, _, code, words), (got, out, said) in zip(FAILURES, found, strict=True):
        assert (got, out) == (code, ""), (command, said)
        assert words in said and "Traceback" not in said, (command, said)
        assert " ERROR " not in said, (command, said)
        assert PASSWORD not in said, command
    assert PASSWORD not in done.stderr.decode() and b"Traceback" not in done.stderr


def test_a_worker_without_redis_or_with_a_taken_port_says_so(
    deploy: Deploy, free_port: Callable[[], int]
) -> None:
    deployment = deploy()
    away = f"redis://u:s3cr3t@127.0.0.1:{free_port()}/0"
    taken = deployment.redis_url.removeprefix("redis://127.0.0.1:").removesuffix("/0")
    for settings, code in (({"REDIS": away}, 1), ({"WORKER__HEALTH_PORT": taken}, 2)):
        worker = deployment.start(**settings)
        assert worker.wait() == code
        assert worker.log.splitlines()[-1].startswith("headwater: expected"), worker.log
        assert "Traceback" not in worker.log and "s3cr3t" not in worker.log
        worker.log_path.unlink()
