"""Questions to a worker: one at a time, bounded, to this machine alone."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from redis.exceptions import ConnectionError as RedisGone

from consumers.health import HealthServer
from consumers.lists import place_in_list
from consumers.metrics_registry import MetricsRegistry
from consumers.questions import StateQuestions
from consumers.state_thread import WorkThread
from consumers.worker_client import ask_worker, health_of
from stream.errors import (
    ConfigurationError,
    HeadwaterError,
    PartitionElsewhere,
    ServerUnreachable,
)


class Answers:
    """Answers at once, or once it is let; remembers on which threads."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.threads: set[str] = set()

    def explain(self, user_id: bytes, item_id: bytes) -> dict[str, Any]:
        self.threads.add(threading.current_thread().name)
        self.asked.set()
        assert self.go_on.wait(60)
        if user_id == b"far":
            message = "user 'far' is in partition 3"
            raise PartitionElsewhere(message)
        return {"user_id": user_id.decode(), "item_id": item_id.decode()}

    def inspect_user(self, user_id: bytes) -> dict[str, Any]:
        return {"user_id": user_id.decode(), "is_known": True}

    def inspect_item(self, item_id: bytes) -> dict[str, Any]:
        return {"item_id": item_id.decode(), "is_known": False}


async def no_list(key: str) -> dict[Any, Any]:
    return {}


def ask(
    run: Callable[[aiohttp.ClientSession, str], Awaitable[Any]],
    answers: Answers | None = None,
    read_list: Callable[[str], Awaitable[dict[Any, Any]]] = no_list,
    timeout_s: float = 60.0,
) -> Any:
    """Run a client against a health server with questions; return what the client returns."""
    state = WorkThread("state")
    questions = StateQuestions(
        answers or Answers(),  # type: ignore[arg-type]
        state=state,
        read_list=read_list,
        timeout_s=timeout_s,
    )

    async def serve() -> Any:
        server = HealthServer(
            registry=MetricsRegistry(),
            why_stuck=list,
            why_not_ready=list,
            routes=questions.routes(),
        )
        await server.start()
        try:
            async with aiohttp.ClientSession() as session:
                return await run(session, server.url)
        finally:
            await server.stop()

    try:
        return asyncio.run(serve())
    finally:
        state.close()


async def get(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, Any]:
    async with session.get(url, headers=headers) as reply:
        return reply.status, await reply.json()


def test_an_answer_is_computed_on_the_state_thread() -> None:
    answers = Answers()
    status, body = ask(
        lambda session, url: get(session, f"{url}/explain?user=a%20b&item=i"), answers
    )
    assert (status, body) == (200, {"user_id": "a b", "item_id": "i", "in_redis": None})
    assert [name.split("_")[0] for name in answers.threads] == ["state"]


def test_a_user_comes_with_the_list_in_redis() -> None:
    async def one_list(key: str) -> dict[Any, Any]:
        assert key == "rec:{ann}"
        return {
            b"items": b'[{"id": "x"}]', b"version": b"1", b"generated_at": b"5",
            b"events_to": b"4", b"model": b"fusion",
        }  # fmt: skip

    path = "/inspect/user?id=ann"
    _, body = ask(lambda session, url: get(session, url + path), read_list=one_list)
    assert body["list"]["items"] == [{"id": "x"}] and body["list"]["model"] == "fusion"
    _, body = ask(lambda session, url: get(session, url + path))
    assert body["list"] is None


def test_an_explanation_says_where_the_list_in_redis_has_the_item() -> None:
    assert place_in_list(None, "x") is None
    listed = {"items": [{"id": "w"}, {"id": "x"}], "model": "fusion", "age_ms": 5}
    found = place_in_list(listed, "x")
    assert found == {"place": 2, "size": 2, "model": "fusion", "age_ms": 5}
    assert (place_in_list(listed, "y") or {})["place"] is None


def test_without_redis_the_rest_is_answered() -> None:
    async def gone(key: str) -> dict[Any, Any]:
        message = "connection refused"
        raise RedisGone(message)

    status, body = ask(lambda s, url: get(s, f"{url}/inspect/user?id=ann"), read_list=gone)
    assert status == 200 and body["is_known"] and "refused" in body["list_error"]


