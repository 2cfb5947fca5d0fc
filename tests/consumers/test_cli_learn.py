"""`train` as a person calls it: weights that rank."""

from pathlib import Path

import numpy as np

from tests.consumers.small_worlds import SMALL, make_world, run


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
