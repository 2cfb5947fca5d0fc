"""One item partition as dicts and loops: counts per tile, marginals and ordered pairs, from rows.

Everything is an integer sum over rows, so the order of rows cannot matter; only what a window no
longer holds at the end is left out. Absent: bounds (a partition that evicted or overflowed is not
comparable) and reads, but for popularity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stream.wire import ACTION_NAMES
from tests.chaos.oracle_records import partition_of
from tests.chaos.oracle_users import SKIP, DeltaRow

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
# Actions that are counted one by one, in order; the sum of strengths stands behind them.
COUNTED = ACTION_NAMES[:5]
STRENGTH = "strength"
_NOT_INTERESTED = ACTION_NAMES.index("not_interested")
# Weight of a pair of lag 1; of a pair of lag n about an n-th of it.
ORDER_UNIT = 60


@dataclass(frozen=True)
class ItemRules:
    """Windows of the item side; the defaults are the worker's."""

    windows_ms: tuple[int, ...] = (DAY_MS, 30 * DAY_MS)
    num_generations: int = 4
    num_minutes: int = 60
    num_hours: int = 24
    num_days: int = 30


# Ring ("minute", "hour", "day"), tile number and column.
Tile = tuple[str, int, str]
# Window and generation.
Part = tuple[int, int]


@dataclass
class Marginals:
    """Sums of one item in one generation."""

    interactions: int = 0
    strength: int = 0
    out: int = 0
    into: int = 0
    cf: int = 0


@dataclass
class ItemState:
    """Integers of one item; zeros are left out.

    Attributes:
        pairs: (window, generation) -> neighbour -> [out, in, cf].
        touched_ms: When somebody last turned to it; 0 for never.
    """

    tiles: dict[Tile, int] = field(default_factory=dict)
    marginals: dict[Part, Marginals] = field(default_factory=dict)
    pairs: dict[Part, dict[str, list[int]]] = field(default_factory=dict)
    touched_ms: int = 0


class ItemPartitionOracle:
    """What the owner of an item partition must hold after all rows that concern it."""

    def __init__(
        self, partition: int, num_partitions: int, rules: ItemRules, rows: Iterable[DeltaRow]
    ) -> None:
        self.partition = partition
        self.num_partitions = num_partitions
        self.rules = rules
        self.items: dict[str, ItemState] = {}
        ours = [row for row in rows if self._concerns(row)]
        self.stream_time_ms = max((row.time_ms for row in ours), default=0)
        for row in ours:
            if self.owns(row.item):
                self._count(row)
            for window in range(len(rules.windows_ms)):
                self._pair(row, window)
        self.items = {name: item for name, item in self.items.items() if _clean(item)}

    def owns(self, item: str) -> bool:
        """Tell whether an item belongs here."""
        return partition_of(item.encode(), self.num_partitions) == self.partition

    def _concerns(self, row: DeltaRow) -> bool:
        return self.owns(row.item) or any(self.owns(pair.item) for pair in row.pairs)

    def _item(self, item: str) -> ItemState:
        return self.items.setdefault(item, ItemState())

    def _count(self, row: DeltaRow) -> None:
        item = self._item(row.item)
        tiles = item.tiles
        if row.count > 0 and row.action not in (_NOT_INTERESTED, SKIP):
            item.touched_ms = max(item.touched_ms, row.time_ms)
        action = 0 if row.action == SKIP else row.action  # A skip is a watch.
        rings = (
            ("minute", MINUTE_MS, self.rules.num_minutes),
            ("hour", HOUR_MS, self.rules.num_hours),
            ("day", DAY_MS, self.rules.num_days),
        )
        for ring, size_ms, number in rings:
            tile = row.time_ms // size_ms
            if tile <= self.stream_time_ms // size_ms - number:
                continue
            columns = [(STRENGTH, row.strength)]
            if ring != "minute" and action < len(COUNTED):
                columns.append((COUNTED[action], row.count))
            for column, amount in columns:
                key = (ring, tile, column)
                tiles[key] = tiles.get(key, 0) + amount

    def _pair(self, row: DeltaRow, window: int) -> None:
        generation_ms = self.rules.windows_ms[window] // self.rules.num_generations
        generation = row.time_ms // generation_ms
        newest = self.stream_time_ms // generation_ms
        if generation <= newest - self.rules.num_generations:
            return
        part = (window, generation)
        if self.owns(row.item):
            sums = self._item(row.item).marginals.setdefault(part, Marginals())
            sums.interactions += row.count
            sums.strength += row.strength
        for pair in row.pairs:
            order = (ORDER_UNIT + pair.lag // 2) // pair.lag
            if self.owns(row.item):
                item = self._item(row.item)
                sums = item.marginals.setdefault(part, Marginals())
                sums.into += order
                sums.cf += pair.weight
                _add(item, part, pair.item, (0, order, pair.weight))
            if self.owns(pair.item):
                item = self._item(pair.item)
                sums = item.marginals.setdefault(part, Marginals())
                sums.out += order
                sums.cf += pair.weight
                _add(item, part, row.item, (order, 0, pair.weight))

    def popularity(self, item: str, half_life_ms: int) -> float:
        """Return an item's decayed strength as of stream time, each event counted once.

        A tile counts with the age of the middle of what no finer ring holds of it, one unit of the
        newest minute with strength with the age of the last touch.
        """
        state = self.items.get(item, ItemState())
        tiles, is_newest = state.tiles, True
        now_ms, total = self.stream_time_ms, 0.0
        finer_ms, finer_start_ms = 0, now_ms + 1
        rings = (
            ("minute", MINUTE_MS, self.rules.num_minutes),
            ("hour", HOUR_MS, self.rules.num_hours),
            ("day", DAY_MS, self.rules.num_days),
        )
        for ring, size_ms, number in rings:
            for tile in range(now_ms // size_ms, now_ms // size_ms - number, -1):
                amount = tiles.get((ring, tile, STRENGTH), 0)
                start_ms, end_ms = tile * size_ms, (tile + 1) * size_ms
                if finer_ms:
                    for finer in range(start_ms // finer_ms, end_ms // finer_ms):
                        if finer * finer_ms >= finer_start_ms:
                            amount -= tiles.get((_finer(ring), finer, STRENGTH), 0)
                    end_ms = min(end_ms, max(finer_start_ms, start_ms))
                age_ms = max(0.0, now_ms - (start_ms + end_ms) / 2)
                if amount > 0 and is_newest and ring == "minute":
                    amount, is_newest = amount - 1, False
                    total += 2.0 ** (-max(0, now_ms - state.touched_ms) / half_life_ms)
                total += amount * 2.0 ** (-age_ms / half_life_ms)
            finer_ms = size_ms
            finer_start_ms = (now_ms // size_ms - number + 1) * size_ms
        return max(0.0, total)


def _finer(ring: str) -> str:
    return {"hour": "minute", "day": "hour"}[ring]


def _add(item: ItemState, part: Part, neighbour: str, weights: tuple[int, int, int]) -> None:
    sums = item.pairs.setdefault(part, {}).setdefault(neighbour, [0, 0, 0])
    for kind, weight in enumerate(weights):
        sums[kind] += weight


def _clean(item: ItemState) -> bool:
    """Leave zeros out; tell whether anything is left."""
    item.tiles = {key: count for key, count in item.tiles.items() if count}
    item.marginals = {part: sums for part, sums in item.marginals.items() if sums != Marginals()}
    return bool(item.tiles or item.marginals or item.pairs)
