"""Commands that run things: ``demo``, ``up``, ``worker``, ``simulate``."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from consumers import crash_points
from consumers.cli_data import JsonFlag, kafka_of, redis_of
from consumers.configuration import load_settings
from consumers.console import print_summary, progress_bar, say
from consumers.demo import DemoOptions, run_demo
from consumers.interrupts import interrupts_end_quietly
from consumers.outputs import check_file
from consumers.produce import produce_interactions
from consumers.redis_client import without_password
from consumers.security import kafka_options, refuse_unnamed
from consumers.simulated_logs import write_logs
from consumers.stack import Stack
from consumers.stopping import stop_on_signals
from consumers.supervision import StopBound
from local.scratch import ScratchFolder
from local.simulator import Simulator
from stream.errors import ConfigurationError
from stream.settings import Settings

# How long threads may go on after all else has ended.
_LINGER_S = 10.0

UsersOption = Annotated[int, typer.Option(min=10, max=10_000_000, help="Simulated users.")]
ItemsOption = Annotated[
    int, typer.Option(min=50, max=10_000_000, help="Simulated items alive at a time.")
]
RateOption = Annotated[float, typer.Option(min=0.1, max=1e6, help="Events per second.")]
_YEAR_S = 366 * 24 * 3600.0
# 15 June 2025: where a simulated wire log begins.
LOG_START_MS = 1_750_000_000_000
SeedOption = Annotated[int, typer.Option(help="Seed of the simulated world; logged.")]


def demo(
    seconds: Annotated[
        float,
        typer.Option(
            min=1.0, max=_YEAR_S, help="How long the simulator runs; without a terminal too."
        ),
    ] = 60.0,
    headless: Annotated[bool, typer.Option(help="No live view; end with the summary.")] = False,
    events: RateOption = 200.0,
    speed: Annotated[
        float, typer.Option(min=1.0, max=1000.0, help="Seconds of the simulated world per second.")
    ] = 1.0,
    users: UsersOption = 3000,
    items: ItemsOption = 2000,
    seed: SeedOption = 7,
    as_json: JsonFlag = False,
) -> None:
    """Start Kafka, Redis, a worker and the simulator here, and watch lists change.

    Example: `headwater demo --headless --seconds 60 --json`
    """
    options = DemoOptions(
        seconds=seconds,
        headless=headless or not sys.stdout.isatty(),
        events_per_s=events,
        speed=speed,
        num_users=users,
        num_items=items,
        seed=seed,
    )
    summary, is_good = asyncio.run(run_demo(load_settings(), options))
    print_summary(summary, as_json=as_json)
    if not is_good:
        raise typer.Exit(1)


def up(as_json: JsonFlag = False) -> None:
    """Start the servers that no setting names, the topics and one worker; run until Ctrl-C.

    Example: `headwater up --json`
    """
    settings = load_settings()
    refuse_unnamed(settings)

    def ready(kafka: str, redis: str, health: str) -> None:
        addresses = {"kafka": kafka, "redis": without_password(redis), "health": health}
        if as_json:
            sys.stdout.write(json.dumps(addresses) + "\n")
            sys.stdout.flush()
        else:
            for name, address in addresses.items():
                typer.echo(f"{name:7s} {address}")
            say("for the commands in another terminal:")
            folder = shlex.quote(str(settings.data_dir.absolute()))  # verify-erased looks there.
            say(f"  export HEADWATER_KAFKA={kafka} HEADWATER_REDIS={redis}")
            say(f"  export HEADWATER_DATA_DIR={folder}")

    with ScratchFolder("headwater-up-") as scratch:
        stack = Stack(
            kafka=settings.kafka,
            redis=settings.redis.get_secret_value() if settings.redis else None,
            data_dir=scratch,
            say=say,
        )
        # What a broker of this command holds ends with it, and so must the snapshots of it.
        if settings.kafka is None:
            settings = settings.model_copy(update={"data_dir": scratch / "state"})
        try:
            asyncio.run(_up(settings, stack, ready))
        finally:
            _end_in_time()


async def _up(settings: Settings, stack: Stack, ready: object) -> None:
    assert callable(ready)
    async with stop_on_signals() as stop:
        await asyncio.to_thread(stack.start)
        try:
            if stop.is_set():
                return
            # Here: torch and Faust take seconds to load, in which a signal is to be heard.
            from consumers.run_worker import run_worker

            await run_worker(
                settings,
                brokers=stack.kafka,
                redis_url=stack.redis,
                stop=stop,
                on_ready=lambda health: ready(stack.kafka, stack.redis, health),
            )
        finally:
            await asyncio.to_thread(stack.stop)


def worker(
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers.")] = None,
    redis: Annotated[str | None, typer.Option(help="Redis URL.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run one worker until SIGTERM; several share the partitions.

    Example: `HEADWATER_KAFKA=localhost:9092 HEADWATER_REDIS=redis://localhost:6379/0
    headwater worker`
    """
    with interrupts_end_quietly():
        from consumers.run_worker import run_worker

    settings = load_settings()
    crash_points.arm(os.environ.get(crash_points.VARIABLE, ""))
    brokers, redis_url = kafka_of(settings, kafka), redis_of(settings, redis)

    def ready(health: str) -> None:
        if as_json:
            sys.stdout.write(json.dumps({"health": health}) + "\n")
            sys.stdout.flush()

    async def run() -> None:
        async with stop_on_signals() as stop:
            await run_worker(
                settings, brokers=brokers, redis_url=redis_url, stop=stop, on_ready=ready
            )

    try:
        asyncio.run(run())
    finally:
        _end_in_time()


