"""Commands that look and measure: ``doctor``, ``bench``."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from consumers.addresses import bootstrap_servers
from consumers.benches import benchmark_names, figures_of, run_benchmark
from consumers.cli_data import JsonFlag
from consumers.configuration import load_settings
from consumers.console import figures, progress_bar, say
from consumers.findings import Finding
from stream.errors import ConfigurationError

_STYLES = {"ok": "green", "info": "cyan", "warn": "yellow", "fail": "bold red"}


def doctor(
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers.")] = None,
    redis: Annotated[str | None, typer.Option(help="Redis URL.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Look at Kafka, Redis, topics, the consumer group and this machine; change nothing.

    Each line is ok, info, warn or fail, with what to do. Exit code 1 when one is fail.

    Example: `headwater doctor --kafka localhost:9092 --redis redis://localhost:6379/0`
    """
    from consumers.doctor import examine  # Here: another Kafka client, which no worker waits for.

    settings = load_settings()
    for noisy in ("aiokafka", "kafka"):  # What they would say is a finding here.
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    url = redis or (settings.redis.get_secret_value() if settings.redis else None)
    if kafka:
        bootstrap_servers(kafka)
    findings = asyncio.run(examine(settings, brokers=kafka or settings.kafka, redis_url=url))
    counts: Counter[str] = Counter(each.status for each in findings)
    if as_json:
        summary = {
            "healthy": not counts["fail"],
            "counts": {status: counts[status] for status in _STYLES},
            "findings": [each.as_dict() for each in findings],
        }
        sys.stdout.write(json.dumps(summary) + "\n")
        sys.stdout.flush()
    else:
        _show(findings)
    if counts["fail"]:
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for each in findings:
        out.print(f"{each.status:4s}", style=_STYLES[each.status], end="  ")
        out.print(each.text)
        if each.advice:
            out.print(f"      → {each.advice}")


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Benchmarks by name, as --list prints them.",
            autocompletion=lambda: benchmark_names(),
        ),
    ] = None,
    is_full: Annotated[
        bool, typer.Option("--full", help="As long as benchmarks/README.md's figures took.")
    ] = False,
    is_list: Annotated[bool, typer.Option("--list", help="Print the names and end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run benchmarks of a checkout, each in a process of its own; all of them without a name.

    Quick by default: seconds each, to see that they run and roughly how fast.

    Example: `headwater bench decode refresh --json`
    """
    known = benchmark_names()
    if is_list:
        typer.echo("\n".join(known))
        return
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        message = f"expected benchmarks out of {', '.join(known)}; got {', '.join(unknown)}"
        raise ConfigurationError(message)
    started = time.monotonic()
    results, failures = _run_benchmarks(names or known, is_full=is_full)
    seconds = round(time.monotonic() - started, 1)
    if as_json:
        summary = {
            "results": results,
            "failures": failures,
            "is_full": is_full,
            "seconds": seconds,
        }
        sys.stdout.write(json.dumps(summary) + "\n")
        sys.stdout.flush()
    else:
        _show_figures(results)
    if failures:
        raise typer.Exit(1)


def _run_benchmarks(
    names: Sequence[str], *, is_full: bool
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Return figures and failures by name."""
    results, failures = {}, {}
    with progress_bar("benchmarks", total=len(names)) as bar:
        for done, name in enumerate(names):
            bar.update(done)
            outcome = run_benchmark(name, is_full=is_full)
            if outcome.error:
                failures[name] = outcome.error
                say(f"{name}: {outcome.error}")
            else:
                results[name] = outcome.figures
        bar.update(len(names))
    return results, failures


def _show_figures(results: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table("benchmark", "figure", "value", box=None)
    for name, found in results.items():
        for place, (figure, value) in enumerate(figures_of(found)):
            table.add_row("" if place else name, figure, value)
    figures().print(table)
