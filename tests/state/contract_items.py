"""The item side's tables under the common laws."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from state.catalogue import Catalogue
from state.frame_columns import FrameColumns
from state.item_columns import ItemColumns
from state.item_limits import HOUR_MS, CatalogueLimits
from state.item_partition import ItemPartition
from tests.state.catalogue_builders import make_signals, spans
from tests.state.contracts import Contract
from tests.state.item_worlds import START_MS, Pair, Row, make_frame, small_limits

NUM_SOURCES = 3


@dataclass(frozen=True)
class News:
    """What a catalogue learns of one item."""

    kind: str
    item: bytes
    number: int
    others: tuple[bytes, ...]


def some_frames(seed: int) -> list[FrameColumns]:
    """Frames of three sources, each a chain; names, times and strengths at random."""
    draw = random.Random(seed)
    next_offsets = [0] * NUM_SOURCES
    frames = []
    for _ in range(120):
        source = draw.randrange(NUM_SOURCES)
        begin = next_offsets[source]
        rows = []
        for offset in range(begin, begin + draw.randrange(1, 4)):
            item, *others = draw.sample(range(20), draw.randrange(1, 6))
            rows.append(
                Row(
                    offset=offset,
                    item=b"%d" % item,
                    time_ms=START_MS + draw.randrange(60) * HOUR_MS,
                    action=draw.randrange(6),
                    count=draw.choice([1, 1, -1]),
                    strength=draw.randrange(-2, 4),
                    pairs=tuple(
                        Pair(b"%d" % other, lag=lag, weight=draw.randrange(256))
                        for lag, other in enumerate(others, start=1)
                    ),
                )
            )
        next_offsets[source] = rows[-1].offset + 1
        frames.append(make_frame(rows, source=source, is_owned=lambda item: int(item) % 3 > 0))
    return frames


def make_partition(**limits: int) -> ItemPartition:
    return ItemPartition(partition=0, num_sources=NUM_SOURCES, limits=small_limits(**limits))


def fold(partition: ItemPartition, frames: Sequence[FrameColumns], begin: int, end: int) -> None:
    for frame in frames[begin:end]:
        partition.apply(offset=partition.next_offset, frame=frame)


def digest_partition(partition: ItemPartition) -> bytes:
    return b"".join((*partition.digest_counts(), b"|", *partition.digest_rows()))


def by_source(frames: Sequence[FrameColumns]) -> list[Sequence[FrameColumns]]:
    return [
        [frame for frame in frames if frame.source_partition == source]
        for source in range(NUM_SOURCES)
    ]


def some_news(seed: int) -> list[News]:
    draw = random.Random(seed)
    kinds = ["seen", "seen", "announced", "removed", "signalled"]
    return [
        News(
            kind=draw.choice(kinds),
            item=b"%d" % draw.randrange(30),
            number=draw.randrange(1_000),
            others=tuple(b"%d" % other for other in draw.sample(range(30), draw.randrange(4))),
        )
        for _ in range(150)
    ]


def take(catalogue: Catalogue, news: Sequence[News], begin: int, end: int) -> None:
    for each in news[begin:end]:
        if each.kind == "removed":
            catalogue.remove([each.item])
        elif each.kind == "announced":
            catalogue.put(ItemColumns.of([each.item], created_at_ms=[each.number]))
        elif each.kind == "signalled":
            catalogue.apply_signals(
                make_signals([each.item], [each.others], offset=each.number, as_of_ms=each.number)
            )
        else:
            catalogue.ensure(*spans([each.item]), np.array([each.number], np.int64))


def digest_catalogue(catalogue: Catalogue) -> bytes:
    ids = sorted(catalogue.items.ids(catalogue.items.live_rows()))
    vectors = catalogue.embeddings[[catalogue.items.row_of(each) for each in ids]]
    return repr([catalogue.describe(each) for each in ids]).encode() + vectors.tobytes()


CONTRACTS = (
    Contract(
        name="ItemPartition",
        make=lambda: make_partition(max_items=8, max_ids=12, max_pairs=64, max_row_pairs=8),
        records=some_frames,
        apply=fold,
        digest=digest_partition,
        interleave=by_source,
        roomy=make_partition,
    ),
    Contract(
        name="Catalogue",
        make=lambda: Catalogue(limits=CatalogueLimits(max_items=9, num_neighbours=2, dim=4)),
        records=some_news,
        apply=take,
        digest=digest_catalogue,
    ),
)