def _end_in_time() -> None:
    """Bound the end of the process: a thread that hangs must not keep it alive (law 9)."""
    StopBound(_LINGER_S).start()


def simulate(
    seconds: Annotated[
        float, typer.Option(min=1.0, max=_YEAR_S, help="How long, in seconds.")
    ] = 60.0,
    events: RateOption = 200.0,
    users: UsersOption = 3000,
    items: ItemsOption = 2000,
    seed: SeedOption = 7,
    out: Annotated[
        Path | None, typer.Option(help="Write a wire log here instead of producing to Kafka.")
    ] = None,
    items_out: Annotated[
        Path | None, typer.Option(help="Beside --out: write the items log here.")
    ] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Produce a simulated world's events to Kafka, or write them to a wire log.

    Example: `headwater simulate --seconds 600 --out log.jsonl --items-out items.jsonl`
    """
    settings = load_settings()
    _check_logs(out, items_out)
    simulator = Simulator(
        seed=seed,
        num_users=users,
        num_items=items,
        events_per_s=events,
        # Kafka gets events of now, beside other producers'; a file has the same ones each time.
        start_ms=round(time.time() * 1000) if out is None else LOG_START_MS,
    )
    if out is not None:
        print_summary(write_logs(simulator, out, items_out, seconds), as_json=as_json)
        return
    summary = asyncio.run(_produce(simulator, settings, kafka_of(settings, kafka), seconds))
    print_summary(summary, as_json=as_json)
    if summary["failed"] or summary["error"]:
        raise typer.Exit(1)


async def _produce(
    simulator: Simulator, settings: Settings, brokers: str, seconds: float
) -> dict[str, object]:
    """Produce so many seconds of a world as they pass; return the summary."""
    async with stop_on_signals() as stop:
        asyncio.get_running_loop().call_later(seconds, stop.set)
        with progress_bar("simulating") as bar:
            report = await produce_interactions(
                simulator.blocks(),
                brokers=brokers,
                topic=settings.topics.interactions,
                items_topic=settings.topics.items,
                speed=1.0,
                on_progress=lambda each: bar.update(each.acknowledged),
                stop=stop,
                client_options=kafka_options(settings.kafka_security),
            )
    return {
        "produced": report.produced,
        "acknowledged": report.acknowledged,
        "failed": report.failed,
        "duplicates_sent": report.duplicates_sent,
        "error": report.error,
    }


def _check_logs(out: Path | None, items_out: Path | None) -> None:
    if out is not None:
        check_file("--out", out)
    if items_out is None:
        return
    if out is None:
        message = "--items-out: expected --out too, got none; to Kafka the items go to their topic"
        raise ConfigurationError(message)
    if items_out.absolute() == out.absolute():
        message = f"--items-out: expected another file than --out, got {out} for both"
        raise ConfigurationError(message)
    check_file("--items-out", items_out)
