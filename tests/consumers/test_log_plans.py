"""A file that says what is different for single logs."""

from pathlib import Path

import pytest

from consumers.log_plans import LogPlan, read_log_plans
from stream.errors import ConfigurationError


def test_a_section_becomes_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "logs.toml"
    path.write_text(
        "[one]\nevery = 4\n[two]\nlimit = 10\n"
        "[two.tuned]\nusers.max_lags = 20\nitems.windows_ms = [60_000, 3_600_000]\n"
        '[two.tuned.ranking]\nranker = "fusion"\n'
    )
    assert read_log_plans(path) == {
        "one": LogPlan(every=4),
        "two": LogPlan(
            limit=10,
            tuned=(
                "users.max_lags=20",
                "items.windows_ms=[60000, 3600000]",
                'ranking.ranker="fusion"',
            ),
        ),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[one", "expected a TOML file with a section per log, got .*: Expected ']'"),
        ("one = 1", r"expected a section \[one\], got one = 1"),
        ("[one]\neach = 2", r"expected in \[one\] every and limit .*; got each"),
        ("[one]\nevery = 0", r"expected in \[one\] every and limit .*; got every"),
        ("[one]\nlimit = true", r"expected in \[one\] every and limit .*; got limit"),
        ("[one]\ntuned = 3", r"expected in \[one\] every and limit .*; got tuned"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "logs.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=expected):
        read_log_plans(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--per-log: expected a TOML file .*No such"):
        read_log_plans(tmp_path / "absent.toml")
