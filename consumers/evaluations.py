"""One log evaluated by one plan: contenders over a shared engine, their figures, what differs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from consumers.configuration import (
    differing,
    load_settings,
    make_engine,
    make_fusion,
    make_pipeline,
)
from consumers.console import progress_bar, say
from consumers.logs import data_set_of, read_announcements, read_lines, say_rejected
from consumers.rankers import load_network
from evaluation.adapters import AdapterError, DataSet
from evaluation.bootstrap import paired_bootstrap
from evaluation.metrics import gains
from evaluation.prequential import Contender, Outcome, Prequential, Protocol
from state.actions import ERASE
from state.first_arrivals import fingerprints_of, first_arrivals
from stream.candidates import SOURCES
from stream.decode import decode_events
from stream.errors import ConfigurationError
from stream.events import EventBatch
from stream.pipeline import Pipeline
from stream.replay import Replay
from stream.settings import Settings
from stream.slab import Slab

if TYPE_CHECKING:
    from models.network import NetworkConfig

RANKERS = ("fusion", "network")
# What a wire log is tested with where nothing is said; a data set knows its own.
_WARMUP = 0.2
# Metrics that contenders are compared by.
_COMPARED = ("hr@10", "ndcg@10", "mrr@20")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an evaluation does with each log.

    Attributes:
        names: Contenders, from ``SOURCES`` and ``RANKERS``.
        compared: Of these, the ones compared with the first of them; empty compares none.
        warmup: Share that is only learned; None leaves it to the data set, as do the next two.
        warmup_hours: Hours that are only learned, beside.
        every: Test every K-th event.
        repeats: ``allow`` or ``exclude``; None leaves it to the data set.
        live: Also measure with neighbours read without delay.
        items: Items log, or a data set with items.
        limit: Take only the first events.
        overrides: ``NAME=VALUE`` over settings.
        resamples: Of the bootstrap.
    """

    names: tuple[str, ...]
    compared: tuple[str, ...] = ()
    warmup: float | None = None
    warmup_hours: float | None = None
    every: int | None = None
    repeats: str | None = None
    live: bool = False
    items: str | None = None
    limit: int | None = None
    overrides: tuple[str, ...] = ()
    resamples: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The figures of one log.

    Attributes:
        log: As it was named.
        num_events: Events that were used.
        num_duplicates: Events that were not, as repeats of one that came before.
        runs: One summary per contender, its name under ``what``.
        comparisons: Second minus first, by metric.
        protocol: How it was tested.
        settings: That differ from the worker's defaults.
        seconds: Wall time.
        is_tuned: Whether the settings were tuned for this log.
    """

    log: str
    num_events: int
    runs: list[dict[str, Any]]
    num_duplicates: int = 0
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    protocol: dict[str, object] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    is_tuned: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the summary contract: flat for one contender, ``runs`` for several."""
        counts = {"events": self.num_events, "duplicate": self.num_duplicates}
        tail = {
            "protocol": self.protocol,
            "settings": self.settings,
            "tuned": self.is_tuned,
            "seconds": self.seconds,
        }
        if len(self.runs) == 1:
            (run,) = self.runs
            return {"log": self.log, "what": run["what"], **counts, **run, **tail}
        runs = {"runs": self.runs, "comparisons": self.comparisons}
        return {"log": self.log, **counts, **runs, **tail}


