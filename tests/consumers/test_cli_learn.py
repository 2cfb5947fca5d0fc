"""`evaluate` and `train` as a person calls them: the summary's contract, errors, weights."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from consumers.cli import app
from consumers.simulated_logs import write_logs
from local.simulator import Simulator
from stream.errors import ConfigurationError

MEANS = ["tested", "hr@10", "ndcg@10", "mrr@20", "hr@20"]
CONTRACT = [
    "events", *MEANS, "known_targets", "new_to_user", "users_with_history", "by_decile",
    "live_neighbours", "settings", "seconds",
]  # fmt: skip
SMALL = ["--set", "users.max_users=1000", "--set", "catalogue.dim=16"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated log of some hundred events with its items log."""
    folder = tmp_path_factory.mktemp("world")
    simulator = Simulator(seed=3, num_users=40, num_items=60, events_per_s=40.0)
    write_logs(simulator, folder / "log.jsonl", folder / "items.jsonl", 10.0)
    return folder


def run(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    summary: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return summary


def test_the_summary_keeps_its_contract(world: Path) -> None:
    summary = run("evaluate", world / "log.jsonl", "--items", world / "items.jsonl", *SMALL)
    assert [name for name in summary if name in CONTRACT] == CONTRACT
    assert summary["tested"] >= summary["known_targets"]["tested"]
    assert summary["known_targets"]["tested"] >= summary["new_to_user"]["tested"]
    for group in ("known_targets", "new_to_user", "users_with_history", "live_neighbours"):
        assert [name for name in summary[group] if name in MEANS] == MEANS
    assert len(summary["by_decile"]) == 10
    assert summary["settings"] == {
        "users.max_users": 1000, "catalogue.dim": 16, "ranking.repeats": "allow",
    }  # fmt: skip


def test_sources_alone_and_every_kth(world: Path) -> None:
    every = run("evaluate", world / "log.jsonl", "--source", "recent", "--every", 4, *SMALL)
    each = run("evaluate", world / "log.jsonl", "--source", "recent", "--no-live", *SMALL)
    assert every["what"] == "recent"
    assert 4 * every["tested"] == pytest.approx(each["tested"], abs=40)
    assert "live_neighbours" not in each
    excluded = run(
        "evaluate", world / "log.jsonl", "--source", "recent", "--repeats", "exclude", *SMALL
    )
    assert excluded["hr@20"] == 0.0 < each["hr@20"]


def test_trained_weights_rank(world: Path, tmp_path: Path) -> None:
    logs = (world / "log.jsonl", "--items", world / "items.jsonl", "--repeats", "exclude")
    trained = run("train", *logs, "--out", tmp_path / "weights", *SMALL)
    assert trained["learned"] > 50
    assert Path(trained["weights"]).is_file()
    weights = f"ranking.weights={tmp_path / 'weights'}"
    summary = run(
        "evaluate",
        *logs,
        "--ranker",
        "network",
        "--every",
        3,
        "--no-live",
        "--set",
        weights,
        *SMALL,
    )
    assert summary["tested"] > 50
    assert np.isfinite(summary["ndcg@10"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--source", "nothing"], "--source: expected one of cooccurrence, .*got 'nothing'"),
        (["--ranker", "oracle"], "--ranker: expected one of fusion, network; got 'oracle'"),
        (["--source", "recent", "--ranker", "fusion"], "expected one of --source and --ranker"),
        (["--repeats", "some"], "--repeats: expected one of allow, exclude"),
        (["--set", "users.nothing=1"], "--set expects NAME=VALUE"),
        (["--items", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_wrong_arguments_are_refused(world: Path, arguments: list[str], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        CliRunner().invoke(
            app, ["evaluate", str(world / "log.jsonl"), *arguments], catch_exceptions=False
        )


def test_a_log_without_events_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("{}\n")
    with pytest.raises(ConfigurationError, match="expected a wire log with events"):
        CliRunner().invoke(app, ["evaluate", str(log)], catch_exceptions=False)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "source", "least"),
    [
        ("ml-100k", "item-cf", 0.05),
        ("article-actions", "cooccurrence", 0.25),
        ("article-actions", "trending", 0.15),
    ],
)
def test_public_logs_are_predicted(name: str, source: str, least: float) -> None:
    folder = Path(os.environ.get("HEADWATER_TEST_DATA", ""), name)
    if "HEADWATER_TEST_DATA" not in os.environ or not folder.is_dir():
        pytest.skip(f"HEADWATER_TEST_DATA names no folder with {name}")
    summary = run(
        "evaluate", folder, "--source", source, "--limit", 4000, "--no-live",
        "--set", "users.link_ms=31536000000",
    )  # fmt: skip
    assert summary["events"] == 4000
    assert summary["tested"] == 3200
    assert summary["hr@10"] > least
