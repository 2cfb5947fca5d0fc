"""Commands on logs and lists: ``produce``, ``replay``, ``recs``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from consumers.addresses import bootstrap_servers
from consumers.configuration import load_settings, make_engine, make_pipeline
from consumers.console import Bar, ProgressLines, print_summary, progress_bar, say
from consumers.kafka_replay import replay_topic
from consumers.lists import read_list
from consumers.logs import read_announcements, read_lines, read_records, say_rejected
from consumers.produce import ProduceReport, TopicCount, produce_interactions
from consumers.resume import Resume
from consumers.security import kafka_options, redis_options
from consumers.stopping import stop_on_signals
from stream.digests import digests
from stream.engine import Engine
from stream.errors import ConfigurationError
from stream.replay import Replay
from stream.settings import Settings

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print the figures as one JSON object, last line of stdout.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE over a setting, as in users.link_ms=86400000."),
]
LogArgument = Annotated[
    str,
    typer.Argument(metavar="LOG", help="Wire log (.gz, .zst), - for stdin, or a public data set."),
]
ItemsOption = Annotated[
    str | None,
    typer.Option(help="Items log, as `simulate --items-out` writes it, or a data set's folder."),
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help="Take only the first lines (a data set's first rows).")
]
SpeedOption = Annotated[
    float | None, typer.Option(min=0.001, help="Times real time; as fast as it goes without.")
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(help="Progress file: a stopped run goes on behind its last acknowledgement."),
]


def in_utf8(id: str | None) -> str | None:
    """Return an id as it was typed.

    Raises:
        ConfigurationError: Its bytes are no UTF-8, as from a terminal of another encoding.
    """
    try:
        (id or "").encode()
    except UnicodeEncodeError:
        message = "expected an id in UTF-8, got other bytes: is it typed or read in another one?"
        raise ConfigurationError(message) from None
    return id


UserArgument = Annotated[str, typer.Argument(metavar="USER", help="User id.", callback=in_utf8)]
ItemArgument = Annotated[str, typer.Argument(metavar="ITEM", help="Item id.", callback=in_utf8)]


def kafka_of(settings: Settings, option: str | None) -> str:
    """Return the bootstrap servers, from the option or the setting."""
    servers = option or settings.kafka
    if not servers:
        message = (
            "expected Kafka's address in --kafka or HEADWATER_KAFKA (host:port), got none; "
            "`headwater up` starts a broker and prints its address"
        )
        raise ConfigurationError(message)
    bootstrap_servers(servers)
    return servers


def redis_of(settings: Settings, option: str | None) -> str:
    """Return the Redis URL, from the option or the setting."""
    url = option or (settings.redis.get_secret_value() if settings.redis else None)
    if not url:
        message = (
            "expected Redis' address in --redis or HEADWATER_REDIS (redis://host:port/0), got "
            "none; `headwater up` starts a server and prints its address"
        )
        raise ConfigurationError(message)
    return url


def produce(
    log: LogArgument,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers.")] = None,
    speed: SpeedOption = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Events per second.")] = None,
    items: ItemsOption = None,
    start: Annotated[int, typer.Option(min=0, help="Lines to skip: next_index of a run.")] = 0,
    resume: ResumeOption = None,
    limit: LimitOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Send a wire log or a public data set to Kafka, at its own pace, faster, or at once.

    Example: `headwater produce ml-100k --speed 1000 --resume ml-100k.progress`
    """
    settings = load_settings()
    _one_at_most("--speed", speed, "--rate", rate)
    _one_at_most("--resume", resume, "--start", start or None)
    _one_at_most("LOG -", log == "-" or None, "--items -", items == "-" or None)
    brokers = kafka_of(settings, kafka)
    options = kafka_options(settings.kafka_security)
    topics = settings.topics
    kept = Resume(resume, log=log, topic=topics.interactions) if resume else None
    announced = read_announcements(items)

    async def run() -> tuple[ProduceReport, bool]:
        with progress_bar("producing") as bar:
            async with stop_on_signals() as stop:
                records = read_records(
                    log, start_index=start, limit=limit, resume=kept, announced=announced
                )
                if kept is not None:
                    await kept.check_topic(brokers, client_options=options)
                return await produce_interactions(
                    records,
                    brokers=brokers,
                    topic=topics.interactions,
                    items_topic=topics.items,
                    rate=rate,
                    speed=speed,
                    on_progress=_noting(bar, kept),
                    stop=stop,
                    start_index=kept.acknowledged if kept else start,
                    client_options=options,
                ), stop.is_set()

    report, is_stopped = asyncio.run(run())
    print_summary(_produced(report, topics.items if items else None), as_json=as_json)
    _say_stopped(report, resume, is_stopped=is_stopped)


