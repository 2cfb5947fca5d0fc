"""Commands on records that could not be used: ``dead-letters list`` and ``dead-letters replay``."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from consumers.cli_data import JsonFlag, kafka_of
from consumers.configuration import load_settings
from consumers.console import print_summary, progress_bar, say
from consumers.dead_letter_log import DeadLetterLog, Letter, Wanted, parse_since
from consumers.dead_letter_replay import Copy, ReplayedLetters, replay_letters
from consumers.repair import Repair
from consumers.security import kafka_options
from stream.decode_items import judge_item
from stream.errors import ConfigurationError
from stream.settings import Settings
from stream.verdicts import Fault, judge
from stream.wire import Reason

app = typer.Typer(help="Records that could not be used: look at them, mend them, send them anew.")

_MAX_SHOWN_CHARS = 300
# Copies that a dry run shows.
_MAX_SAMPLES = 10

ReasonOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reason",
        help="Only this reason code; may be repeated.",
        autocompletion=lambda: [str(reason) for reason in Reason],
    ),
]
TopicOption = Annotated[str | None, typer.Option(help="Only records of this topic.")]
PartitionOption = Annotated[int | None, typer.Option(min=0, help="Only records of this partition.")]
OffsetOption = Annotated[int | None, typer.Option(min=0, help="Only the record at this offset.")]
SinceOption = Annotated[
    str | None,
    typer.Option(help="Only letters since: 90s, 15m, 2h, 7d ago, or 2026-01-31T12:00 (UTC)."),
]
KafkaOption = Annotated[str | None, typer.Option(help="Bootstrap servers.")]


def _wanted(
    reasons: list[str] | None,
    topic: str | None,
    partition: int | None,
    offset: int | None,
    since: str | None,
) -> Wanted:
    known = {str(reason) for reason in Reason}
    for reason in reasons or ():
        if reason not in known:
            message = f"--reason: expected one of {', '.join(sorted(known))}, got {reason!r}"
            raise ConfigurationError(message)
    now_ms = round(time.time() * 1000)
    return Wanted(
        reasons=frozenset(reasons or ()),
        topic=topic,
        partition=partition,
        offset=offset,
        since_ms=None if since is None else parse_since(since, now_ms=now_ms),
    )


@dataclass(slots=True)
class _Found:
    letters: deque[Letter]
    matched: int = 0
    replayed: int = 0
    repeated: int = 0
    unreadable: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    topic_ids: dict[str, str] = field(default_factory=dict)


async def _read(
    brokers: str, settings: Settings, wanted: Wanted, limit: int, *, newest: bool
) -> _Found:
    """Read letters; of more than ``limit`` keep the newest, or the oldest."""
    found = _Found(deque(maxlen=limit if newest else None))
    options = kafka_options(settings.kafka_security)
    topic = settings.topics.dead_letters
    async with DeadLetterLog(brokers, topic=topic, client_options=options) as log:
        with progress_bar("reading dead letters") as bar:
            async for letter in log.read(wanted):
                found.matched += 1
                found.by_reason[letter.reason] += 1
                if newest or found.matched <= limit:
                    found.letters.append(letter)
                bar.update(found.matched)
        found.replayed, found.repeated = log.num_done, log.num_repeated
        found.unreadable = log.num_unreadable
        found.topic_ids = await log.topic_ids({letter.topic for letter in found.letters})
    return found


@app.command("list")
def list_letters(
    reason: ReasonOption = None,
    topic: TopicOption = None,
    partition: PartitionOption = None,
    offset: OffsetOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show the newest so many.")] = 50,
    kafka: KafkaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show records that could not be used and were not replayed yet, with the reason.

    Example: `headwater dead-letters list --reason bad_json --since 2h`
    """
    settings = load_settings()
    wanted = _wanted(reason, topic, partition, offset, since)
    brokers = kafka_of(settings, kafka)
    found = asyncio.run(_read(brokers, settings, wanted, limit, newest=True))
    figures = {
        "matched": found.matched,
        "shown": len(found.letters),
        "replayed": found.replayed,
        "repeated": found.repeated,
        "unreadable": found.unreadable,
        "other_topic": sum(each.is_of_another_topic(found.topic_ids) for each in found.letters),
        "by_reason": dict(found.by_reason.most_common()),
    }
    if as_json:
        letters = [_as_json(letter, found.topic_ids) for letter in found.letters]
        print_summary({**figures, "letters": letters}, as_json=True)
        return
    _print_letters(found.letters, found.topic_ids)
    print_summary(figures, as_json=False)


def _as_json(letter: Letter, topic_ids: Mapping[str, str]) -> dict[str, Any]:
    text, encoded = None, None
    if letter.value is not None:
        try:
            text = letter.value.decode()
        except UnicodeDecodeError:
            encoded = b64encode(letter.value).decode()
    return {
        "place": letter.place,
        "time_ms": letter.time_ms,
        "reason": letter.reason,
        "detail": letter.detail,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "topic_id": letter.topic_id,
        "is_of_another_topic": letter.is_of_another_topic(topic_ids),
        "value": text,
        "value_base64": encoded,
    }


