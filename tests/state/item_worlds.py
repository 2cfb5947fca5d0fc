"""Builders of delta rows and frames, and the slow truth of the item side: dicts and loops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from state.frame_columns import FrameColumns
from state.item_limits import DAY_MS, HOUR_MS, MINUTE_MS, ItemLimits
from state.item_partition import ItemPartition
from state.pair_arena import CF, GENERATION, IN, LANES, NUM_LINES, OUT, START

START_MS = 1_700_000_000_000
SMALL = {"max_items": 64, "max_ids": 128, "max_pairs": 4_096, "max_row_pairs": 64}


def small_limits(**changes: object) -> ItemLimits:
    """Make limits that keep tests light but leave room for everything."""
    return ItemLimits(**{**SMALL, **changes})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Pair:
    item: bytes
    lag: int = 1
    weight: int = 100


@dataclass(frozen=True)
class Row:
    """One applied action, as a user partition derives it."""

    offset: int
    item: bytes
    time_ms: int = START_MS
    action: int = 0
    count: int = 1
    strength: int = 1
    pairs: tuple[Pair, ...] = ()


def everything(_: bytes) -> bool:
    return True


def make_frame(
    rows: Sequence[Row],
    *,
    begin: int | None = None,
    end: int | None = None,
    source: int = 0,
    is_owned: Callable[[bytes], bool] = everything,
) -> FrameColumns:
    """Make the frame that a receiver decodes; ``[begin, end)`` defaults to the rows' offsets."""
    refs: dict[bytes, int] = {}
    for row in rows:
        for item in (row.item, *(pair.item for pair in row.pairs)):
            refs.setdefault(item, len(refs))
    lengths = np.array([len(item) for item in refs], np.int32)
    pairs = [pair for row in rows for pair in row.pairs]
    return FrameColumns(
        source_partition=source,
        begin=(rows[0].offset if rows else 0) if begin is None else begin,
        end=(rows[-1].offset + 1 if rows else 0) if end is None else end,
        buffer=np.frombuffer(b"".join(refs), np.uint8),
        id_starts=np.cumsum(lengths, dtype=np.int64) - lengths,
        id_lengths=lengths,
        is_owned=np.array([is_owned(item) for item in refs], np.bool_),
        offsets=np.array([row.offset for row in rows], np.int64),
        item_refs=np.array([refs[row.item] for row in rows], np.int32),
        timestamps_ms=np.array([row.time_ms for row in rows], np.int64),
        actions=np.array([row.action for row in rows], np.uint8),
        counts=np.array([row.count for row in rows], np.int8),
        strengths=np.array([row.strength for row in rows], np.int16),
        pair_splits=np.cumsum([0, *(len(row.pairs) for row in rows)], dtype=np.int64),
        pair_refs=np.array([refs[pair.item] for pair in pairs], np.int32),
        pair_lags=np.array([pair.lag for pair in pairs], np.uint8),
        pair_weights=np.array([pair.weight for pair in pairs], np.uint8),
    )


ITEMS = [b"item-%d" % number for number in range(9)]


@st.composite
def source_rows(draw: st.DrawFn, *, max_rows: int = 12, span_ms: int = 50 * DAY_MS) -> list[Row]:
    """Draw the rows of one source partition, offsets ascending with gaps."""
    offset = 0
    rows = []
    for _ in range(draw(st.integers(0, max_rows))):
        offset += draw(st.integers(1, 3))
        item = draw(st.sampled_from(ITEMS))
        others = [other for other in ITEMS if other != item]
        previous = draw(st.lists(st.sampled_from(others), max_size=5, unique=True))
        rows.append(
            Row(
                offset=offset - 1,
                item=item,
                time_ms=START_MS + draw(st.integers(0, span_ms)),
                action=draw(st.sampled_from([0, 1, 2, 3, 4, 5, 8])),
                count=draw(st.sampled_from([1, 1, 1, -1, 0])),
                strength=draw(st.integers(-3, 3)),
                pairs=tuple(
                    Pair(other, lag=lag, weight=draw(st.integers(0, 255)))
                    for lag, other in enumerate(previous, start=1)
                ),
            )
        )
    return rows


