"""Tiny logs and a small engine to evaluate them with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from evaluation.prequential import Contender, Outcome, Prequential, Protocol
from models.fusion import FusionRanker
from models.network import NetworkConfig
from models.training import Trainer
from state.item_limits import CatalogueLimits, ItemLimits
from state.user_limits import UserLimits
from stream.announcements import Announcements
from stream.candidates import SOURCES
from stream.decode import decode_events
from stream.engine import Engine
from stream.events import EventBatch
from stream.pipeline import Pipeline
from stream.replay import Replay
from stream.rerank import RerankLimits
from stream.slab import Slab
from stream.sources import RetrievalLimits

START_MS = 1_700_000_000_000
DIM = 16


class Event(NamedTuple):
    """One event of a tiny log; ``at`` in seconds from the start."""

    user: str
    item: str
    at: float
    type: str = "watch"


def lines_of(events: Sequence[Event]) -> list[bytes]:
    """Return wire-log lines; a watch is watched to its end."""
    lines = []
    for number, event in enumerate(events):
        fields: dict[str, Any] = {
            "event_id": str(number),
            "type": event.type,
            "user_id": event.user,
            "ts": START_MS + round(event.at * 1000),
        }
        if event.item:
            fields["item_id"] = event.item
        if event.type == "watch":
            fields |= {"watch_ms": 1000, "duration_ms": 1000}
        lines.append(json.dumps(fields).encode())
    return lines


def decode(events: Sequence[Event]) -> EventBatch:
    """Return a log as a batch, in order of arrival."""
    batch = decode_events(Slab.from_values(lines_of(events)))
    assert not batch.rejected
    return batch


def small_replay(
    *,
    sources: tuple[str, ...] = SOURCES,
    allow_repeats: bool = True,
    interval_ms: int = 0,
    items: Sequence[bytes] = (),
) -> Replay:
    """Return a fresh engine of one partition; trending reads the longest half-life alone."""
    engine = Engine(
        num_partitions=1,
        num_item_partitions=1,
        user_limits=UserLimits(max_users=200, max_items=300, max_event_ids=4000),
        item_limits=ItemLimits(max_items=300, max_ids=600, max_pairs=65_536),
        catalogue_limits=CatalogueLimits(max_items=300, dim=DIM),
    )
    pipeline = small_pipeline(engine, sources=sources, allow_repeats=allow_repeats)
    return Replay(pipeline, signals_interval_ms=interval_ms, announcements=Announcements(items))


def small_pipeline(
    engine: Engine, *, sources: tuple[str, ...] = SOURCES, allow_repeats: bool = True
) -> Pipeline:
    """Return the ten steps over a small engine."""
    retrieval = RetrievalLimits(
        sources=sources,
        allow_repeats=allow_repeats,
        trending_weights=(0.0, 0.0, 0.0, 0.0, 1.0),
        shared_bucket_ms=1,
    )
    return Pipeline(
        engine, retrieval=retrieval, reranking=RerankLimits(allow_repeats=allow_repeats)
    )


def network_trainer() -> Trainer:
    """Return a trainer that fits the small engine."""
    return Trainer(NetworkConfig(dim=DIM, num_sources=len(SOURCES), num_half_lives=5), seed=0)


def evaluate(
    events: Sequence[Event],
    *,
    source: str | None = None,
    warmup: float = 0.0,
    every: int = 1,
    allow_repeats: bool = True,
    interval_ms: int = 0,
    items: Sequence[bytes] = (),
    learn: bool = False,
    on_list: Callable[[bytes, int, list[bytes], list[float]], None] | None = None,
) -> Outcome:
    """Evaluate one source, fusion, or (learn) a network that is trained on the way."""
    replay = small_replay(
        sources=(source,) if source else SOURCES,
        allow_repeats=allow_repeats,
        interval_ms=interval_ms,
        items=items,
    )
    trainer = network_trainer() if learn else None
    names = replay.engine.catalogue.items
    fusion = FusionRanker((1.0,) * len(SOURCES))
    contender = Contender(
        name=source or ("network" if learn else "fusion"),
        pipeline=replay.pipeline,
        ranker=None if source else trainer.scorer() if trainer else fusion,
        trainer=trainer,
    )
    (outcome,) = Prequential(
        replay,
        [contender],
        protocol=Protocol(warmup=warmup, every=every, allow_repeats=allow_repeats),
        on_list=None
        if on_list is None
        else lambda _, user, now_ms, rows, scores: on_list(
            user, now_ms, names.ids(rows), scores.tolist()
        ),
    ).run(decode(events))
    return outcome
