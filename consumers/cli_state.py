"""Commands that say what is known and why: ``similar``, ``explain``, ``inspect``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Any

import typer

from consumers.cli_data import (
    ItemArgument,
    ItemsOption,
    SetOption,
    UserArgument,
    in_utf8,
    redis_of,
    replay_file,
)
from consumers.configuration import load_settings, make_answers
from consumers.console import say
from consumers.lists import read_similar
from consumers.rankers import choose_ranker
from consumers.security import redis_options
from consumers.state_views import show_explanation, show_item, show_user
from consumers.worker_client import ask_worker, health_of
from stream.answers import StateAnswers
from stream.errors import ConfigurationError, PartitionElsewhere, ServerUnreachable

JsonAnswer = Annotated[
    bool, typer.Option("--json", help="Print the answer as one JSON object, last line of stdout.")
]
HealthOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A running worker's health address, http://127.0.0.1:PORT; repeated, each is asked "
        "until one holds the partition."
    ),
]
LogOption = Annotated[
    str | None, typer.Option(help="Replay this log here and answer from it, without a worker.")
]
PartitionsOption = Annotated[
    int | None, typer.Option(min=1, max=1024, help="With --log: partitions of the replay.")
]


class Kind(StrEnum):
    """What ``inspect`` looks at."""

    USER = "user"
    ITEM = "item"


def similar(
    item: ItemArgument,
    redis: Annotated[str | None, typer.Option(help="Redis URL.")] = None,
    as_json: JsonAnswer = False,
) -> None:
    """Read the items that go together with an item from Redis.

    Example: `headwater similar clip-7`
    """
    settings = load_settings()
    url = redis_of(settings, redis)
    options = redis_options(settings.redis_security, url)
    found = asyncio.run(
        read_similar(url, item, is_cluster=settings.sink.cluster, client_options=options)
    )
    if found is None:
        say(
            f"no similar items for {item!r} yet: they are written once users acted on it and on "
            "something else; is the id spelled as in the events, does a worker run?"
        )
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(found))
        return
    none = "" if found["items"] else ", nothing goes together with it yet"
    say(f"{found['key']}, {found['age_ms']:,} ms old{none}")
    for place, each in enumerate(found["items"], start=1):
        typer.echo(f"{place:3d}  {each['id']}  {each['score']:.4f}")


def explain(
    user: UserArgument,
    item: ItemArgument,
    health: HealthOption = None,
    log: LogOption = None,
    items: ItemsOption = None,
    partitions: PartitionsOption = None,
    overrides: SetOption = None,
    as_json: JsonAnswer = False,
) -> None:
    """Say why an item stands in a user's list, or why it does not.

    Asks a running worker, or a replay of a log.

    Examples: `headwater explain ann clip-7 --health http://127.0.0.1:8080`,
    `headwater explain ann clip-7 --log log.jsonl --items items.jsonl`
    """
    _check_whom(health, log, {"--items": items, "--partitions": partitions, "--set": overrides})
    if log is None:
        answer = _ask(health, "/explain", user=user, item=item)
    else:
        answers = _replayed(log, items, partitions, overrides)
        answer = answers.explain(user.encode(), item.encode()) | {"in_redis": None}
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        show_explanation(answer)


def inspect(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="user or item.")],
    id: Annotated[str, typer.Argument(metavar="ID", help="Its id.", callback=in_utf8)],
    health: HealthOption = None,
    log: LogOption = None,
    items: ItemsOption = None,
    partitions: PartitionsOption = None,
    overrides: SetOption = None,
    as_json: JsonAnswer = False,
) -> None:
    """Show all that is known of a user or an item.

    Asks a running worker, or a replay of a log.

    Examples: `headwater inspect user ann --health http://127.0.0.1:8080`,
    `headwater inspect item clip-7 --log log.jsonl`
    """
    _check_whom(health, log, {"--items": items, "--partitions": partitions, "--set": overrides})
    if log is None:
        answer = _ask(health, f"/inspect/{kind.value}", id=id)
    else:
        answers = _replayed(log, items, partitions, overrides)
        answer = _inspect(answers, kind, id.encode())
    if as_json:
        typer.echo(json.dumps(answer))
    elif answer["is_known"]:
        (show_user if kind is Kind.USER else show_item)(answer)
    if not answer["is_known"]:
        offset = answer.get("erased_at_offset")
        why = "is it spelled as there?" if offset is None else f"erased at offset {offset}"
        say(f"no event of this {kind.value} is in the state: {id!r}; {why}")
        raise typer.Exit(1)


def _check_whom(health: list[str] | None, log: str | None, of_logs: Mapping[str, object]) -> None:
    """Raise ConfigurationError where options ask a worker and a log at once."""
    if health and log is not None:
        message = "expected --health (ask a worker) or --log (replay it here), got both"
        raise ConfigurationError(message)
    given = [name for name, value in of_logs.items() if value]
    if given and log is None:
        message = f"{', '.join(given)}: expected beside --log, a worker answers by its own settings"
        raise ConfigurationError(message)


def _ask(health: list[str] | None, path: str, **query: str) -> dict[str, Any]:
    """Ask each worker until one holds the partition in question; the last one's refusal counts.

    One that does not answer is said and passed over: another may hold its partitions by now.
    """
    port = load_settings().worker.health_port
    *others, last = [health_of(each, port) for each in health or ()] or [health_of(None, port)]
    for address in others:
        with suppress(PartitionElsewhere):
            try:
                return ask_worker(address, path, **query)
            except ServerUnreachable as error:
                say(f"{error}; asking the next one")
    return ask_worker(last, path, **query)


def _inspect(answers: StateAnswers, kind: Kind, id: bytes) -> dict[str, Any]:
    if kind is Kind.ITEM:
        return answers.inspect_item(id)
    return answers.inspect_user(id) | {"list": answers.list_now(id)}


def _replayed(
    log: str, items: str | None, partitions: int | None, overrides: list[str] | None
) -> StateAnswers:
    """Replay a log and return who answers from its state, with the signals up to its end."""
    settings = load_settings(overrides or ())
    ranker = choose_ranker(settings)
    driver = replay_file(settings, log, partitions, None, items)
    if driver.stream_time_ms < 0:
        message = f"{log}: expected a wire log with events, found none that can be used"
        raise ConfigurationError(message)
    driver.publish_signals()
    return make_answers(settings, driver.pipeline, ranker)
