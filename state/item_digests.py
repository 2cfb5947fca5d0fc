"""Canonical bytes of an item partition's state: what two runs of one log must agree on.

Sorted by id, never by row number; tiles newest first as of the partition's stream time and
generations newest first, so that neither the order of arrival nor lazy clearing shows. An item
without any count left is not mentioned. Lists feed any hash; nothing here hashes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from state.pair_arena import (
    CF,
    GENERATION,
    IN,
    INTERACTIONS,
    LANES,
    NUM_LINES,
    OUT,
    START,
    WORDS,
)

if TYPE_CHECKING:
    from state.item_partition import ItemPartition

# Items unrolled at a time: 1,024 x 384 tiles x 4 bytes = 1.5 MiB.
_CHUNK = 1_024
_LITTLE_INT32 = np.dtype("<i4")
_LITTLE_INT64 = np.dtype("<i8")


def _sorted_items(partition: ItemPartition) -> tuple[list[bytes], NDArray[np.int32]]:
    rows = partition.live_rows()
    ids = partition.ids.ids(partition.id_rows[rows])
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return [ids[index] for index in order], rows[np.array(order, np.int64)]


def _slots_newest_first(partition: ItemPartition) -> NDArray[np.int64]:
    """Return slot per (window, age): int64 (W, G); -1 where that generation holds nothing."""
    pairs = partition.pairs
    num_generations = pairs.num_generations
    windows = np.arange(len(pairs.newest))[:, None]
    generations = pairs.newest[:, None] - np.arange(num_generations)[None, :]
    slots = windows * num_generations + generations % num_generations
    is_held = (generations >= 0) & (pairs.heads[slots, GENERATION] == generations)
    return np.where(is_held, slots, -1)


def _marginals(
    partition: ItemPartition, rows: NDArray[np.int32], slots: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return marginals per item, window and age: int64 (n, W * G, 5)."""
    pairs = partition.pairs
    flat = slots.reshape(-1)
    headers = pairs.headers[rows][:, flat]
    is_held = (flat >= 0) & (headers[:, :, GENERATION] == pairs.heads[flat, GENERATION])
    return np.where(is_held[:, :, None], headers[:, :, INTERACTIONS:WORDS], 0)


def digest_counts(partition: ItemPartition) -> Iterator[bytes]:
    """Yield the bytes of counts and marginals; see ``ItemPartition.digest_counts``."""
    ids, rows = _sorted_items(partition)
    slots = _slots_newest_first(partition)
    yield np.append(partition.pairs.newest, partition.stream_time_ms).astype("<i8").tobytes()
    for begin in range(0, len(rows), _CHUNK):
        chunk = rows[begin : begin + _CHUNK]
        tiles = partition.counts.unroll(chunk, now_ms=partition.stream_time_ms)
        tiles = tiles.astype(_LITTLE_INT32, copy=False)
        touched_ms = partition.counts.touched_ms(chunk).astype(_LITTLE_INT64, copy=False)
        marginals = _marginals(partition, chunk, slots).astype(_LITTLE_INT64, copy=False)
        is_counted = tiles.any(axis=1) | marginals.any(axis=(1, 2))
        for index in np.flatnonzero(is_counted):
            item_id = ids[begin + index]
            yield b"".join(
                (
                    len(item_id).to_bytes(2, "little"),
                    item_id,
                    touched_ms[index].tobytes(),
                    tiles[index].tobytes(),
                    marginals[index].tobytes(),
                )
            )


def digest_rows(partition: ItemPartition) -> Iterator[bytes]:
    """Yield the bytes of all pairs; see ``ItemPartition.digest_rows``.

    A neighbour is named by 16 bytes of BLAKE2b of its id and stands where that name sorts.
    """
    pairs = partition.pairs
    slots = _slots_newest_first(partition)
    names = _names(partition)
    ids, rows = _sorted_items(partition)
    for item_id, row in zip(ids, rows.tolist(), strict=True):
        parts = [len(item_id).to_bytes(2, "little"), item_id]
        has_pairs = False
        for slot in slots.reshape(-1).tolist():
            header = pairs.headers[row, slot]
            num_lines = int(header[NUM_LINES])
            if slot < 0 or header[GENERATION] != pairs.heads[slot, GENERATION] or not num_lines:
                parts.append((0).to_bytes(4, "little"))
                continue
            lines = pairs.lines[header[START] : header[START] + num_lines]
            keys = lines[:, :LANES].reshape(-1)
            is_used = keys > 0
            entries = np.empty(
                int(is_used.sum()), [("name", "S16"), ("out", "<u4"), ("in", "<u4"), ("cf", "<u4")]
            )
            entries["name"] = names[keys[is_used] - 1]
            for field, word in (("out", OUT), ("in", IN), ("cf", CF)):
                entries[field] = lines[:, word : word + LANES].reshape(-1)[is_used]
            parts.append(len(entries).to_bytes(4, "little"))
            parts.append(np.sort(entries, order="name").tobytes())
            has_pairs = True
        if has_pairs:
            yield b"".join(parts)


def _names(partition: ItemPartition) -> NDArray[np.bytes_]:
    names = np.zeros(partition.ids.num_rows, "S16")
    for row in partition.ids.live_rows().tolist():
        names[row] = blake2b(partition.ids.id(row), digest_size=16).digest()
    return names
