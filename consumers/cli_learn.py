"""Commands that measure and learn: ``evaluate``, ``train``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from consumers.cli_data import ItemsOption, JsonFlag, LimitOption, LogArgument, SetOption
from consumers.configuration import (
    differing,
    load_settings,
    make_engine,
    make_fusion,
    make_pipeline,
)
from consumers.console import print_summary, progress_bar, say
from consumers.logs import data_set_of, read_announcements, read_lines
from consumers.rankers import load_network
from evaluation.learning import train_on
from evaluation.prequential import Outcome, Prequential, Protocol
from models.network import NetworkConfig
from models.ranking import Ranker
from models.training import Trainer
from models.weights import save_weights
from stream.candidates import SOURCES
from stream.decode import decode_events
from stream.errors import ConfigurationError
from stream.events import EventBatch
from stream.replay import Replay
from stream.settings import Settings
from stream.slab import Slab

RANKERS = ("fusion", "network")
RepeatsOption = Annotated[
    str | None, typer.Option(help="allow or exclude consumed items; a data set knows its own.")
]


def _read_events(log: str, limit: int | None) -> EventBatch:
    lines = [line for block in read_lines(log, limit=limit) for line in block]
    events = decode_events(Slab.from_values(lines))
    if events.rejected:
        first = events.rejected[0]
        say(
            f"{len(events.rejected)} lines left out, the first (line {first.offset + 1}): "
            f"{first.reason}, {first.detail}"
        )
    if not len(events):
        message = f"{log}: expected a wire log with events, found none that can be used"
        raise ConfigurationError(message)
    return events


def _network_config(settings: Settings) -> NetworkConfig:
    return NetworkConfig(
        dim=settings.catalogue.dim,
        num_sources=len(SOURCES),
        num_half_lives=len(settings.catalogue.half_lives_ms),
    )


def _sources(settings: Settings) -> tuple[str, ...]:
    """Return the sources of a union; where repeats are excluded, recent has only such."""
    if settings.ranking.repeats == "allow":
        return SOURCES
    return tuple(name for name in SOURCES if name != "recent")


def _replay(
    settings: Settings, sources: tuple[str, ...], interval_ms: int, items: str | None
) -> Replay:
    return Replay(
        make_pipeline(settings, make_engine(settings, partitions=1), sources=sources),
        signals_interval_ms=interval_ms,
        announcements=read_announcements(items),
    )


def _run(
    settings: Settings,
    events: EventBatch,
    protocol: Protocol,
    ranker: str,
    interval_ms: int,
    items: str | None = None,
) -> Outcome:
    sources = (protocol.source,) if protocol.source else _sources(settings)
    replay = _replay(settings, sources, interval_ms, items)
    trainer = None
    chosen: Ranker = make_fusion(settings)
    if ranker == "network":
        if settings.ranking.weights is not None:
            chosen = load_network(settings)
        else:
            trainer = Trainer(_network_config(settings), seed=0)
            chosen = trainer.scorer()
    with progress_bar("evaluating", total=len(events)) as bar:
        outcome = Prequential(
            replay,
            ranker=chosen,
            protocol=protocol,
            trainer=trainer,
            on_progress=bar.update,
        ).run(events)
    _say_rejected(replay)
    return outcome


def _say_rejected(replay: Replay) -> None:
    if replay.num_rejected_items:
        say(f"{replay.num_rejected_items} lines of the items log left out: not items")


def evaluate(
    log: LogArgument,
    source: Annotated[
        str | None, typer.Option(help=f"One source alone: {', '.join(SOURCES)}.")
    ] = None,
    ranker: Annotated[
        str | None, typer.Option(help=f"A ranker over all sources: {', '.join(RANKERS)}.")
    ] = None,
    warmup: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Share of the stream that is only learned.")
    ] = 0.2,
    warmup_hours: Annotated[
        float, typer.Option(min=0.0, help="Hours of event time that are only learned, beside.")
    ] = 0.0,
    every: Annotated[int, typer.Option(min=1, help="Test every K-th event.")] = 1,
    repeats: RepeatsOption = None,
    live: Annotated[
        bool, typer.Option(help="Also report with neighbours read without delay (S = 0).")
    ] = True,
    items: ItemsOption = None,
    limit: LimitOption = None,
    overrides: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Test-then-learn over a log: full ranking, HR, NDCG and MRR of one source or ranker.

    Example: `headwater evaluate data/ml-100k --source item-cf --set users.link_ms=31536000000`
    """
    started = time.monotonic()
    if source is not None and ranker is not None:
        message = "expected one of --source and --ranker, got both"
        raise ConfigurationError(message)
    _one_of("--source", source, SOURCES)
    _one_of("--ranker", ranker, RANKERS)
    settings, policy = _settings(log, repeats, overrides)
    torch.set_num_threads(settings.ranking.torch_threads)
    events = _read_events(log, limit)
    protocol = Protocol(
        source=source,
        warmup=warmup,
        warmup_until_ms=int(events.timestamps_ms[0] + warmup_hours * 3_600_000),
        every=every,
        allow_repeats=policy == "allow",
    )
    ranker = ranker or "fusion"
    interval_ms = round(settings.signals.interval_s * 1000)
    summary: dict[str, Any] = {"log": log, "what": source or ranker, "events": len(events)}
    summary |= _run(settings, events, protocol, ranker, interval_ms, items).summary()
    if live:
        summary["live_neighbours"] = _run(settings, events, protocol, ranker, 0, items).summary()
    summary["settings"] = differing(settings)
    summary["seconds"] = round(time.monotonic() - started, 1)
    print_summary(summary, as_json=as_json)


def _settings(log: str, repeats: str | None, overrides: list[str] | None) -> tuple[Settings, str]:
    """Return the settings and whether consumed items are allowed or excluded."""
    _one_of("--repeats", repeats, ("allow", "exclude"))
    known = data_set_of(log)
    policy = repeats or ("exclude" if known and not known[0].repeats else "allow")
    return load_settings([f"ranking.repeats={policy}", *(overrides or ())]), policy


def _one_of(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        message = f"{option}: expected one of {', '.join(choices)}; got {value!r}"
        raise ConfigurationError(message)


def train(
    log: LogArgument,
    out: Annotated[Path, typer.Option(help="Folder for the weights and their manifest.")],
    seed: Annotated[int, typer.Option(help="Seed of parameters.")] = 0,
    learning_rate: Annotated[float, typer.Option(min=1e-6, max=10.0, help="Adagrad's.")] = 0.1,
    repeats: RepeatsOption = None,
    items: ItemsOption = None,
    limit: LimitOption = None,
    overrides: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Train the network on a log in one pass over time; a worker takes the weights.

    Example: `headwater train log.jsonl --out weights && HEADWATER_RANKING__WEIGHTS=weights
    headwater worker`
    """
    started = time.monotonic()
    settings, _ = _settings(log, repeats, overrides)
    torch.set_num_threads(settings.ranking.torch_threads)
    events = _read_events(log, limit)
    replay = _replay(settings, _sources(settings), round(settings.signals.interval_s * 1000), items)
    trainer = Trainer(_network_config(settings), seed=seed, learning_rate=learning_rate)
    with progress_bar("training", total=len(events)) as bar:
        train_on(events, replay, trainer, on_progress=bar.update)
    _say_rejected(replay)
    manifest = save_weights(trainer.to_weights(Path(log).name), out)
    summary = {
        "events": len(events),
        "learned": trainer.num_learned,
        "weights": str(manifest),
        "seconds": round(time.monotonic() - started, 1),
    }
    print_summary(summary, as_json=as_json)
