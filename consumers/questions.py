"""``/explain``, ``/inspect/user`` and ``/inspect/item``: a worker's state for a person who asks.

Computed on the state thread through the worker's own pipeline, one question at a time, within a
bound. They show ids, so that they answer this machine alone, and no web page that a browser on it
was led to (the ``Host`` must be a loopback name). Unused, they cost nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from consumers.configuration import make_answers
from consumers.lists import decode_list, place_in_list
from consumers.redis_client import REDIS_ERRORS
from consumers.state_thread import WorkThread
from stream.answers import StateAnswers
from stream.errors import HeadwaterError, PartitionElsewhere
from stream.settings import Settings
from stream.wire import MAX_ID_CHARS

if TYPE_CHECKING:
    from consumers.app import Worker

# A question waits for the state thread behind a fold and a refresh, and takes some ms itself.
TIMEOUT_S = 10.0

Answer = dict[str, Any]


class StateQuestions:
    """Answers questions over HTTP.

    Args:
        answers: Called on the state thread only.
        state: The state thread.
        read_list: Returns a user's hash in Redis, field to value; empty without one.
        timeout_s: Bound of one question.
    """

    def __init__(
        self,
        answers: StateAnswers,
        *,
        state: WorkThread,
        read_list: Callable[[str], Awaitable[dict[Any, Any]]],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._answers = answers
        self._state = state
        self._read_list = read_list
        self._timeout_s = timeout_s
        self._running: asyncio.Future[Answer] | None = None

    @classmethod
    def of_worker(cls, worker: Worker, settings: Settings) -> StateQuestions:
        """Answer out of a worker's parts."""
        return cls(
            make_answers(settings, worker.pipeline, worker.ranker),
            state=worker.state,
            read_list=worker.redis.hgetall,
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the paths for the health server."""
        return [
            web.get("/explain", self._explain),
            web.get("/inspect/user", self._inspect_user),
            web.get("/inspect/item", self._inspect_item),
        ]

    async def _explain(self, request: web.Request) -> web.Response:
        user, item = _id_in(request, "user"), _id_in(request, "item")

        async def with_place(answer: Answer) -> Answer:
            listed = await self._list_of(user)
            return answer | {"in_redis": place_in_list(listed.get("list"), item.decode())}

        return await self._answer(request, lambda: self._answers.explain(user, item), with_place)

    async def _inspect_user(self, request: web.Request) -> web.Response:
        user = _id_in(request, "id")

        async def with_list(answer: Answer) -> Answer:
            return answer | await self._list_of(user)

        return await self._answer(request, lambda: self._answers.inspect_user(user), with_list)

    async def _list_of(self, user: bytes) -> Answer:
        """Return the user's list as it stands in Redis; where it cannot be read, why."""
        key = f"rec:{{{user.decode()}}}"
        try:
            found = await self._read_list(key)
            return {"list": decode_list(key, found) if found else None}
        except HeadwaterError as error:
            return {"list": None, "list_error": str(error)}
        except REDIS_ERRORS as error:
            return {"list": None, "list_error": f"Redis did not answer ({error})"}

    async def _inspect_item(self, request: web.Request) -> web.Response:
        item = _id_in(request, "id")
        return await self._answer(request, lambda: self._answers.inspect_item(item))

    async def _answer(
        self,
        request: web.Request,
        ask: Callable[[], Answer],
        add: Callable[[Answer], Awaitable[Answer]] | None = None,
    ) -> web.Response:
        """Run one question on the state thread; refuse what comes while one runs."""
        if not _is_local(request):
            return _failure(403, "expected a question from this machine to a loopback address")
        if self._running is not None and not self._running.done():
            return _failure(429, "another question is being answered: ask again")
        # What waits for the thread or runs there is not cancelled with who asked: it counts on.
        self._running = asyncio.ensure_future(self._state.run(ask))
        self._running.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await asyncio.shield(self._running)
                if add is not None:
                    answer = await add(answer)
        except TimeoutError:
            return _failure(504, f"no answer within {self._timeout_s:.0f} s: the worker is busy")
        except PartitionElsewhere as error:
            return _failure(421, str(error))
        return web.json_response(answer)


def _retrieve(done: asyncio.Future[Answer]) -> None:
    """Take a late failure, or asyncio would log that nobody did."""
    if not done.cancelled():
        done.exception()


def _id_in(request: web.Request, name: str) -> bytes:
    """Return an id of the query.

    Raises:
        web.HTTPBadRequest: There is none, or one that no event can have.
    """
    value = request.query.get(name, "")
    if not 1 <= len(value) <= MAX_ID_CHARS:
        error = f"expected {name}=<1 to {MAX_ID_CHARS} characters>, got {len(value)}"
        text = json.dumps({"error": error})
        raise web.HTTPBadRequest(text=text, content_type="application/json")
    return value.encode(errors="replace")


def _failure(status: int, error: str) -> web.Response:
    return web.json_response({"error": error}, status=status)


def _is_local(request: web.Request) -> bool:
    """Whether the peer is this machine and the address it used is loopback by name."""
    try:
        host = request.url.host or ""
        is_peer_local = ipaddress.ip_address(request.remote or "").is_loopback
        is_host_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
    return is_peer_local and is_host_local