def test_what_another_program_wrote_in_a_lists_place_is_said() -> None:
    async def foreign(key: str) -> dict[Any, Any]:
        return {b"cart": b"7"}

    status, body = ask(lambda s, url: get(s, f"{url}/inspect/user?id=ann"), read_list=foreign)
    assert status == 200 and body["list"] is None and "'rec:{ann}'" in body["list_error"]


def test_a_second_question_at_once_is_refused_and_the_first_goes_on() -> None:
    answers = Answers()
    answers.go_on.clear()

    async def two(session: aiohttp.ClientSession, url: str) -> tuple[Any, Any, Any]:
        first = asyncio.ensure_future(get(session, f"{url}/explain?user=a&item=i"))
        await asyncio.to_thread(answers.asked.wait, 60)
        second = await get(session, f"{url}/explain?user=b&item=i")
        answers.go_on.set()
        return await first, second, await get(session, f"{url}/explain?user=c&item=i")

    first, second, third = ask(two, answers)
    assert first[0] == third[0] == 200
    assert second[0] == 429 and "ask again" in second[1]["error"]


def test_a_question_that_takes_too_long_is_given_up_but_still_counts() -> None:
    answers = Answers()
    answers.go_on.clear()

    async def late(session: aiohttp.ClientSession, url: str) -> list[int]:
        paths = ["/explain?user=a&item=i", "/explain?user=b&item=i"]
        statuses = [(await get(session, url + path))[0] for path in paths]
        answers.go_on.set()
        return statuses

    assert ask(late, answers, timeout_s=0.05) == [504, 429]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/explain?user=far&item=i", 421, "partition 3"),
        ("/explain?user=a", 400, "item="),
        ("/explain?user=&item=i", 400, "user="),
        (f"/inspect/user?id={'x' * 65}", 400, "64 characters"),
    ],
)
def test_what_cannot_be_answered_says_why(path: str, status: int, words: str) -> None:
    came, body = ask(lambda session, url: get(session, url + path))
    assert came == status and words in body["error"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "10.0.0.1"])
def test_a_page_that_a_browser_was_led_to_gets_no_answer(host: str) -> None:
    path = "/explain?user=a&item=i"
    status, _ = ask(lambda session, url: get(session, url + path, Host=host))
    assert status == 403


def test_the_client_says_who_did_not_answer_and_why() -> None:
    async def run(session: aiohttp.ClientSession, url: str) -> Any:
        found = await asyncio.to_thread(ask_worker, url, "/inspect/item", id="i")
        with pytest.raises(HeadwaterError, match="partition 3"):
            await asyncio.to_thread(ask_worker, url, "/explain", user="far", item="i")
        with pytest.raises(HeadwaterError, match="worker of this version"):
            await asyncio.to_thread(ask_worker, url, "/nothing")
        return found

    assert ask(run) == {"item_id": "i", "is_known": False}
    with pytest.raises(ServerUnreachable, match="is it running"):
        ask_worker("http://127.0.0.1:1", "/explain", user="a", item="i")


def test_the_workers_address_comes_from_option_or_setting() -> None:
    assert health_of("http://127.0.0.1:5/", 9) == "http://127.0.0.1:5"
    assert health_of(None, 9) == "http://127.0.0.1:9"
    with pytest.raises(ConfigurationError, match="--health or HEADWATER_WORKER__HEALTH_PORT"):
        health_of(None, 0)
    others = ("localhost:80", "http://[::1", "http://127.0.0.1:x", "http://127.0.0.1:99999")
    for other in (*others, "http://127.0.0.1:8 0"):
        with pytest.raises(ConfigurationError, match="expected a URL"):
            health_of(other, 0)


def test_what_speaks_no_http_is_no_worker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def greet() -> None:
            with server.accept()[0] as client:
                client.recv(4096)
                client.sendall(b"-ERR unknown command\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ServerUnreachable, match="is it running"):
            ask_worker(f"http://127.0.0.1:{port}", "/explain", user="a", item="i")
        thread.join()
