"""From settings to keyword arguments: the one place that reads the environment.

Every function here turns a group of settings into what one part of the engine takes, so that no
other module holds a Settings.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from consumers.addresses import bootstrap_servers
from consumers.snapshots import SnapshotStore
from models.fusion import FusionRanker
from models.ranking import Ranker
from state.item_limits import CatalogueLimits, ItemLimits
from state.user_limits import UserLimits
from stream.answers import StateAnswers
from stream.candidates import SOURCES
from stream.engine import Engine
from stream.errors import ConfigurationError
from stream.pipeline import Pipeline
from stream.rerank import RerankLimits
from stream.settings import Settings
from stream.sources import RetrievalLimits


def _explain(error: ValidationError) -> str:
    lines = []
    for each in error.errors():
        name = "__".join(str(part) for part in each["loc"]).upper()
        # A URL may hold a password, and a group's input holds all of it.
        is_secret = name.startswith(("REDIS", "KAFKA_SECURITY"))
        text = each["msg"].removeprefix("Value error, ")
        came = "" if is_secret or "got " in text else f", got {each['input']!r}"
        # Only its first letter: values that it names mean what they are in their own case.
        said = text[:1].lower() + text[1:]
        lines.append(f"HEADWATER_{name}: {said}{came}")
    return "; ".join(lines)


# Names with our prefix that are not settings: the tests' own, the client's pytest plugin's, and
# the image that docker/compose.yaml takes from the same shell.
_OTHERS = {
    "HEADWATER_COMMAND",
    "HEADWATER_CRASH_AT",
    "HEADWATER_IMAGE",
    "HEADWATER_REQUIRE_SERVERS",
    "HEADWATER_TEST_DATA",
}


def _refuse_unknown() -> None:
    """Raise ConfigurationError for a misspelt setting: to ignore it would be to do without it."""
    known = set(_OTHERS)
    for name, field in Settings.model_fields.items():
        known.add(f"HEADWATER_{name.upper()}")
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            known |= {f"HEADWATER_{name.upper()}__{each.upper()}" for each in group.model_fields}
    given = {name for name in os.environ if name.upper().startswith("HEADWATER_")}
    unknown = sorted(name for name in given if name.upper() not in known)
    if unknown:
        near = difflib.get_close_matches(unknown[0].upper(), sorted(known), n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        message = (
            f"expected settings of docs/configuration.md in the environment, got "
            f"{', '.join(unknown)}{hint}"
        )
        raise ConfigurationError(message)


def load_settings(overrides: Sequence[str] = ()) -> Settings:
    """Read the environment, then ``NAME=VALUE`` overrides (``users.link_ms=86400000``).

    Values are JSON where they parse as such, else text.

    Raises:
        ConfigurationError: If a name is unknown or a value is out of its bounds.
    """
    _refuse_unknown()
    try:
        settings = Settings()
        if settings.kafka:
            bootstrap_servers(settings.kafka)
        if not overrides:
            return settings
        values = settings.model_dump()
        for override in overrides:
            _put(values, override)
        return Settings(**values)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from None
    except SettingsError as error:  # A group given as one variable that is no JSON.
        raise ConfigurationError(str(error)) from None


def _put(values: dict[str, Any], override: str) -> None:
    name, sign, text = override.partition("=")
    group, _, field = name.partition(".")
    target = values.get(group) if field else values
    field = field or group
    if not sign or not isinstance(target, dict) or field not in target:
        message = (
            f"--set expects NAME=VALUE with a NAME from docs/configuration.md, as in "
            f"users.link_ms=86400000; got {override!r}"
        )
        raise ConfigurationError(message)
    try:
        target[field] = json.loads(text)
    except json.JSONDecodeError:
        target[field] = text


def differing(settings: Settings) -> dict[str, object]:
    """Return the settings of the engine that differ from the worker's defaults, by dotted name."""
    found: dict[str, object] = {}
    for group in ("users", "items", "catalogue", "signals", "retrieval", "ranking"):
        default = type(getattr(settings, group))()
        for name, value in getattr(settings, group).model_dump(mode="json").items():
            if value != default.model_dump(mode="json")[name]:
                found[f"{group}.{name}"] = value
    return found


