"""One pass over a log that trains the network: retrieve before folding, learn, then fold.

Used by ``headwater train`` (weights for a worker) and by ``headwater evaluate --ranker network``
(learn while being tested, on the past only). Candidates come from the worker's own pipeline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from stream.events import Action, EventBatch
from stream.outcomes import Refresh
from stream.replay import Replay

if TYPE_CHECKING:
    from models.training import Trainer, TrainingLabels

# Events per optimiser step; their users' candidates are as of the cut's beginning.
_CUT = 32


def labels_of(
    refresh: Refresh, events: EventBatch, indices: list[int], replay: Replay
) -> TrainingLabels:
    """Return what each user of a refresh did next.

    Args:
        refresh: Candidates of B users, before the events.
        events: The log.
        indices: One event per user of the refresh, in its order.
        replay: Whose catalogue names the rows.
    """
    items = replay.engine.catalogue.items
    splits, rows = refresh.candidates.splits, refresh.candidates.item_rows
    targets = np.full(len(indices), -1, np.int64)
    completions = np.full(len(indices), np.nan, np.float32)
    for user, index in enumerate(indices):
        row = items.row_of(events.item_id(index).encode())
        begin, end = int(splits[user]), int(splits[user + 1])
        found = np.flatnonzero(rows[begin:end] == row)
        if row >= 0 and len(found):
            targets[user] = begin + int(found[0])
        duration = int(events.duration_ms[index])
        if int(events.types[index]) == Action.WATCH and duration > 0:
            completions[user] = min(1.0, int(events.watch_ms[index]) / duration)
    from models.training import TrainingLabels  # Here, so that no other command loads torch.

    return TrainingLabels(
        targets=targets,
        actions=events.types[np.array(indices)].astype(np.uint8),
        completions=completions,
    )


def train_on(
    events: EventBatch,
    replay: Replay,
    trainer: Trainer,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Train on a log in one pass over time.

    Args:
        events: The log in order of arrival, decoded.
        replay: A fresh engine of one partition.
        trainer: Learns; the caller takes its weights afterwards.
        on_progress: Called with (events done, events in all).
    """
    for begin in range(0, len(events), _CUT):
        end = min(begin + _CUT, len(events))
        first: dict[bytes, int] = {}
        for index in range(begin, end):
            if int(events.types[index]) not in (Action.UNLIKE, Action.ERASE):
                first.setdefault(events.user_id(index).encode(), index)
        if first:
            now_ms = int(events.timestamps_ms[begin])
            replay.advance(now_ms)
            users = replay.pipeline.read_users(0, list(first), now_ms=now_ms)
            refresh = replay.pipeline.retrieve(users)
            if len(refresh.candidates):
                labels = labels_of(refresh, events, list(first.values()), replay)
                trainer.learn(refresh.inputs, labels)
        replay.fold(events.select(np.arange(begin, end)))
        on_progress(end, len(events))
