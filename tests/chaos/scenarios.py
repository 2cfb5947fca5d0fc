"""Scenarios: what one row of the chaos table does, and how the runner finds it.

A scenario is a function of a :class:`tests.chaos.world.World`. It starts workers, lets events in,
breaks something, mends it, and returns figures of its own; what every row has (drain, invariants,
recovery, staleness, memory) is the runner's work. A new one: write it in a file
``scenarios_<subject>.py`` beside this one, under ``@scenario(...)``. It may use ``world.random``
and nothing else for its choices: the seed that the runner prints reproduces them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.world import World

# Figures of one scenario by name, beside those of every row; the unit is the name's end.
Figures = Mapping[str, object]
Play = Callable[["World"], Figures | None]

# ``make chaos``; ``make chaos-full`` too; only by name.
QUICK, FULL, LONG = "quick", "full", "long"


class NotPlayable(Exception):
    """This machine or checkout has not what a scenario needs; says what."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row.

    Attributes:
        number: Of the table in docs/reliability.md.
        name: Short, in words; with the number it is what ``--only`` takes.
        tier: ``quick`` (both tiers play it), ``full``, or ``long`` (played only by name).
        play: The function.
        settles: Whether it ends in a deployment that works: drained, stopped, compared with the
            oracle. False where the point is that workers refuse to work.
        rests_on_redis: Whether reads must be answered throughout (I9); False where Redis itself is
            away for a while.
        may_lose_snapshots: Whether it breaks durable snapshots, so that I2 cannot be asked.
        may_lose_lists: Whether Redis itself forgets lists that readers have seen, so that I4 cannot
            be asked.
        broker: Properties of a Kafka of its own; None for the one that all share.
        redis: Properties of its Redis (every scenario has a Redis of its own).
        settings: Settings of its workers by their environment name without the prefix.
        partitions: Of interactions and of item-deltas.
    """

    number: int
    name: str
    tier: str
    play: Play
    settles: bool = True
    rests_on_redis: bool = True
    may_lose_snapshots: bool = False
    may_lose_lists: bool = False
    broker: Mapping[str, str | int] | None = None
    redis: Mapping[str, str | int] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    partitions: int = 3


_REGISTRY: list[Scenario] = []


def scenario(
    number: int, name: str, *, tier: str = FULL, **options: object
) -> Callable[[Play], Play]:
    """Register a function as a row of the table."""

    def register(play: Play) -> Play:
        _REGISTRY.append(Scenario(number=number, name=name, tier=tier, play=play, **options))  # type: ignore[arg-type]
        return play

    return register


def all_scenarios() -> list[Scenario]:
    """Return every scenario, by number and name."""
    for path in sorted(Path(__file__).parent.glob("scenarios_*.py")):
        importlib.import_module(f"tests.chaos.{path.stem}")
    return sorted(_REGISTRY, key=lambda each: (each.number, each.name))
