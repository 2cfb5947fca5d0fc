"""Benchmarks by name: a checkout's are found and run, an installed wheel says it has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumers import benches
from consumers.benches import benchmark_names, run_benchmark
from consumers.commands import app
from stream.errors import ConfigurationError


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with three benchmarks: one that works, one that fails, one that says nothing."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "bench_decode.py").write_text(
        "import json, sys; print('starting')\n"
        "print(json.dumps({'options': sys.argv[1:], 'rate': {'x': 2}}))"
    )
    (folder / "bench_bad.py").write_text("raise SystemExit('no broker here')")
    (folder / "bench_mute.py").write_text("print('nothing')")
    (folder / "fold_events.py").write_text("raise SystemExit(1)")
    monkeypatch.setattr(benches, "ROOT", tmp_path)
    return tmp_path


def bench(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["bench", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.stdout + result.stderr
    return result.stdout


def test_a_checkouts_benchmarks_are_found() -> None:
    names = benchmark_names()
    assert {"decode", "network", "refresh", "sink"} <= set(names) and names == sorted(names)
    assert bench("--list").split() == names


def test_an_installed_wheel_says_that_it_has_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no part of the wheel; clone the repository"):
        benchmark_names(tmp_path)


def test_quick_defaults_and_full_ones(checkout: Path) -> None:
    quick = run_benchmark("decode", root=checkout)
    assert quick.figures["options"] == ["--events", "5000", "--rounds", "3"]
    full = run_benchmark("decode", is_full=True, root=checkout)
    assert full.figures["options"] == [] and full.error == ""


def test_a_benchmark_never_sees_the_servers_of_settings(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_REDIS", "redis://lists.of.users/0")
    (checkout / "benchmarks" / "bench_env.py").write_text(
        "import json, os; print(json.dumps({'redis': os.environ.get('HEADWATER_REDIS')}))"
    )
    assert run_benchmark("env", root=checkout).figures == {"redis": None}


def test_what_fails_says_why(checkout: Path) -> None:
    assert "no broker here" in run_benchmark("bad", root=checkout).error
    assert "one line of JSON" in run_benchmark("mute", root=checkout).error


def test_the_command_prints_a_table_or_json_and_fails_when_one_fails(checkout: Path) -> None:
    table = bench("decode")
    assert "decode" in table and "rate.x" in table
    summary = json.loads(bench("decode", "bad", "--json", code=1).splitlines()[-1])
    assert summary["results"]["decode"]["rate"] == {"x": 2}
    assert "exit code 1" in summary["failures"]["bad"]
    with pytest.raises(ConfigurationError, match="bad, decode, mute; got nothing"):
        bench("nothing")
