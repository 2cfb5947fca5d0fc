"""Progress where nobody watches: lines on stderr, few, and none of quick work."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from consumers import console
from consumers.commands import app
from consumers.console import Bar, ProgressLines, progress_bar
from tests.consumers.small_worlds import SMALL, make_world


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def lines_of(
    capsys: pytest.CaptureFixture[str], steps: list[tuple[float, int]], total: int | None
) -> list[str]:
    clock = Clock()
    lines = ProgressLines("reading", total, now_s=clock)
    for clock.now_s, done in steps:
        lines.update(done)
    return capsys.readouterr().err.splitlines()


def test_a_line_per_tenth_of_what_is_known_in_all(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [(each / 2, 1_000 * each) for each in range(201)]
    assert lines_of(capsys, steps, 200_000) == [
        f"reading: {20_000 * n:,} of 200,000, {10 * n} s" for n in range(1, 11)
    ]
    assert lines_of(capsys, steps, 10_000_000) == ["reading: 120,000 of 10,000,000, 60 s"]


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys, [(0.04 * each, each) for each in range(101)], 100) == []


def test_tenths_that_pass_at_once_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [(4.0, 30), (6.0, 40), (7.0, 90), (10.9, 99), (11.0, 99), (12.0, 100), (16.0, 100)]
    assert lines_of(capsys, steps, 100) == [
        "reading: 40 of 100, 6 s", "reading: 99 of 100, 11 s", "reading: 100 of 100, 16 s",
    ]  # fmt: skip


def test_what_has_no_end_says_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [(float(each), 1000 * each) for each in range(150)]
    assert lines_of(capsys, steps, None) == [
        "reading: 60,000 so far, 60 s", "reading: 120,000 so far, 120 s",
    ]  # fmt: skip


def test_a_terminal_gets_a_bar_and_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(console, "errors", Console(file=screen, force_terminal=True))
    monkeypatch.setattr(console, "_LINE_AFTER_S", 0.0)
    with progress_bar("reading", total=10) as bar:
        assert isinstance(bar, Bar)
        bar.update(10)
    assert "10/10" in screen.getvalue()
    assert "10 of 10" not in screen.getvalue()


def test_progress_of_a_command_goes_to_stderr_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = make_world(tmp_path) / "log.jsonl"
    monkeypatch.setattr(console, "_LINE_AFTER_S", 0.0)
    result = CliRunner().invoke(
        app, ["evaluate", str(log), "--source", "recent", "--no-live", "--json", *SMALL]
    )
    (line,) = result.stdout.splitlines()
    events = json.loads(line)["events"]
    said = [each for each in result.stderr.splitlines() if each.startswith("evaluating recent on")]
    assert len(said) == 9  # The warm-up, two tenths, is one step.
    assert said[-1].startswith(f"evaluating recent on log.jsonl: {events:,} of {events:,}, ")
