"""`explain`, `inspect` and `similar` as a person calls them, on a replayed log and on Redis."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from typer.testing import CliRunner, Result

from consumers.commands import app
from local.redis import RedisServer
from stream.errors import ConfigurationError, HeadwaterError
from tests.wire_logs import wire_log

SMALL = ["--set", "users.max_users=500", "--set", "catalogue.dim=16", "--partitions", "2"]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    path.write_bytes(b"\n".join(wire_log(600)) + b"\n")
    return path


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_WORKER__HEALTH_PORT", raising=False)


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def answer(*arguments: str | Path) -> dict[str, Any]:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_a_replay_explains_its_list_in_json_and_in_words(log: Path) -> None:
    user = answer("inspect", "user", "u1", "--log", log, *SMALL)
    first = user["list"]["items"][0]["id"]
    explained = answer("explain", "u1", first, "--log", log, *SMALL)
    assert (explained["verdict"], explained["reranking"]["place"]) == ("in_list", 1)
    text = call("explain", "u1", first, "--log", log, *SMALL).stdout
    assert f"{first} for u1: in the list" in text
    assert "place 1 of" in text and "proposed by" in text
    seen = user["history"][0]["item_id"]
    assert "not there: seen" in call("explain", "u1", seen, "--log", log, *SMALL).stdout


def test_people_and_items_are_shown_in_words(log: Path) -> None:
    user = call("inspect", "user", "u1", "--log", log, *SMALL).stdout
    assert "history, newest first" in user and "list by fusion" in user
    item = call("inspect", "item", "i1", "--log", log, *SMALL).stdout
    assert "item i1: provisional" in item and "counts per window" in item


@pytest.mark.parametrize("kind", ["user", "item"])
def test_who_is_unknown_ends_with_one(log: Path, kind: str) -> None:
    result = call("inspect", kind, "nobody", "--log", log, *SMALL)
    assert result.exit_code == 1 and "'nobody'" in result.stderr
    result = call("inspect", kind, "nobody", "--log", log, "--json", *SMALL)
    assert json.loads(result.stdout.splitlines()[-1])["is_known"] is False


def test_who_was_erased_is_said_to_be(log: Path, tmp_path: Path) -> None:
    lines = log.read_bytes().splitlines()
    newest_ms = max(json.loads(line)["ts"] for line in lines)
    erase = {"event_id": "erase-1", "type": "erase", "user_id": "u1", "ts": newest_ms}
    path = tmp_path / "erased.jsonl"
    path.write_bytes(b"\n".join([*lines, json.dumps(erase).encode(), b""]))
    result = call("inspect", "user", "u1", "--log", path, *SMALL)
    assert result.exit_code == 1 and "erased at offset" in result.stderr


def test_ids_are_printed_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    odd = "[bold]:smile:"
    path.write_bytes(
        b"\n".join(line.replace(b'"i1"', json.dumps(odd).encode()) for line in wire_log(200))
    )
    assert odd in call("inspect", "item", odd, "--log", path, *SMALL).stdout
    assert odd in call("explain", "u1", odd, "--log", path, *SMALL).stdout


def test_a_worker_that_is_gone_does_not_hide_the_next_one() -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"is_known": True, "asked": self.path}).encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            gone, there = "http://127.0.0.1:1", f"http://127.0.0.1:{server.server_port}"
            result = call("inspect", "user", "u1", "--health", gone, "--health", there, "--json")
        finally:
            server.shutdown()
            thread.join()
    assert json.loads(result.stdout) == {"is_known": True, "asked": "/inspect/user?id=u1"}
    assert gone in result.stderr and "asking the next one" in result.stderr


@pytest.mark.parametrize("command", [("explain", "u1", "i1"), ("inspect", "user", "u1")])
def test_what_asks_a_worker_and_a_log_at_once_is_refused(command: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="--health .* or --log .* got both"):
        call(*command, "--health", "http://127.0.0.1:1", "--log", "log.jsonl")
    with pytest.raises(ConfigurationError, match="--items, --set: expected beside --log"):
        call(*command, "--items", "items.jsonl", "--set", "catalogue.dim=16")


def test_neither_worker_nor_log_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--health"):
        call("explain", "u1", "i1")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("{}\n")
    with pytest.raises(ConfigurationError, match="found none that can be used"):
        call("explain", "u1", "i1", "--log", empty)


@pytest.mark.redis
def test_similar_items_are_read_or_said_to_be_missing(
    redis_server: Callable[..., RedisServer],
) -> None:
    url = redis_server().url
    with Redis.from_url(url) as redis:
        items = [{"id": "b", "score": 0.5, "sources": []}]
        fields = {"items": json.dumps(items), "version": "1", "generated_at": 1, "events_to": 2}
        redis.hset("sim:{a}", mapping={**fields, "model": "similar"})
        redis.hset("sim:{b}", "cart", "7")
    found = answer("similar", "a", "--redis", url)
    assert found["key"] == "sim:{a}" and found["items"] == items
    assert "b  0.5000" in call("similar", "a", "--redis", url).stdout
    with pytest.raises(HeadwaterError, match=r"'sim:\{b\}', something else .* 'generated_at'"):
        call("similar", "b", "--redis", url)
    missing = call("similar", "nothing", "--redis", url)
    assert missing.exit_code == 1 and "no similar items for 'nothing'" in missing.stderr