def read_events(log: str, limit: int | None, *, grace_ms: int) -> tuple[EventBatch, int]:
    """Decode a whole log but for what the engine would not count; says what was left out.

    Args:
        log: As in :func:`consumers.logs.read_lines`.
        limit: Take only the first lines.
        grace_ms: For as long the engine remembers an event id.

    Returns:
        The events in order of arrival, and how many more repeated the ``event_id`` of one of them.

    Raises:
        ConfigurationError: Nothing in it can be used.
    """
    lines: list[bytes] = []
    with progress_bar(f"reading {_file_name(log)}") as bar:
        for block in read_lines(log, limit=limit):
            lines += block
            bar.update(len(lines))
    events = decode_events(Slab.from_values(lines))
    if events.rejected:
        first = events.rejected[0]
        lines_out = "1 line" if len(events.rejected) == 1 else f"{len(events.rejected):,} lines"
        say(
            f"{lines_out} left out, the first (line {first.offset + 1}): "
            f"{first.reason}, {first.detail}"
        )
    if not len(events):
        message = f"{log}: expected a wire log with events, found none that can be used"
        raise ConfigurationError(message)
    fingerprints = fingerprints_of(
        events.buffer,
        events.user_starts,
        events.user_lengths,
        events.event_id_starts,
        events.event_id_lengths,
    )
    are_first = first_arrivals(fingerprints, events.timestamps_ms, within_ms=grace_ms)
    num_duplicates = len(events) - int(are_first.sum())
    if num_duplicates:
        but_for = ", but anew after an erase" if (events.types == ERASE).any() else ""
        say(
            f"{num_duplicates:,} of {len(events):,} events left out: their user has an event of "
            f"that event_id already, and the engine counts it once{but_for}"
        )
        events = events.select(are_first)
    return events, num_duplicates


def one_of(option: str, value: str | None, choices: Sequence[str]) -> None:
    """Raise ConfigurationError where a word is none of those that are known."""
    if value is not None and value not in choices:
        message = f"{option}: expected one of {', '.join(choices)}; got {value!r}"
        raise ConfigurationError(message)


def settings_for(
    log: str, repeats: str | None, overrides: Sequence[str]
) -> tuple[Settings, DataSet | None, bool]:
    """Return the settings, the log's data set if it is one, and whether repeats are allowed."""
    one_of("--repeats", repeats, ("allow", "exclude"))
    known = data_set_of(log)
    policy = repeats or ("exclude" if known and not known[0].repeats else "allow")
    settings = load_settings([f"ranking.repeats={policy}", *overrides])
    # Not the policy alone: an override may say otherwise.
    return settings, known[0] if known else None, settings.ranking.repeats == "allow"


def union_sources(settings: Settings) -> tuple[str, ...]:
    """Return the sources of a union; where repeats are excluded, recent has only such."""
    if settings.ranking.repeats == "allow":
        return SOURCES
    return tuple(name for name in SOURCES if name != "recent")


def make_replay(
    settings: Settings, sources: Sequence[str], interval_ms: int, items: str | None
) -> Replay:
    """Make an empty engine of one partition, driven by a log."""
    return Replay(
        make_pipeline(settings, make_engine(settings, partitions=1), sources=sources),
        signals_interval_ms=interval_ms,
        announcements=read_announcements(items),
    )


def network_config(settings: Settings) -> NetworkConfig:
    """Return the shapes of a network over these settings' features."""
    from models.network import NetworkConfig

    return NetworkConfig(
        dim=settings.catalogue.dim,
        num_sources=len(SOURCES),
        num_half_lives=len(settings.catalogue.half_lives_ms),
    )


def evaluate_log(log: str, plan: Plan) -> Evaluation:
    """Evaluate one log.

    Raises:
        ConfigurationError: The log or a setting cannot be used.
    """
    import torch  # Here, as in all that commands are made of: only who needs it waits for it.

    started = time.monotonic()
    settings, data_set, allow_repeats = settings_for(log, plan.repeats, plan.overrides)
    torch.set_num_threads(settings.ranking.torch_threads)
    grace_ms = settings.users.grace_ms
    events, num_duplicates = read_events(log, plan.limit, grace_ms=grace_ms)
    protocol = _protocol(log, plan, data_set, events, allow_repeats)
    interval_ms = round(settings.signals.interval_s * 1000)
    title = plan_title(plan, log)
    outcomes = _run(settings, events, protocol, plan, interval_ms, title)
    if not outcomes[0].ranks:
        message = (
            f"{log}: expected events to test after the warm-up ({protocol.warmup:.0%} of the log, "
            f"nothing before {protocol.warmup_until_ms} ms), got none of {len(events):,}: take "
            "more of the log, or less of it for --warmup and --warmup-hours"
        )
        raise ConfigurationError(message)
    runs = [{"what": each.name, **each.summary()} for each in outcomes]
    if plan.live:
        title += ", neighbours without delay"
        live = _run(settings, events, protocol, plan, 0, title)
        for run, each in zip(runs, live, strict=True):
            run["live_neighbours"] = each.summary()
    return Evaluation(
        log=log,
        num_events=len(events),
        num_duplicates=num_duplicates,
        runs=runs,
        comparisons=_compare(outcomes, plan),
        protocol={
            "warmup": protocol.warmup,
            "tested_from_ms": protocol.warmup_until_ms,
            "every": protocol.every,
            "limit": plan.limit,
            "repeats": settings.ranking.repeats,
        },
        settings=differing(settings),
        seconds=round(time.monotonic() - started, 1),
    )