class ItemOracle:
    """What an item partition must hold after some rows: every integer by its name."""

    def __init__(
        self, rows: Iterable[Row], *, limits: ItemLimits, is_owned: Callable[[bytes], bool]
    ) -> None:
        rows = list(rows)
        self.limits = limits
        self.now_ms = max((row.time_ms for row in rows), default=0)
        # (ring, tile number) -> column -> count, per item
        self.tiles: dict[bytes, dict[tuple[str, int, int], int]] = defaultdict(
            lambda: defaultdict(int)
        )
        self.touched_ms: dict[bytes, int] = defaultdict(int)
        # (window, generation) -> item -> [interactions, strength, out, in, cf]
        self.marginals: dict[tuple[int, int], dict[bytes, list[int]]] = defaultdict(
            lambda: defaultdict(lambda: [0] * 5)
        )
        # (window, generation) -> (item, neighbour) -> [out, in, cf]
        self.pairs: dict[tuple[int, int], dict[tuple[bytes, bytes], list[int]]] = defaultdict(
            lambda: defaultdict(lambda: [0] * 3)
        )
        for row in rows:
            if is_owned(row.item):
                self._count(row)
            for window in range(len(limits.windows_ms)):
                self._pair(row, window, is_owned)

    def _count(self, row: Row) -> None:
        tiles = self.tiles[row.item]
        if row.count > 0 and row.action not in (4, 8):  # No dislike, unlike, skip.
            self.touched_ms[row.item] = max(self.touched_ms[row.item], row.time_ms)
        action = {6: 1, 8: 0}.get(row.action, row.action)  # An unlike is a like's, a skip a watch.
        for ring, size_ms, number in (
            ("hour", HOUR_MS, self.limits.num_hours),
            ("day", DAY_MS, self.limits.num_days),
        ):
            tile = row.time_ms // size_ms
            if tile > self.now_ms // size_ms - number:
                if action < 5:
                    tiles[ring, tile, action] += row.count
                tiles[ring, tile, 5] += row.strength
        if row.time_ms // MINUTE_MS > self.now_ms // MINUTE_MS - self.limits.num_minutes:
            tiles["minute", row.time_ms // MINUTE_MS, 5] += row.strength

    def _pair(self, row: Row, window: int, is_owned: Callable[[bytes], bool]) -> None:
        generation_ms = self.limits.windows_ms[window] // self.limits.num_generations
        generation = row.time_ms // generation_ms
        if generation <= self.now_ms // generation_ms - self.limits.num_generations:
            return
        marginals = self.marginals[window, generation]
        pairs = self.pairs[window, generation]
        if is_owned(row.item):
            marginals[row.item][0] += row.count
            marginals[row.item][1] += row.strength
        for pair in row.pairs:
            order = (60 + pair.lag // 2) // pair.lag
            if is_owned(row.item):
                for index, amount in ((3, order), (4, pair.weight)):
                    marginals[row.item][index] += amount
                for index, amount in ((1, order), (2, pair.weight)):
                    pairs[row.item, pair.item][index] += amount
            if is_owned(pair.item):
                for index, amount in ((2, order), (4, pair.weight)):
                    marginals[pair.item][index] += amount
                for index, amount in ((0, order), (2, pair.weight)):
                    pairs[pair.item, row.item][index] += amount


def held_pairs(
    partition: ItemPartition,
) -> dict[tuple[int, int], dict[tuple[bytes, bytes], list[int]]]:
    """Read all entries of a partition by scanning its lines: (window, generation) -> pairs."""
    table = partition.pairs
    held: dict[tuple[int, int], dict[tuple[bytes, bytes], list[int]]] = {}
    for row in partition.live_rows().tolist():
        item = partition.ids.id(int(partition.id_rows[row]))
        for slot, heads in enumerate(table.heads):
            window = slot // table.num_generations
            header = table.headers[row, slot]
            generation = int(heads[GENERATION])
            is_held = table.newest[window] - table.num_generations < generation
            if header[GENERATION] != generation or not is_held or generation < 0:
                continue
            entries = held.setdefault((window, generation), {})
            for line in table.lines[header[START] : header[START] + header[NUM_LINES]]:
                for lane in range(LANES):
                    if line[lane]:
                        neighbour = partition.ids.id(int(line[lane]) - 1)
                        assert (item, neighbour) not in entries
                        entries[item, neighbour] = [
                            int(line[field + lane]) for field in (OUT, IN, CF)
                        ]
    return {key: entries for key, entries in held.items() if entries}
