"""The command ``verify-erased``: is an erased user gone from every store?"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from consumers.cli_data import JsonFlag, UserArgument, kafka_of, redis_of
from consumers.configuration import load_settings
from consumers.console import figures, print_summary, progress_bar
from consumers.erased_check import StoreFinding, user_hash, verify_erased


def verify_erased_user(
    user: UserArgument,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers.")] = None,
    redis: Annotated[str | None, typer.Option(help="Redis URL.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Look for an erased user in every store: Kafka's topics, snapshots, Redis; change nothing.

    Exit code 1 where the id stands somewhere that it must not be any more, or where a store did not
    answer: the others are looked at all the same.

    Example: `headwater verify-erased ann`
    """
    settings = load_settings()
    brokers, url = kafka_of(settings, kafka), redis_of(settings, redis)
    with progress_bar("reading") as bar:
        erased, findings = asyncio.run(
            verify_erased(
                settings,
                user,
                brokers=brokers,
                redis_url=url,
                now_ms=round(time.time() * 1000),
                on_progress=bar.update,
            )
        )
    untils = [each.until_ms for each in findings if each.until_ms is not None]
    summary = {
        "user_hash": user_hash(user),
        "is_fine": all(each.status not in ("found", "unknown") for each in findings),
        "is_gone": all(each.status == "none" for each in findings),
        "erased_at_ms": erased.time_ms if erased else None,
        "is_back": bool(erased and erased.is_back),
        "until_ms": max(untils, default=None),
    }
    if as_json:
        print_summary({**summary, "stores": _stores(findings)}, as_json=True)
    else:
        _show(findings)
        print_summary(summary, as_json=False)
    if not summary["is_fine"]:
        raise typer.Exit(1)


def _stores(findings: list[StoreFinding]) -> list[dict[str, object]]:
    return [
        {
            "store": each.store,
            "status": each.status,
            "found": each.found,
            "until_ms": each.until_ms,
            "text": each.text,
        }
        for each in findings
    ]


def _show(findings: list[StoreFinding]) -> None:
    table = Table("store", "status", "until (UTC)", "what", box=None)
    for each in findings:
        until = ""
        if each.until_ms is not None:
            until = f"{datetime.fromtimestamp(each.until_ms / 1000, UTC):%Y-%m-%d %H:%M}"
        table.add_row(each.store, each.status, until, each.text)
    figures().print(table)
