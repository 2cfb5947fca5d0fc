"""Bounds and rules of the item side: ItemLimits for a partition, CatalogueLimits for a worker.

Plain frozen values; settings fill them. Absent: bounds of the user side (``UserLimits``).
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

# Popularity is read at several scales because the right one belongs to the log.
HALF_LIVES_MS = (5 * MINUTE_MS, HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemLimits:
    """Bounds of one item partition; every bound counts what lives in that partition alone.

    Attributes:
        max_items: Items owned (counts, marginals, rows of pairs).
        max_ids: Ids known: owned items and the neighbours that other partitions own.
        windows_ms: Lengths of the co-occurrence windows, one to three, a minute to a year.
        num_generations: Parts that a window is dropped in.
        generation_decay: Weight of a generation against the next newer one when read, (0, 1].
        window_weights: Weight of each window where windows are blended to choose neighbours.
        max_pairs: Slots for pairs per window, all generations together (16 bytes each).
        max_row_pairs: Slots for pairs of one item in one generation, a power of two >= 4.
        num_neighbours: Neighbours published per item.
        half_lives_ms: Half-lives at which popularity is read.
        action_half_life_ms: Half-life at which counts per action are read.
        num_minutes: Tiles of a minute kept per item.
        num_hours: Tiles of an hour kept per item.
        num_days: Tiles of a day kept per item.
        seed: Seed of the id table's hash.
    """

    max_items: int = 1_000_000
    max_ids: int = 2_000_000
    windows_ms: tuple[int, ...] = (DAY_MS, 30 * DAY_MS)
    num_generations: int = 4
    generation_decay: float = 0.8
    window_weights: tuple[float, ...] = (1.0, 1.0)
    max_pairs: int = 8_388_608
    max_row_pairs: int = 512
    num_neighbours: int = 50
    half_lives_ms: tuple[int, ...] = HALF_LIVES_MS
    action_half_life_ms: int = DAY_MS
    num_minutes: int = 60
    num_hours: int = 24
    num_days: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        _require(1 <= len(self.windows_ms) <= 3, "windows_ms: one to three windows", self)
        _require(
            all(MINUTE_MS <= window <= 366 * DAY_MS for window in self.windows_ms),
            "windows_ms: each from a minute to a year",
            self,
        )
        _require(
            len(self.window_weights) == len(self.windows_ms),
            "window_weights: one per window",
            self,
        )
        _require(1 <= self.num_generations <= 64, "num_generations: 1 to 64", self)
        _require(0.0 < self.generation_decay <= 1.0, "generation_decay: within (0, 1]", self)
        size = self.max_row_pairs
        _require(
            4 <= size <= 65_536 and size & (size - 1) == 0,
            "max_row_pairs: a power of two from 4 to 65536",
            self,
        )
        _require(
            size * self.num_generations <= self.max_pairs <= 2**33,
            "max_pairs: at least one full row per generation",
            self,
        )
        _require(0 < self.max_items <= self.max_ids < 2**31, "max_items <= max_ids < 2**31", self)
        _require(min(self.half_lives_ms, default=0) > 0, "half_lives_ms: all above 0", self)
        _require(
            self.num_minutes >= 60 and self.num_hours >= 24 and self.num_days >= 1,
            "tiles: a finer ring covers at least one tile of the next coarser (60, 24, 1)",
            self,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueLimits:
    """Bounds of the catalogue that every worker replicates.

    Attributes:
        max_items: Items known; beyond it the least recently active leave.
        dim: Length of an embedding (D).
        num_neighbours: Neighbours kept per item (K).
        max_tags: Tags kept per item, the first ones announced.
        half_lives_ms: Half-lives of the popularity columns, as the item partitions read them.
        windows_ms: Lengths of the co-occurrence windows, as the item partitions have them.
        num_generations: Parts that a window is dropped in.
        generation_decay: Weight of a generation against the next newer one.
        window_weights: Weight of each co-occurrence window where they are blended to one number.
        seed: Seed of the projections that stand in for embeddings.
    """

    max_items: int = 1_000_000
    dim: int = 64
    num_neighbours: int = 50
    max_tags: int = 8
    half_lives_ms: tuple[int, ...] = HALF_LIVES_MS
    windows_ms: tuple[int, ...] = (DAY_MS, 30 * DAY_MS)
    num_generations: int = 4
    generation_decay: float = 0.8
    window_weights: tuple[float, ...] = (1.0, 1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        _require(1 <= self.max_items < 2**31, "max_items: 1 to 2**31 - 1", self)
        _require(1 <= self.dim <= 4096, "dim: 1 to 4096", self)
        _require(1 <= self.num_neighbours <= 65_535, "num_neighbours: 1 to 65535", self)
        _require(self.max_tags >= 1, "max_tags: at least 1", self)
        _require(min(self.half_lives_ms, default=0) > 0, "half_lives_ms: all above 0", self)
        _require(1 <= len(self.window_weights) <= 3, "window_weights: one to three", self)
        _require(
            len(self.windows_ms) == len(self.window_weights), "windows_ms: one per weight", self
        )
        _require(min(self.windows_ms) > 0, "windows_ms: all above 0", self)
        _require(1 <= self.num_generations <= 64, "num_generations: 1 to 64", self)
        _require(0.0 < self.generation_decay <= 1.0, "generation_decay: within (0, 1]", self)


def _require(holds: bool, expected: str, limits: object) -> None:
    if not holds:
        message = f"expected {expected}; got {limits}"
        raise ValueError(message)
