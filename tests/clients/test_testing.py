"""The pytest plugin around commands that are not there, break, or answer as the engine does."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from tests.clients.pytest_runs import run_pytest

USES = """
def test_engine(engine):
    assert engine.kafka

def test_addresses(kafka, redis):
    assert kafka and redis

def test_replay(replay):
    assert replay([{"event_id": "e"}], settings={"EPOCH": 7}).read == 1

def test_without():
    pass
"""
FIGURES = {
    **dict.fromkeys(("read", "applied"), 1),
    **dict.fromkeys(("duplicate", "late", "rejected", "filtered", "routed"), 0),
    **{"users": 1, "items": 1, "digest": "d", "digest_rows": "r", "evicted": 0, "overflowed": 0},
    "seconds": 0.5,
}
ADDRESSES = {"kafka": "127.0.0.1:1", "redis": "redis://127.0.0.1:2/0", "health": "http://h"}
# Says what it was called with, then answers by its first word until SIGTERM.
PLAYED = f"""
import json, os, signal, sys
with open("calls.jsonl", "a") as calls:
    ours = {{k: v for k, v in os.environ.items() if k.startswith("HEADWATER_")}}
    print(json.dumps([sys.argv[1:], ours]), file=calls)
def leave(*_):
    open("ended", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
if sys.argv[1] == "replay":
    print("not the last line")
    print({json.dumps(FIGURES)!r})
else:
    print({json.dumps(ADDRESSES)!r}, flush=True)
    signal.pause()
"""


def played(folder: Path, script: str) -> str:
    """Return a command that runs a script in the engine's place."""
    path = folder / "played.py"
    path.write_text(script)
    return shlex.join([sys.executable, str(path)])


def test_without_the_command_tests_are_skipped_with_the_reason(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, USES, HEADWATER_COMMAND="no-such-headwater --flag")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 3 skipped" in done.stdout
    assert "expected Headwater's command 'no-such-headwater --flag' on the PATH" in done.stdout


def test_the_command_is_used_and_ended_and_sees_only_its_own_settings(tmp_path: Path) -> None:
    settings = """
import pytest

@pytest.fixture(scope="session")
def headwater_settings():
    return {"TOPICS__PARTITIONS": 2}
"""
    done = run_pytest(
        tmp_path,
        settings + USES,
        *("--headwater-command", played(tmp_path, PLAYED)),
        HEADWATER_COMMAND="no-such-headwater",
        HEADWATER_KAFKA="production:9092",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "ended").exists()
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    (up, up_settings), (replayed, replay_settings) = calls
    assert up == ["up", "--json"]
    assert up_settings["HEADWATER_TOPICS__PARTITIONS"] == "2"
    assert "HEADWATER_KAFKA" not in up_settings
    assert replayed[0] == "replay" and replayed[2:] == ["--partitions", "4", "--json"]
    assert replay_settings == {"HEADWATER_TOPICS__PARTITIONS": "2", "HEADWATER_EPOCH": "7"}


def test_a_command_that_breaks_is_shown_with_what_it_said(tmp_path: Path) -> None:
    breaks = "import sys; print('half'); sys.exit('headwater: expected a fine day, got rain')"
    done = run_pytest(tmp_path, USES, HEADWATER_COMMAND=played(tmp_path, breaks))
    assert done.returncode == 1
    assert "1 failed, 1 passed, 2 errors" in done.stdout
    assert done.stdout.count("expected a fine day, got rain") >= 3
    assert "EngineFailed" in done.stdout


def test_a_replay_needs_its_file_and_no_server(tmp_path: Path) -> None:
    reads = """
import json
import pytest
from pathlib import Path
from headwater_client import EngineFailed

def test_there_is_no_such_log(replay):
    with pytest.raises(EngineFailed, match="expected a log at nowhere.jsonl, there is nothing"):
        replay("nowhere.jsonl")
    with pytest.raises(EngineFailed, match="expected a log at items.jsonl"):
        replay([{}], items="items.jsonl")
    assert not Path("calls.jsonl").exists()

def test_servers_of_settings_are_for_the_engine(replay):
    replay([{}], settings={"KAFKA": "h:1", "REDIS": "redis://h:1", "EPOCH": 7})
    (call,) = Path("calls.jsonl").read_text().splitlines()
    assert json.loads(call)[1] == {"HEADWATER_EPOCH": "7"}
"""
    done = run_pytest(tmp_path, reads, HEADWATER_COMMAND=played(tmp_path, PLAYED))
    assert done.returncode == 0, done.stdout


def test_logs_are_given_as_files_models_dictionaries_or_json(tmp_path: Path) -> None:
    reads = """
import json
from pathlib import Path
from headwater_client import Interaction, Item

EVENT = {"event_id": "e", "type": "like", "user_id": "u", "item_id": "i", "ts": 5}

def test_logs(replay):
    Path("log.jsonl").write_text(json.dumps(EVENT) + "\\n")
    logs = ["log.jsonl", Path("log.jsonl"), [Interaction(**EVENT)], [EVENT],
            [json.dumps(EVENT).encode() + b"\\n"]]
    items = [Item(item_id="i", author_id="a", created_at=1)]
    for log in logs:
        replay(log, items=items, partitions=1)
    for line in Path("calls.jsonl").read_text().splitlines():
        words, _ = json.loads(line)
        assert [json.loads(each) for each in Path(words[1]).read_text().splitlines()] == [EVENT]
        assert words[2:6] == ["--partitions", "1", "--json", "--items"]
        assert '"author_id":"a"' in Path(words[6]).read_text()
"""
    done = run_pytest(tmp_path, reads, HEADWATER_COMMAND=played(tmp_path, PLAYED))
    assert done.returncode == 0, done.stdout
