"""A seeded catalogue and users for benchmarks of refreshing: tastes, skewed popularity, authors."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from state.catalogue import Catalogue
from state.item_columns import TAG, ItemColumns, metadata_key
from state.item_limits import CatalogueLimits
from state.seen import SeenColumns, add_seen
from state.signal_columns import SignalColumns
from stream.candidates import UserBatch

DAY_MS = 86_400_000
NOW_MS = 1_700_000_000_000
NUM_TASTES = 100
NUM_AUTHORS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshWorld:
    """A catalogue of items with tastes, from which users are drawn.

    Attributes:
        catalogue: Filled through ``put`` and ``apply_signals``, as a worker's.
        tastes: int64 (N,), the taste that each row belongs to.
        weights: float64 (N,), how often a row is consumed; sums to 1.
    """

    catalogue: Catalogue
    tastes: NDArray[np.int64]
    weights: NDArray[np.float64]


def make_world(num_items: int, *, seed: int = 0) -> RefreshWorld:
    """Make a catalogue of announced items with neighbours, popularity and statistics."""
    rng = np.random.default_rng(seed)
    limits = CatalogueLimits(max_items=2 * num_items)
    tastes = rng.integers(0, NUM_TASTES, num_items)
    weights: NDArray[np.float64] = np.asarray(
        (1.0 + rng.permutation(num_items)) ** -0.8, np.float64
    )
    weights /= weights.sum()
    ids = [b"item-%07d" % row for row in range(num_items)]
    centres = rng.normal(size=(NUM_TASTES, limits.dim))
    vectors = centres[tastes] + 0.7 * rng.normal(size=(num_items, limits.dim))
    catalogue = Catalogue(limits=limits)
    catalogue.put(
        ItemColumns.of(
            ids,
            created_at_ms=(NOW_MS - rng.exponential(3 * DAY_MS, num_items)).astype(int).tolist(),
            duration_ms=rng.integers(5_000, 60_000, num_items).tolist(),
            authors=[b"author-%d" % each for each in rng.integers(0, NUM_AUTHORS, num_items)],
            tags=[
                [b"taste-%d" % taste, b"tag-%d" % (row % 500)] for row, taste in enumerate(tastes)
            ],
            embeddings=vectors.tolist(),
        )
    )
    catalogue.apply_signals(_signals(ids, tastes, weights, limits, rng))
    return RefreshWorld(catalogue=catalogue, tastes=tastes, weights=weights)


def _signals(
    ids: list[bytes],
    tastes: NDArray[np.int64],
    weights: NDArray[np.float64],
    limits: CatalogueLimits,
    rng: np.random.Generator,
) -> SignalColumns:
    """Return signals of every item: full rows of neighbours, four in five of the own taste."""
    num_items, degree = len(ids), limits.num_neighbours
    neighbours = rng.choice(num_items, (num_items, degree), p=weights)
    for taste in range(NUM_TASTES):
        rows = np.flatnonzero(tastes == taste)
        share = weights[rows] / weights[rows].sum()
        near = rng.choice(rows, (len(rows), 4 * degree // 5), p=share)
        neighbours[rows, : near.shape[1]] = near
    neighbours = np.sort(neighbours, axis=1)
    repeated = np.zeros(neighbours.shape, np.bool_)
    repeated[:, 1:] = neighbours[:, 1:] == neighbours[:, :-1]
    repeated |= neighbours == np.arange(num_items)[:, None]
    flat = neighbours[~repeated]
    lengths = np.array([len(each) for each in ids], np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    windows = len(limits.window_weights)
    counts = rng.gamma(1.0, 8.0, (3, len(flat), windows)).astype(np.float32)
    sums = np.repeat(1e5 * weights[:, None], windows, axis=1).astype(np.float32)
    popularity = (
        1e5 * weights[:, None] * rng.gamma(1.0, 1.0, (num_items, len(limits.half_lives_ms)))
    )
    return SignalColumns(
        buffer=np.frombuffer(b"".join(ids), np.uint8),
        starts=starts,
        lengths=lengths,
        offsets=np.ones(num_items, np.int64),
        as_of_ms=NOW_MS - rng.integers(0, 3_600_000, num_items),
        popularity=popularity.astype(np.float32),
        action_counts=(1e3 * weights[:, None] * rng.random((num_items, 5))).astype(np.float32),
        interactions=sums,
        out_sums=5 * sums,
        in_sums=5 * sums,
        neighbour_splits=np.cumsum([0, *(~repeated).sum(axis=1)]).astype(np.int64),
        neighbour_starts=starts[flat],
        neighbour_lengths=lengths[flat],
        neighbour_out=counts[0],
        neighbour_in=counts[1],
        neighbour_cf=counts[2],
    )


def make_users(
    world: RefreshWorld, num_users: int, *, history: int, now_ms: int, seed: int
) -> UserBatch:
    """Make users of three tastes each, with full histories and filters of twice as many items.

    The catalogue needs about 4,000 items, so that three tastes have enough.
    """
    rng = np.random.default_rng(seed)
    catalogue = world.catalogue
    rows = np.empty((num_users, history), np.int32)
    words = np.zeros((num_users, 16), np.uint64)
    keys = np.zeros((num_users, 16), np.uint64)
    for b in range(num_users):
        mine = rng.choice(NUM_TASTES, 3, replace=False)
        pool = np.flatnonzero(np.isin(world.tastes, mine))
        share = world.weights[pool] / world.weights[pool].sum()
        drawn = rng.choice(pool, 2 * history, replace=False, p=share)
        rows[b] = drawn[:history]
        _remember(words[b], catalogue.item_hashes[drawn])
        keys[b, :3] = [metadata_key(TAG, b"taste-%d" % taste) for taste in mine]
        keys[b, 3:] = catalogue.author_keys[rows[b, :13]]
    vectors = catalogue.embeddings[rows]  # (B, L, D)
    ages = np.sort(rng.exponential(DAY_MS / 4, (num_users, history)), axis=1)[:, ::-1]
    session = np.exp(-ages / 3_600_000)[:, :, None]
    long = np.exp(-ages / (7 * DAY_MS))[:, :, None]
    return UserBatch(
        partition=0,
        next_offset=1,
        user_ids=tuple(b"user-%d-%d" % (seed, b) for b in range(num_users)),
        user_rows=np.arange(num_users, dtype=np.int32),
        now_ms=np.full(num_users, now_ms, np.int64),
        events_to_ms=np.full(num_users, now_ms, np.int64),
        history_rows=rows,
        history_times_ms=(now_ms - ages).astype(np.int64),
        history_strengths=rng.integers(1, 4, rows.shape).astype(np.uint8),
        history_actions=rng.choice([1, 3, 9], rows.shape).astype(np.uint16),
        history_completions=rng.integers(50, 256, rows.shape).astype(np.uint8),
        history_lengths=np.full(num_users, history, np.int32),
        session_vectors=(vectors * session).sum(axis=1).astype(np.float32),
        long_vectors=(vectors * long).sum(axis=1).astype(np.float32),
        affinity_keys=keys,
        affinity_weights=np.sort(rng.random(keys.shape).astype(np.float32), axis=1)[:, ::-1].copy(),
        seen_words=words,
        num_events=np.full(num_users, 2 * history, np.int64),
    )


def _remember(words: NDArray[np.uint64], item_keys: NDArray[np.uint64]) -> None:
    filters = SeenColumns(
        young_words=words[None], old_words=words[None], num_items=np.zeros(1, np.int32)
    )
    for key in item_keys:
        add_seen(filters, 0, key, 1 << 20)