def _shown(value: bytes | None) -> Text:
    """Return a value for a terminal: whoever wrote it, it steers nothing there.

    >>> _shown(bytes([27]) + b"[2J").plain, _shown(None).plain
    ('·[2J', '')
    """
    text = (value or b"").decode(errors="replace")
    safe = "".join(each if each.isprintable() else "·" for each in text[: _MAX_SHOWN_CHARS + 1])
    return Text(safe if len(safe) <= _MAX_SHOWN_CHARS else safe[:_MAX_SHOWN_CHARS] + "…")


def _print_letters(letters: deque[Letter], topic_ids: Mapping[str, str]) -> None:
    """Print two lines each: a table would cut places and values to fit a terminal."""
    out = Console(soft_wrap=True, highlight=False, emoji=False)
    for letter in letters:
        moment = datetime.fromtimestamp(letter.time_ms / 1000, UTC)
        why = Text(f"{letter.place}  {moment:%Y-%m-%d %H:%M:%S}Z  {letter.reason}: ", style="bold")
        out.print(why + _shown(letter.detail.encode()))
        out.print(Text("    ") + _shown(letter.value))
        if letter.is_of_another_topic(topic_ids):
            text = "    its topic was deleted, another one has the name now: replay leaves it alone"
            out.print(Text(text))


@app.command("replay")
def replay_dead_letters(
    reason: ReasonOption = None,
    topic: TopicOption = None,
    partition: PartitionOption = None,
    offset: OffsetOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 10_000,
    through: Annotated[
        str | None,
        typer.Option(help="Program that mends values: a line in, a line out; empty leaves one."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Read, mend and judge; send nothing.")] = False,
    kafka: KafkaOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Send the original records anew to their topic, mended or as they are; each place once.

    Example: `headwater dead-letters replay --reason wrong_type --through "jq -c '.ts |= tonumber'"`
    """
    settings = load_settings()
    theirs = {settings.topics.interactions, settings.topics.items}
    if topic is not None and topic not in theirs:
        message = f"--topic: expected one of {', '.join(sorted(theirs))}, got {topic!r}"
        raise ConfigurationError(message)
    wanted = replace(_wanted(reason, topic, partition, offset, since), topics=frozenset(theirs))
    brokers = kafka_of(settings, kafka)
    repair = None if through is None else Repair(through)
    tally = _Tally(settings.topics.interactions)
    found, report = asyncio.run(
        _replay(brokers, settings, wanted, limit=limit, repair=repair, dry_run=dry_run, tally=tally)
    )
    if dry_run and not as_json:
        _print_samples(tally.samples)
    figures = {
        "matched": found.matched,
        "replayed": report.replayed,
        "gone": report.gone,
        "other_topic": report.other_topic,
        "left": report.left,
        "too_large": report.too_large,
        "superseded": report.superseded,
        "more": max(0, found.matched - limit),
        "already": found.replayed,
        "topics": dict(report.topics),
        "verdicts": dict(tally.verdicts.most_common()),
        "dry_run": dry_run,
    }
    print_summary(figures, as_json=as_json)
    if report.gone or report.other_topic or report.too_large:
        raise typer.Exit(1)


class _Tally:
    """What the engine will make of the copies, and the first few of them."""

    def __init__(self, interactions: str) -> None:
        self._interactions = interactions
        self.verdicts: Counter[str] = Counter()
        self.samples: list[Copy] = []

    def add(self, copy: Copy) -> None:
        is_event = copy.letter.topic == self._interactions
        self.verdicts[verdict_of(copy.key, copy.value, is_event=is_event)] += 1
        if len(self.samples) < _MAX_SAMPLES:
            self.samples.append(copy)


async def _replay(
    brokers: str,
    settings: Settings,
    wanted: Wanted,
    *,
    limit: int,
    repair: Repair | None,
    dry_run: bool,
    tally: _Tally,
) -> tuple[_Found, ReplayedLetters]:
    found = await _read(brokers, settings, wanted, limit, newest=False)
    _warn_of_grace(found.letters, settings.users.grace_ms)
    report = await replay_letters(
        list(found.letters),
        brokers=brokers,
        dead_letters=settings.topics.dead_letters,
        newest_holds=settings.topics.items,
        client_options=kafka_options(settings.kafka_security),
        mend=None if repair is None else repair.mend,
        dry_run=dry_run,
        on_copy=tally.add,
        on_gone=lambda letter, why: say(f"{letter.place}: {why}"),
    )
    return found, report


def _warn_of_grace(letters: deque[Letter], grace_ms: int) -> None:
    oldest_ms = min((letter.time_ms for letter in letters), default=None)
    if oldest_ms is not None and time.time() * 1000 - oldest_ms > grace_ms:
        say(
            "some of these records are older than HEADWATER_USERS__GRACE_MS: events that are "
            "behind their partition by more than that count as late"
        )


def verdict_of(key: bytes | None, value: bytes | None, *, is_event: bool) -> str:
    """Say what the engine would make of an event or an item: good, or a reason code."""
    judged = (
        judge(value, kafka_timestamp_ms=round(time.time() * 1000))
        if is_event
        else judge_item(key, value)
    )
    return str(judged.reason) if isinstance(judged, Fault) else "good"


def _print_samples(samples: list[Copy]) -> None:
    out = Console(soft_wrap=True, highlight=False, emoji=False)
    for copy in samples:
        out.print(Text(copy.letter.place, style="bold"))
        out.print(Text("  - ", style="red") + _shown(copy.before))
        out.print(Text("  + ", style="green") + _shown(copy.value))
