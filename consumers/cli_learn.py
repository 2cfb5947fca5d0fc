"""The command ``train``: weights for a worker, from a log."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from consumers.cli_data import ItemsOption, JsonFlag, LimitOption, LogArgument, SetOption
from consumers.cli_evaluate import RepeatsOption
from consumers.console import print_summary, progress_bar
from consumers.evaluations import (
    make_replay,
    network_config,
    read_events,
    settings_for,
    union_sources,
)
from consumers.logs import say_rejected
from consumers.outputs import check_folder
from evaluation.learning import train_on
from stream.errors import ConfigurationError


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
    import torch

    from models.training import Trainer
    from models.weights import save_weights

    started = time.monotonic()
    check_folder("--out", out)
    settings, _, _ = settings_for(log, repeats, overrides or ())
    torch.set_num_threads(settings.ranking.torch_threads)
    events, num_duplicates = read_events(log, limit, grace_ms=settings.users.grace_ms)
    interval_ms = round(settings.signals.interval_s * 1000)
    replay = make_replay(settings, union_sources(settings), interval_ms, items)
    trainer = Trainer(network_config(settings), seed=seed, learning_rate=learning_rate)
    with progress_bar("training", total=len(events)) as bar:
        train_on(events, replay, trainer, on_progress=bar.update)
    say_rejected(replay)
    if not trainer.num_learned:
        message = (
            f"{log}: expected events that a network can learn from, got {len(events)} of which "
            "none was on an item that a source had proposed before it; no weights are written"
        )
        raise ConfigurationError(message)
    manifest = save_weights(trainer.to_weights(Path(log).name), out)
    summary = {
        "events": len(events),
        "duplicate": num_duplicates,
        "learned": trainer.num_learned,
        "weights": str(manifest),
        "seconds": round(time.monotonic() - started, 1),
    }
    print_summary(summary, as_json=as_json)
