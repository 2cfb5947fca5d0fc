"""The Markdown table, and the page around it."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.quality_table import BEGIN, END, markdown_table, write_table


def run(what: str, ndcg: float, tested: int = 1_200) -> dict[str, Any]:
    group = {"tested": tested, "hr@10": 0.5, "ndcg@10": 0.25}
    names = ("known_targets", "new_to_user", "users_with_history", "new_items")
    return {
        "what": what, "tested": tested, "hr@10": 0.5, "ndcg@10": ndcg, "mrr@20": 0.125,
        **dict.fromkeys(names, group), "cold_users": {**group, "tested": 0},
        "beyond_accuracy": {
            "coverage": 0.5, "gini": None, "novelty_bits": 8.25, "diversity": 0.75,
            "median_age_h": 120.04,
        },
    }  # fmt: skip


def test_each_log_is_named_once_and_its_best_is_bold() -> None:
    lines = markdown_table(
        [("one", run("recent", 0.1)), ("one", run("fusion", 0.3)), ("two", run("fusion", 0.0))]
    ).splitlines()
    assert len(lines) == 5
    assert {line.count("|") for line in lines} == {17}
    assert lines[2].startswith("| one | 1,200 | recent | .5000 | .1000 | .1250 | .5000 / .2500 |")
    assert lines[3].startswith("|  |  | fusion | **.5000** | **.3000** | **.1250** |")
    assert lines[3].endswith("| – | 0.500 | – | 8.250 | 0.750 | 120.0 |")
    assert lines[4].startswith("| two | 1,200 | fusion | .5000 | .0000 | .1250 |")


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    write_table(path, "| a |\n")
    assert path.read_text() == f"{BEGIN}\n\n| a |\n\n{END}\n"
    path.write_text(f"Before.\n\n{path.read_text()}\nAfter.\n")
    write_table(path, "| b |\n")
    assert path.read_text() == f"Before.\n\n{BEGIN}\n\n| b |\n\n{END}\n\nAfter.\n"


def test_a_page_without_marks_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("Words.\n")
    with pytest.raises(ValueError, match="--table: expected .* to be new, or to have the lines"):
        write_table(path, "| a |\n")
    assert path.read_text() == "Words.\n"


def test_the_page_of_the_project_can_be_written_by_the_command() -> None:
    text = (Path(__file__).parents[2] / "docs" / "quality.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.index(BEGIN) < text.index(END)