def _protocol(
    log: str, plan: Plan, data_set: DataSet | None, events: EventBatch, allow_repeats: bool
) -> Protocol:
    warmup, hours, every = _WARMUP, 0.0, 1
    begin_ms = int(events.timestamps_ms.min())
    if data_set is not None:
        warmup, hours, every = data_set.warmup, data_set.warmup_hours, data_set.every
        known = data_set_of(log)
        if data_set.tested_from is not None and known is not None:
            try:
                begin_ms = max(begin_ms, data_set.tested_from(known[1]))
            except AdapterError as error:
                raise ConfigurationError(str(error)) from error
    hours = hours if plan.warmup_hours is None else plan.warmup_hours
    return Protocol(
        warmup=warmup if plan.warmup is None else plan.warmup,
        warmup_until_ms=begin_ms + round(hours * 3_600_000),
        every=plan.every or every,
        allow_repeats=allow_repeats,
    )


def _run(
    settings: Settings,
    events: EventBatch,
    protocol: Protocol,
    plan: Plan,
    interval_ms: int,
    title: str,
) -> list[Outcome]:
    union = union_sources(settings)
    alone = [name for name in plan.names if name in SOURCES]
    replay = make_replay(settings, union if len(alone) < len(plan.names) else alone, interval_ms,
                         plan.items)  # fmt: skip
    contenders = [_contender(name, settings, replay) for name in plan.names]
    with progress_bar(title, total=len(events)) as bar:
        found = Prequential(
            replay, contenders, protocol=protocol, on_progress=bar.update
        ).run(events)  # fmt: skip
    say_rejected(replay)
    return found


def plan_title(plan: Plan, log: str) -> str:
    """Return what the progress bar says.

    >>> plan_title(Plan(names=("fusion",)), "data/ml-100k")
    'evaluating fusion on ml-100k'
    >>> plan_title(Plan(names=("recent", "fusion")), "log.jsonl")
    'evaluating 2 contenders on log.jsonl'
    """
    what = plan.names[0] if len(plan.names) == 1 else f"{len(plan.names)} contenders"
    return f"evaluating {what} on {_file_name(log)}"


def _file_name(log: str) -> str:
    return Path(log).name or log


def _contender(name: str, settings: Settings, replay: Replay) -> Contender:
    if name in SOURCES:
        pipeline: Pipeline = make_pipeline(settings, replay.engine, sources=(name,))
        return Contender(name=name, pipeline=pipeline)
    if name == "fusion":
        return Contender(name=name, pipeline=replay.pipeline, ranker=make_fusion(settings))
    if settings.ranking.weights is not None:
        return Contender(name=name, pipeline=replay.pipeline, ranker=load_network(settings))
    from models.training import Trainer

    trainer = Trainer(network_config(settings), seed=0)
    return Contender(name=name, pipeline=replay.pipeline, ranker=trainer.scorer(), trainer=trainer)


def _compare(outcomes: Sequence[Outcome], plan: Plan) -> list[dict[str, Any]]:
    by_name = {each.name: each for each in outcomes}
    found = []
    for name in plan.compared[1:]:
        first, second = by_name[plan.compared[0]], by_name[name]
        users = np.array(first.tests.users, np.int64)
        before, after = gains(np.array(first.ranks)), gains(np.array(second.ranks))
        found.append(
            {
                "first": first.name,
                "second": second.name,
                **{
                    metric: paired_bootstrap(
                        users, before[metric], after[metric], resamples=plan.resamples
                    ).as_json()
                    for metric in _COMPARED
                },
            }
        )
    return found
