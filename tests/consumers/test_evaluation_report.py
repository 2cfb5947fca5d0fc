"""Tables of an evaluation: every figure can be read, on a screen of 80 columns and in a file."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.evaluation_report import print_evaluation
from consumers.evaluations import Evaluation
from stream.candidates import SOURCES

MEANS = {"tested": 12_345, "hr@10": 0.1234, "ndcg@10": 0.0567, "mrr@20": 0.0456, "hr@20": 0.2345}
GROUPS = ("known_targets", "new_to_user", "users_with_history", "cold_users", "new_items")
BEYOND = {
    "lists": 8_185,
    "coverage": 0.769,
    "gini": 0.826,
    "novelty_bits": 12.282,
    "diversity": 0.541,
    "median_age_h": 2_503.72,
}
INTERVAL = {"difference": 0.0012, "low": -0.0020, "high": 0.0027, "p": 0.74}


def evaluation() -> Evaluation:
    run: dict[str, Any] = {
        **MEANS,
        **{name: MEANS for name in GROUPS},
        "by_decile": [{**MEANS, "ndcg@10": 0.0501 + place / 1000} for place in range(10)],
        "beyond_accuracy": BEYOND,
    }
    metrics = ("hr@10", "ndcg@10", "mrr@20")
    compared = {"first": "item-cf", "second": "fusion", **dict.fromkeys(metrics, INTERVAL)}
    return Evaluation(
        log="[bold]log.jsonl",
        num_events=20_000,
        runs=[{**run, "what": name} for name in (*SOURCES, "fusion", "network")],
        comparisons=[compared],
        settings={"ranking.repeats": "allow"},
    )


@pytest.mark.parametrize("columns", ["80", None])
def test_no_figure_is_cut(
    columns: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    print_evaluation(evaluation())
    lines = capsys.readouterr().out.splitlines()
    deciles = " ".join(f".0{500 + 1 + place * 10}" for place in range(10))
    for name in SOURCES:
        assert any(line.split() == [name, *deciles.split()] for line in lines), lines
    assert "[bold]log.jsonl: 20,000 events" in lines[0]
    # An ellipsis stands between the ends of an interval only.
    assert not [line for line in lines if "…" in line and " … " not in line]
    if columns is not None:
        assert max(map(len, lines)) <= int(columns)


def test_a_part_without_tests_has_no_figure(capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluation()
    for run in found.runs:
        run["cold_users"] = dict.fromkeys(MEANS, 0)
        run["by_decile"][3] = dict.fromkeys(MEANS, 0)
    print_evaluation(found)
    said = capsys.readouterr().out
    assert ".0000 / .0000" not in said
    (row,) = [line for line in said.splitlines() if line.startswith("recent") and ".0501" in line]
    assert row.split()[4] == "–"