def _noting(bar: Bar | ProgressLines, kept: Resume | None) -> Callable[[ProduceReport], None]:
    def note(report: ProduceReport) -> None:
        bar.update(report.acknowledged)
        if kept is not None:
            kept.save(report.next_index)

    return note


def _one_at_most(first: str, one: object, second: str, other: object) -> None:
    if one is not None and other is not None:
        message = f"expected one of {first} and {second}, got both"
        raise ConfigurationError(message)


def _produced(report: ProduceReport, items_topic: str | None) -> dict[str, Any]:
    summary = {
        "produced": report.produced,
        "acknowledged": report.acknowledged,
        "failed": report.failed,
        "next_index": report.next_index,
        "seconds": round(report.seconds, 3),
    }
    if items_topic is not None:
        summary["items"] = report.by_topic.get(items_topic, TopicCount()).acknowledged
    return summary


def _say_stopped(report: ProduceReport, resume: Path | None, *, is_stopped: bool) -> None:
    has_failed = bool(report.error or report.failed)
    if has_failed or is_stopped:
        how = f"the same --resume {resume}" if resume else f"--start {report.next_index}"
        say(f"stopped: {report.error or 'by a signal'}; go on with {how}")
    if has_failed:
        raise typer.Exit(1)


def replay(
    log: Annotated[
        str,
        typer.Argument(
            metavar="LOG", help="Wire log, -, a data set's folder, or the name of a Kafka topic."
        ),
    ],
    partitions: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Partitions; digests compare at equal N.")
    ] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers, for a topic.")] = None,
    items: ItemsOption = None,
    limit: LimitOption = None,
    overrides: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Fold a log in this process, without a worker, and print counters and digests.

    Example: `headwater replay log.jsonl --partitions 4 --json`
    """
    settings = load_settings(overrides or ())
    started = time.monotonic()
    # No topic's name has a slash: that was meant to be a file.
    if log == "-" or "/" in log or Path(log).exists() or not (kafka or settings.kafka):
        engine = replay_file(settings, log, partitions, limit, items).engine
    else:
        brokers = kafka_of(settings, kafka)
        if given := [name for name, each in (("--items", items), ("--limit", limit)) if each]:
            message = f"{', '.join(given)}: expected beside a file, the topic {log} is read whole"
            raise ConfigurationError(message)
        with progress_bar("replaying") as bar:
            engine = asyncio.run(
                replay_topic(settings, brokers, log, partitions, on_progress=bar.update)
            )
    summary = replay_summary(engine)
    summary["seconds"] = round(time.monotonic() - started, 3)
    print_summary(summary, as_json=as_json)


def replay_file(
    settings: Settings, log: str, partitions: int | None, limit: int | None, items: str | None
) -> Replay:
    """Fold a log in this process, with a bar; return what holds its state."""
    engine = make_engine(settings, partitions=partitions)
    interval_ms = round(settings.signals.interval_s * 1000)
    driver = Replay(
        make_pipeline(settings, engine),
        signals_interval_ms=interval_ms,
        announcements=read_announcements(items),
    )
    done = 0
    with progress_bar("replaying") as bar:
        for lines in read_lines(log, limit=limit):
            driver.feed(lines)
            done += len(lines)
            bar.update(done)
    say_rejected(driver)
    return driver


def replay_summary(engine: Engine) -> dict[str, Any]:
    """Return the figures of a replay: counters, sizes, digests, what did not fit."""
    whole = digests(engine)
    return {
        **engine.counters(),
        "users": engine.num_users,
        "items": engine.num_items,
        "digest": whole.state,
        "digest_rows": whole.rows,
        "evicted": engine.num_evicted,
        "overflowed": engine.num_overflowed,
    }


def recs(
    user: UserArgument,
    redis: Annotated[str | None, typer.Option(help="Redis URL.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Read a user's list from Redis, or the trending list where there is none.

    Example: `headwater recs user-17`
    """
    settings = load_settings()
    url = redis_of(settings, redis)
    options = redis_options(settings.redis_security, url)
    found = asyncio.run(
        read_list(url, user, is_cluster=settings.sink.cluster, client_options=options)
    )
    if found is None:
        say(f"no list for {user!r} and no trending list yet: has a worker run?")
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(found))
        return
    say(f"{found['key']}, ranked by {found['model']}, {found['age_ms']:,} ms old")
    for place, item in enumerate(found["items"], start=1):
        why = item.get("why") or ", ".join(item["sources"])
        typer.echo(f"{place:3d}  {item['id']}  {item['score']:.4f}  {why}")
