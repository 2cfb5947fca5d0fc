"""The demo's verdict: good only where nothing was rejected and nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from consumers.demo import DemoOptions, WorkerProcess, _Run
from consumers.produce_report import ProduceReport
from consumers.stack import Stack
from stream.errors import ServerUnreachable
from stream.settings import Settings


class EndedWorker:
    def last_words(self) -> str:
        return "its last words"


OPTIONS = DemoOptions(
    seconds=1, headless=True, events_per_s=1, speed=1, num_users=10, num_items=50, seed=1
)
STATS: dict[str, Any] = {
    "read": 103, "applied": 90, "duplicate": 8, "late": 2, "rejected": 0, "filtered": 0,
    "routed": 3, "lists_written": 70, "users_with_list": 50, "lag": 0, "model": "fusion",
    "freshness_ms": {"p50": 1.0, "p99": 2.0, "max": 3.0, "outstanding": 0},
}  # fmt: skip


def judge(
    stats: dict[str, Any], *, exit_code: int = 0, **produced: Any
) -> tuple[dict[str, Any], bool]:
    worker = cast(WorkerProcess, EndedWorker())
    run = _Run(Settings(), OPTIONS, cast(Stack, None), worker, started=0.0)
    run._report = ProduceReport(**{"acknowledged": 100, **produced})
    return run._judge(stats, exit_code)


def test_a_run_that_lost_nothing_is_good() -> None:
    summary, is_good = judge(STATS)
    assert is_good and summary["exit_reason"] == "done"
    assert summary["produced"] == summary["read"] - summary["routed"] == 100


@pytest.mark.parametrize(
    ("stats", "rest", "reason"),
    [
        ({"read": 102}, {}, "produced 100 but read 99"),
        ({"lag": 4}, {}, "4 records not read"),
        ({"rejected": 1}, {}, "1 rejected"),
        ({"freshness_ms": {**STATS["freshness_ms"], "outstanding": 5}}, {}, "5 events without"),
        ({}, {"failed": 2, "error": "no broker"}, "producing failed: no broker"),
        ({}, {"exit_code": 1}, "the worker ended with exit code 1"),
    ],
)
def test_each_loss_makes_it_bad_and_is_named(
    stats: dict[str, Any], rest: dict[str, Any], reason: str
) -> None:
    summary, is_good = judge({**STATS, **stats}, **rest)
    assert not is_good
    assert reason in summary["exit_reason"]


def test_a_worker_that_does_not_answer_has_no_figures(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    worker = WorkerProcess(
        Settings(), kafka="", redis="", data_dir=tmp_path, log_path=tmp_path / "log"
    )
    worker.health = f"http://127.0.0.1:{free_port()}"

    async def ask() -> object:
        async with aiohttp.ClientSession() as session:
            return await worker.stats(session)

    assert asyncio.run(ask()) is None


def test_a_worker_that_ended_early_says_its_last_words() -> None:
    with pytest.raises(ServerUnreachable, match="its last words"):
        judge({})
