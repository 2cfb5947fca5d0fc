"""Small random worlds for retrieval tests: a catalogue's arrays and users with histories.

``World`` has the array attributes of ``state.catalogue.Catalogue`` that retrieval reads, so that
hypothesis can make catalogues that no log would make in a reasonable time (empty, all dead, ties).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from state.fading import Fading
from state.item_limits import CatalogueLimits
from state.seen import SeenColumns, add_seen
from stream.candidates import UserBatch

DAY_MS = 86_400_000
NOW_MS = 40 * DAY_MS
HALF_LIVES_MS = (300_000, 3_600_000, DAY_MS, 7 * DAY_MS, 30 * DAY_MS)


@dataclass
class World:
    """Arrays of a catalogue of N items; the attributes are those of the real one."""

    embeddings: NDArray[np.float32]
    item_hashes: NDArray[np.uint64]
    author_keys: NDArray[np.uint64]
    category_keys: NDArray[np.uint64]
    tag_keys: NDArray[np.uint64]
    created_at_ms: NDArray[np.int64]
    duration_ms: NDArray[np.int32]
    is_live: NDArray[np.bool_]
    popularity: NDArray[np.float32]
    popularity_time_ms: NDArray[np.int64]
    action_counts: NDArray[np.float32]
    interactions: NDArray[np.float32]
    out_sums: NDArray[np.float32]
    in_sums: NDArray[np.float32]
    window_shares: NDArray[np.float32]
    neighbour_rows: NDArray[np.int32]
    neighbour_out: NDArray[np.float32]
    neighbour_in: NDArray[np.float32]
    neighbour_cf: NDArray[np.float32]
    fading: Fading = Fading.of(CatalogueLimits(windows_ms=(DAY_MS, 3 * DAY_MS)))
    epoch: int = 0
    limits: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(half_lives_ms=HALF_LIVES_MS)
    )

    def live_rows(self) -> NDArray[np.int32]:
        return np.flatnonzero(self.is_live).astype(np.int32)


def make_world(
    num_items: int = 30, *, seed: int = 0, dim: int = 8, num_neighbours: int = 6, live: float = 0.9
) -> World:
    """Make a random catalogue; counts are small integers, so that ties are common."""
    random = np.random.default_rng(seed)
    embeddings = random.normal(size=(num_items, dim)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True) + 1e-9
    neighbour_rows = np.full((num_items, num_neighbours), -1, np.int32)
    for row in range(num_items):
        others = np.setdiff1d(np.arange(num_items), [row])
        count = min(len(others), int(random.integers(0, num_neighbours + 1)))
        neighbour_rows[row, :count] = random.choice(others, count, replace=False)
    is_neighbour = neighbour_rows >= 0

    def counts(high: int) -> NDArray[np.float32]:
        values = random.integers(0, high, neighbour_rows.shape) * is_neighbour
        return values.astype(np.float32)

    return World(
        embeddings=embeddings,
        item_hashes=random.integers(0, 2**63, num_items).astype(np.uint64),
        author_keys=random.integers(0, 5, num_items).astype(np.uint64),
        category_keys=random.integers(5, 8, num_items).astype(np.uint64),
        tag_keys=random.integers(8, 14, (num_items, 3)).astype(np.uint64),
        created_at_ms=NOW_MS - random.integers(-2, 20, num_items) * (DAY_MS // 2),
        duration_ms=random.integers(0, 60_000, num_items).astype(np.int32),
        is_live=random.random(num_items) < live,
        popularity=random.integers(0, 4, (num_items, len(HALF_LIVES_MS))).astype(np.float32),
        popularity_time_ms=NOW_MS - random.integers(0, 3, num_items) * (DAY_MS // 8),
        action_counts=random.integers(0, 9, (num_items, 5)).astype(np.float32),
        interactions=random.integers(0, 30, num_items).astype(np.float32),
        out_sums=random.integers(0, 50, num_items).astype(np.float32),
        in_sums=random.integers(0, 50, num_items).astype(np.float32),
        window_shares=random.dirichlet((1.0, 1.0), num_items).astype(np.float32),
        neighbour_rows=neighbour_rows,
        neighbour_out=counts(4),
        neighbour_in=counts(4),
        neighbour_cf=counts(6),
    )


def make_users(
    world: World,
    num_users: int = 4,
    *,
    seed: int = 0,
    max_history: int = 12,
    num_affinities: int = 4,
    num_words: int = 4,
    histories: list[list[int]] | None = None,
    actions: list[list[int]] | None = None,
    consumed: list[list[int]] | None = None,
) -> UserBatch:
    """Make users with random histories, or with the rows (oldest first) given.

    ``consumed`` are rows that only the seen filter remembers, per user.
    """
    random = np.random.default_rng(seed + 1)
    num_items, dim = world.embeddings.shape
    if histories is not None:
        num_users = len(histories)
    rows = np.full((num_users, max_history), -1, np.int32)
    times = np.zeros((num_users, max_history), np.int64)
    strengths = np.zeros((num_users, max_history), np.uint8)
    bits = np.zeros((num_users, max_history), np.uint16)
    completions = np.zeros((num_users, max_history), np.uint8)
    lengths = np.zeros(num_users, np.int32)
    for b in range(num_users):
        if histories is not None:
            items = np.asarray(histories[b], np.int32)
        else:
            count = int(random.integers(0, min(max_history, num_items) + 1))
            items = random.choice(num_items, count, replace=False).astype(np.int32)
            items[random.random(count) < 0.1] = -1
        count = len(items)
        lengths[b] = count
        rows[b, :count] = items
        times[b, :count] = NOW_MS - np.sort(random.integers(0, DAY_MS, count))[::-1]
        strengths[b, :count] = random.integers(0, 4, count) if histories is None else 1
        bits[b, :count] = random.integers(0, 32, count) if actions is None else actions[b]
        completions[b, :count] = random.integers(0, 256, count)
    vectors = random.normal(size=(2, num_users, dim)).astype(np.float32)
    vectors[:, lengths == 0] = 0.0
    weights = np.sort(random.random((num_users, num_affinities)).astype(np.float32))[:, ::-1]
    keys = random.integers(0, 14, (num_users, num_affinities)).astype(np.uint64)
    return UserBatch(
        partition=0,
        next_offset=100,
        user_ids=tuple(f"user-{b}".encode() for b in range(num_users)),
        user_rows=np.arange(num_users, dtype=np.int32),
        now_ms=np.full(num_users, NOW_MS, np.int64),
        events_to_ms=times.max(axis=1, initial=0),
        history_rows=rows,
        history_times_ms=times,
        history_strengths=strengths,
        history_actions=bits,
        history_completions=completions,
        history_lengths=lengths,
        session_vectors=vectors[0],
        long_vectors=vectors[1],
        affinity_keys=keys,
        affinity_weights=np.ascontiguousarray(weights),
        seen_words=_seen_words(world, consumed or [[]] * num_users, num_words),
        num_events=lengths.astype(np.int64) * 2,
    )


def _seen_words(world: World, consumed: list[list[int]], num_words: int) -> NDArray[np.uint64]:
    shape = (len(consumed), num_words)
    filters = SeenColumns(
        young_words=np.zeros(shape, np.uint64),
        old_words=np.zeros(shape, np.uint64),
        num_items=np.zeros(len(consumed), np.int32),
    )
    for b, rows in enumerate(consumed):
        for row in rows:
            add_seen(filters, b, world.item_hashes[row], 1000)
    return filters.young_words
