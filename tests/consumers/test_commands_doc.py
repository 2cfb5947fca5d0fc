"""Answers in docs/commands.md have the fields that the commands print; completion works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from consumers.command_samples import SAMPLES, VERDICTS
from consumers.commands import app
from consumers.commands_doc import all_commands, pretty
from consumers.lists import decode_list
from consumers.simulated_logs import write_logs
from local.simulator import Simulator

SMALL = ("--set", "users.max_users=1000", "--set", "catalogue.dim=16")
# Their entries depend on the log, not on the command.
OPEN = {"features", "in_redis", "results", "settings", "popularity"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    simulator = Simulator(seed=3, num_users=20, num_items=60, events_per_s=60.0)
    write_logs(simulator, folder / "log.jsonl", folder / "items.jsonl", 10.0)
    return folder


def fields(value: Any, path: str = "") -> Iterator[str]:
    """Yield dotted names of all fields; of a list those of its first entry."""
    if isinstance(value, list) and value:
        yield from fields(value[0], f"{path}[]")
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield f"{path}.{name}"
            if name not in OPEN:
                yield from fields(each, f"{path}.{name}")


def run(*arguments: str, code: int = 0) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == code, result.stdout + result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def assert_same_fields(came: Mapping[str, Any], name: str, title: str | None = None) -> None:
    sample = SAMPLES[name]
    shown = sample.others[title] if title else sample.answer
    assert set(fields(came)) == set(fields(shown)), name


def test_explain_and_inspect_print_what_is_shown(world: Path) -> None:
    log = ("--log", str(world / "log.jsonl"), "--items", str(world / "items.jsonl"), *SMALL)
    first = json.loads((world / "log.jsonl").read_text().splitlines()[0])["user_id"]
    user = run("inspect", "user", first, *log)
    assert_same_fields(user, "inspect")
    listed = [each["id"] for each in user["list"]["items"]]
    assert_same_fields(run("inspect", "item", listed[0], *log), "inspect", "inspect item")
    assert_same_fields(run("explain", first, listed[3], *log), "explain")


def test_replay_evaluate_train_and_simulate_print_what_is_shown(
    world: Path, tmp_path: Path
) -> None:
    log = str(world / "log.jsonl")
    assert_same_fields(run("replay", log, *SMALL), "replay")
    few = ("--limit", "200", *SMALL)
    # Fields within the means belong to the evaluation, the shape of the whole is the command's.
    evaluated = run("evaluate", log, *few)
    assert list(evaluated) == list(SAMPLES["evaluate"].answer or ())
    assert_same_fields(run("train", log, "--out", str(tmp_path / "weights"), *few), "train")
    out = ("--out", str(tmp_path / "l"), "--items-out", str(tmp_path / "i"))
    assert_same_fields(run("simulate", "--seconds", "1", *out), "simulate")


def test_doctor_prints_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA", "REDIS"):
        monkeypatch.delenv(f"HEADWATER_{name}", raising=False)
    monkeypatch.setenv("HEADWATER_DATA_DIR", str(tmp_path))
    assert_same_fields(run("doctor", code=1), "doctor")


def test_lists_are_shown_with_their_fields() -> None:
    found = decode_list(
        "rec:{ann}",
        {
            b"items": b'[{"id": "x", "score": 1.0, "sources": ["fresh"]}]',
            b"version": b"1", b"generated_at": b"5", b"events_to": b"4", b"model": b"fusion",
        },
    )  # fmt: skip
    assert_same_fields(found, "recs")
    assert_same_fields(found, "similar")


def test_every_verdict_is_explained() -> None:
    sources = (Path(__file__).parents[2] / "stream").glob("explain*.py")
    text = "".join(path.read_text() for path in sources)
    words = set(re.findall(r'_verdict\(\s*"(\w+)"', text))
    assert words | {"in_list"} == set(VERDICTS)


def test_long_answers_break_and_stay_json() -> None:
    for sample in SAMPLES.values():
        for answer in [sample.answer, *sample.others.values()]:
            text = pretty(answer)
            assert json.loads(text) == answer
            assert all(len(line) <= 200 for line in text.splitlines())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_printed(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The shell is named here; a person's is found from the process that called.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    result = CliRunner().invoke(app, ["--show-completion", shell], prog_name="headwater")
    assert result.exit_code == 0 and "_HEADWATER_COMPLETE" in result.stdout


def test_words_are_completed() -> None:
    for words, expected in (
        ("headwater ex", "explain"),
        ("headwater explain --he", "--health"),
        ("headwater inspect us", "user"),
        ("headwater evaluate --source tr", "trending"),
        ("headwater evaluate --ranker ne", "network"),
        ("headwater evaluate --compare it", "item-cf"),
        ("headwater evaluate --repeats ex", "exclude"),
        ("headwater bench dec", "decode"),
        ("headwater dead-letters list --reason bad_j", "bad_json"),
    ):
        result = CliRunner().invoke(
            app,
            [],
            prog_name="headwater",
            env={
                "_HEADWATER_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
            },
        )
        assert expected in result.stdout.split(), result.stdout + result.stderr


def test_completion_and_help_do_not_wait_for_torch() -> None:
    code = "import sys, consumers.commands; print(sorted({'torch', 'faust'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_that_ranks_by_fusion_does_not_wait_for_torch() -> None:
    code = (
        "import sys, consumers.run_worker; from consumers.configuration import load_settings;"
        "from consumers.rankers import choose_ranker; from consumers.weights_watch import *;"
        "settings = load_settings(['ranking.ranker=fusion']); ranker = choose_ranker(settings);"
        "print(watch_weights(settings, ranker), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]


def test_every_command_is_in_the_root_help() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert all(name in text for name in commands)
    assert "--install-completion" in text


def test_arguments_have_one_name_in_help_and_docs() -> None:
    named = {
        name: [each.metavar for each in command.params if not each.opts[0].startswith("-")]
        for name, command in all_commands().items()
    }
    for name, words in named.items():
        assert all(word is not None and word.isupper() for word in words), name
    for name in ("produce", "replay", "evaluate", "train"):
        assert named[name] == ["LOG"]
        usage = CliRunner().invoke(app, [name, "--help"]).stdout.split("LOG", 1)
        assert "Usage" in usage[0], name
