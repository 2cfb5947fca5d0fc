"""Resident memory of the tables against the decision pages' paper figures.

Run: ``python benchmarks/measure_memory.py [--users 200000] [--items 200000]``. Fills a catalogue,
a user partition and an item partition in one process, one after the other, and reads the resident
memory before and after each. No server. Prints one JSON line: bytes measured, bytes on paper
(docs/decisions/0003-memory-user-side.md, 0004-memory-item-side.md) and their ratio, and both paper
and measured figures carried on to one million users and items.

Ids have 12 bytes; three events a user; items have every column written. Pairs have a budget and no
size per item, so the item partition is filled without them.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from state.catalogue import Catalogue
from state.frame_columns import FrameColumns
from state.item_columns import ItemColumns
from state.item_limits import CatalogueLimits, ItemLimits
from state.item_partition import ItemPartition
from state.item_partition import compile_kernels as compile_items
from state.signal_columns import SignalColumns
from state.user_limits import UserLimits
from state.user_partition import UserPartition
from state.warmup import compile_kernels as compile_users

NOW_MS = 1_700_000_000_000
ID_BYTES = 12
EVENTS_PER_USER = 3
AT_ONCE = 4_000
# Bytes on paper: decisions 0003 (user, item met, event id) and 0004 (item owned with its id,
# item of the catalogue).
PAPER = {"user": 1_872.0, "met_item": 82.0, "event_id": 44.8, "owned_item": 2_131.0}
PAPER_CATALOGUE_ITEM = 1_290.0
MILLION = 1_000_000


def resident_bytes() -> int:
    """Return the resident memory of this process, without what its allocator only keeps."""
    gc.collect()
    # Scratch of filling (60 MB here) is no table's; where the C library is another it stays in.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def grown(fill: Callable[[], Any]) -> tuple[Any, int]:
    """Run a function; return what it returns and by how much resident memory grew."""
    before = resident_bytes()
    filled = fill()
    return filled, resident_bytes() - before


def spans(prefix: bytes, numbers: NDArray[np.int64]) -> tuple[NDArray[np.uint8], Any, Any]:
    """Return ids of 12 bytes: their buffer, starts int64 and lengths int32."""
    buffer = np.frombuffer(b"".join(b"%s%011d" % (prefix, each) for each in numbers), np.uint8)
    lengths = np.full(len(numbers), ID_BYTES, np.int32)
    return buffer, np.arange(len(numbers), dtype=np.int64) * ID_BYTES, lengths


def fill_catalogue(num_items: int) -> Catalogue:
    """Announce every item and give each signals with all its neighbours."""
    catalogue = Catalogue(limits=CatalogueLimits())
    rng = np.random.default_rng(0)
    for begin in range(0, num_items, AT_ONCE):
        numbers = np.arange(begin, min(begin + AT_ONCE, num_items))
        catalogue.put(announcements(rng, numbers))
        catalogue.apply_signals(signals(rng, numbers))
    return catalogue


def announcements(rng: np.random.Generator, numbers: NDArray[np.int64]) -> ItemColumns:
    """Return items with an author, eight tags and an embedding."""
    count = len(numbers)
    buffer, starts, lengths = spans(b"i", numbers)
    keys = rng.integers(1, 1 << 62, (count, 10)).astype(np.uint64)
    return ItemColumns(
        buffer=buffer,
        starts=starts,
        lengths=lengths,
        created_at_ms=np.full(count, NOW_MS, np.int64),
        duration_ms=np.full(count, 30_000, np.int32),
        author_keys=keys[:, 0].copy(),
        category_keys=keys[:, 1].copy(),
        tag_splits=np.arange(count + 1, dtype=np.int64) * 8,
        tag_keys=keys[:, 2:].ravel(),
        embedding_splits=np.arange(count + 1, dtype=np.int64) * 64,
        embedding_values=rng.normal(size=count * 64).astype(np.float32),
        is_hidden=np.zeros(count, np.bool_),
    )


def signals(rng: np.random.Generator, numbers: NDArray[np.int64]) -> SignalColumns:
    """Return signals with 50 neighbours an item, among the items announced so far."""
    count, num_neighbours = len(numbers), 50
    others = rng.integers(0, numbers[-1] + 1, count * num_neighbours)
    buffer, starts, lengths = spans(b"i", np.concatenate([numbers, others]))
    weights = rng.random((3, len(others), 2)).astype(np.float32)
    sums = np.ones((count, 2), np.float32)
    return SignalColumns(
        buffer=buffer,
        starts=starts[:count],
        lengths=lengths[:count],
        offsets=np.full(count, 1, np.int64),
        as_of_ms=np.full(count, NOW_MS, np.int64),
        popularity=np.ones((count, 5), np.float32),
        action_counts=np.ones((count, 5), np.float32),
        interactions=sums,
        out_sums=sums,
        in_sums=sums,
        neighbour_splits=np.arange(count + 1, dtype=np.int64) * num_neighbours,
        neighbour_starts=starts[count:],
        neighbour_lengths=lengths[count:],
        neighbour_out=weights[0],
        neighbour_in=weights[1],
        neighbour_cf=weights[2],
    )


def fill_users(num_users: int, num_items: int, catalogue: Catalogue) -> UserPartition:
    """Let every user watch three items."""
    partition = UserPartition(
        partition=0, num_item_partitions=4, catalogue=catalogue, limits=UserLimits()
    )
    rng = np.random.default_rng(1)
    order = np.tile(np.arange(num_users), EVENTS_PER_USER)
    for begin in range(0, len(order), AT_ONCE):
        users = order[begin : begin + AT_ONCE]
        count, offsets = len(users), np.arange(begin, begin + len(users))
        items = rng.integers(0, num_items, count)
        buffers, columns = [], {}
        for place, (name, prefix, numbers) in enumerate(
            (("user", b"u", users), ("item", b"i", items), ("event_id", b"e", offsets))
        ):
            buffer, starts, lengths = spans(prefix, numbers)
            buffers.append(buffer)
            columns[f"{name}_starts"] = starts + place * count * ID_BYTES
            columns[f"{name}_lengths"] = lengths
        partition.apply(
            begin=begin,
            end=begin + count,
            buffer=np.concatenate(buffers),
            offsets=offsets,
            kafka_timestamps_ms=NOW_MS + offsets,
            timestamps_ms=NOW_MS + offsets,
            types=np.zeros(count, np.uint8),
            watch_ms=np.full(count, 30_000, np.int64),
            duration_ms=np.full(count, 30_000, np.int64),
            rejected_offsets=np.empty(0, np.int64),
            routed_offsets=np.empty(0, np.int64),
            **columns,
        )
    return partition


def fill_items(num_items: int) -> ItemPartition:
    """Give every item one action and no pair."""
    partition = ItemPartition(partition=0, num_sources=1, limits=ItemLimits())
    for offset, begin in enumerate(range(0, num_items, AT_ONCE)):
        numbers = np.arange(begin, min(begin + AT_ONCE, num_items))
        count = len(numbers)
        buffer, starts, lengths = spans(b"i", numbers)
        frame = FrameColumns(
            source_partition=0,
            begin=begin,
            end=begin + count,
            buffer=buffer,
            id_starts=starts,
            id_lengths=lengths,
            is_owned=np.ones(count, np.bool_),
            offsets=numbers,
            item_refs=np.arange(count, dtype=np.int32),
            timestamps_ms=np.full(count, NOW_MS, np.int64),
            actions=np.zeros(count, np.uint8),
            counts=np.ones(count, np.int8),
            strengths=np.ones(count, np.int16),
            pair_splits=np.zeros(count + 1, np.int64),
            pair_refs=np.empty(0, np.int32),
            pair_lags=np.empty(0, np.uint8),
            pair_weights=np.empty(0, np.uint8),
        )
        partition.apply(offset=offset, frame=frame)
    return partition


def against(measured: float, paper: float) -> dict[str, float]:
    """Return measured and paper bytes and their ratio."""
    return {
        "measured": round(measured),
        "paper": round(paper),
        "ratio": round(measured / paper, 3),
    }


def measure(num_users: int, num_items: int) -> dict[str, Any]:
    """Fill the tables one after the other; return the line."""
    compile_users()
    compile_items()
    fill_catalogue(64)  # What the first call of each function costs is no table's.
    catalogue, catalogue_bytes = grown(lambda: fill_catalogue(num_items))
    users, user_bytes = grown(lambda: fill_users(num_users, num_items, catalogue))
    items, item_bytes = grown(lambda: fill_items(num_items))
    num_met = users.items.num_ids
    num_event_ids = EVENTS_PER_USER * num_users
    beside = num_met * PAPER["met_item"] + num_event_ids * PAPER["event_id"]
    user_paper = num_users * PAPER["user"] + beside
    per_user = (user_bytes - beside) / num_users
    per_owned, per_catalogue = item_bytes / num_items, catalogue_bytes / num_items
    # Four million event ids are the bound, however many users there are.
    fixed = MILLION * PAPER["met_item"] + 4 * MILLION * PAPER["event_id"]
    assert users.users.num_ids == num_users and len(items.live_rows()) == num_items
    return {
        "benchmark": "memory",
        "users": num_users,
        "items": num_items,
        "bytes_per_user": against(per_user, PAPER["user"]),
        "bytes_per_owned_item": against(per_owned, PAPER["owned_item"]),
        "bytes_per_catalogue_item": against(per_catalogue, PAPER_CATALOGUE_ITEM),
        "user_table_bytes": against(user_bytes, user_paper),
        "item_table_bytes": against(item_bytes, num_items * PAPER["owned_item"]),
        "catalogue_bytes": against(catalogue_bytes, num_items * PAPER_CATALOGUE_ITEM),
        "at_one_million": {
            "user_table_bytes": against(
                per_user * MILLION + fixed, PAPER["user"] * MILLION + fixed
            ),
            "item_table_bytes_without_pairs": against(
                per_owned * MILLION, PAPER["owned_item"] * MILLION
            ),
            "catalogue_bytes": against(per_catalogue * MILLION, PAPER_CATALOGUE_ITEM * MILLION),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=200_000)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.users, arguments.items)))


if __name__ == "__main__":
    main()