def make_snapshot_store(settings: Settings) -> SnapshotStore:
    """Open the snapshot store; a folder is made where it is missing.

    Raises:
        ConfigurationError: The place is none, or ends with the worker.
    """
    worker = settings.worker
    return SnapshotStore(
        snapshot_place(settings), keep=worker.snapshots_kept, timeout_s=worker.store_timeout_s
    )


def snapshot_place(settings: Settings) -> Path | str:
    """Return the folder or the URL of the snapshots.

    Raises:
        ConfigurationError: It ends with the worker.
    """
    # fsspec has both for folders, and writes there neither whole nor to the disk.
    place = settings.worker.snapshots.removeprefix("file://").removeprefix("local://")
    if "memory://" in place:
        message = (
            "HEADWATER_WORKER__SNAPSHOTS: expected a place that outlives the worker, got "
            f"{place}, which is its own memory: name a folder or an object store"
        )
        raise ConfigurationError(message)
    return place or settings.data_dir / "snapshots"


def make_engine(settings: Settings, *, partitions: int | None = None) -> Engine:
    """Make an empty engine; ``partitions`` replaces both partition counts (replay)."""
    items = settings.items
    try:
        return Engine(
            num_partitions=partitions or settings.topics.partitions,
            num_item_partitions=partitions or settings.topics.item_partitions,
            user_limits=UserLimits(**settings.users.model_dump()),
            item_limits=ItemLimits(
                **items.model_dump(),
                num_neighbours=settings.catalogue.num_neighbours,
                half_lives_ms=settings.catalogue.half_lives_ms,
            ),
            catalogue_limits=CatalogueLimits(
                **settings.catalogue.model_dump(),
                windows_ms=items.windows_ms,
                window_weights=items.window_weights,
                num_generations=items.num_generations,
                generation_decay=items.generation_decay,
            ),
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def make_pipeline(
    settings: Settings, engine: Engine, *, sources: Sequence[str] = SOURCES
) -> Pipeline:
    """Make the ten steps over an engine."""
    return Pipeline(
        engine,
        retrieval=retrieval_limits(settings, sources),
        reranking=reranking_limits(settings),
    )


def retrieval_limits(settings: Settings, sources: Sequence[str] = SOURCES) -> RetrievalLimits:
    """Return the bounds of step 7.

    Raises:
        ConfigurationError: Trending is to be read at half-lives that the catalogue does not have.
    """
    half_lives_ms, asked = settings.catalogue.half_lives_ms, settings.retrieval
    if asked.trending_weights and len(asked.trending_weights) != len(half_lives_ms):
        message = (
            f"HEADWATER_RETRIEVAL__TRENDING_WEIGHTS: expected {len(half_lives_ms)}, one per "
            f"half-life of the catalogue, got {len(asked.trending_weights)}"
        )
        raise ConfigurationError(message)
    return RetrievalLimits(
        **settings.retrieval.model_dump(),
        sources=tuple(sources),
        allow_repeats=settings.ranking.repeats == "allow",
    )


def reranking_limits(settings: Settings) -> RerankLimits:
    """Return the bounds and rules of step 9."""
    ranking = settings.ranking
    return RerankLimits(
        slate_size=ranking.slate_size,
        pool_size=max(150, ranking.slate_size),
        max_per_author=ranking.max_per_author,
        allow_repeats=ranking.repeats == "allow",
        refill_seen=ranking.refill_seen,
    )


def make_answers(settings: Settings, pipeline: Pipeline, ranker: Ranker) -> StateAnswers:
    """Make what answers ``explain`` and ``inspect`` over a pipeline made from the same settings."""
    return StateAnswers(
        pipeline,
        ranker=ranker,
        fallback=make_fusion(settings),
        retrieval=retrieval_limits(settings),
        reranking=reranking_limits(settings),
    )


def make_fusion(settings: Settings) -> FusionRanker:
    """Make the ranker that needs no training."""
    weights = settings.ranking.fusion_weights or (1.0,) * len(SOURCES)
    if len(weights) != len(SOURCES):
        message = (
            f"HEADWATER_RANKING__FUSION_WEIGHTS: expected {len(SOURCES)} weights "
            f"({', '.join(SOURCES)}), got {len(weights)}"
        )
        raise ConfigurationError(message)
    return FusionRanker(weights, k=settings.ranking.fusion_k)
