"""`train` as a person calls it: weights that rank."""

import json
from pathlib import Path

import numpy as np
import pytest

from stream.errors import ConfigurationError
from tests.consumers.small_worlds import SMALL, make_world, run
from tests.wire_logs import START_MS


def test_trained_weights_rank(tmp_path: Path) -> None:
    world = make_world(tmp_path)
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


def test_a_log_that_teaches_nothing_makes_no_weights(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    event = {"event_id": "1", "type": "like", "user_id": "u", "item_id": "i", "ts": START_MS}
    log.write_text(json.dumps(event))
    with pytest.raises(ConfigurationError, match="got 1 of which none .* no weights are written"):
        run("train", log, "--out", tmp_path / "weights", *SMALL)
    assert not list(tmp_path.glob("weights/*.json"))


def test_a_repeated_event_teaches_once(tmp_path: Path) -> None:
    log = make_world(tmp_path) / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)[:200]
    again = tmp_path / "again.jsonl"
    log.write_text("".join(lines))
    again.write_text("".join(line * 2 for line in lines))
    once, twice = (run("train", each, "--out", tmp_path / "w", *SMALL) for each in (log, again))
    assert twice["duplicate"] == once["duplicate"] + len(lines)
    names = ("events", "learned")
    assert [twice[name] for name in names] == [once[name] for name in names]
