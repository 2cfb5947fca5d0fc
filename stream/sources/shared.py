"""Lists that all users share: what trends and what is fresh, made once per bucket of event time.

Trending is the reciprocal-rank fusion (Cormack, Clarke and Buettcher, 2009,
https://doi.org/10.1145/1571941.1572114) of the items' popularity at several half-lives, each
decayed to now: the scale of decay belongs to the log, so none is chosen. Order under decay does
not need the decayed value: ``log2(popularity) - (now - time) / half_life`` in float64 orders alike
and never underflows, however short the half-life.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.errors import ConfigurationError
from stream.sources.best import push_best, sort_best

if TYPE_CHECKING:
    from state.catalogue import Catalogue
    from stream.sources.limits import RetrievalLimits


class SharedLists(NamedTuple):
    """What all users may be shown at one moment, best first.

    Attributes:
        trending_rows: int32 (T,).
        trending_scores: float32 (T,), descending.
        fresh_rows: int32 (P,), newest first.
    """

    trending_rows: NDArray[np.int32]
    trending_scores: NDArray[np.float32]
    fresh_rows: NDArray[np.int32]


@dataclass(slots=True)
class SharedListCache:
    """Shared lists by catalogue epoch and bucket of event time; one per worker.

    The caller owns it and hands it to ``retrieve``; only the state thread uses it. Limits and
    catalogue must stay the same for the life of a cache.

    Attributes:
        max_entries: Bound; the least recently used bucket leaves.
        entries: (catalogue epoch, bucket) to lists.
    """

    max_entries: int = 16
    entries: OrderedDict[tuple[int, int], SharedLists] = field(default_factory=OrderedDict)

    def read(
        self,
        bucket: int,
        catalogue: Catalogue,
        hashes: NDArray[np.uint64],
        limits: RetrievalLimits,
    ) -> SharedLists:
        """Return the lists of one bucket, made now if they are not there."""
        key = (catalogue.epoch, bucket)
        lists = self.entries.get(key)
        if lists is None:
            lists = make_shared_lists(bucket, catalogue, hashes, limits)
            self.entries[key] = lists
            if len(self.entries) > self.max_entries:
                self.entries.popitem(last=False)
        else:
            self.entries.move_to_end(key)
        return lists


def make_shared_lists(
    bucket: int, catalogue: Catalogue, hashes: NDArray[np.uint64], limits: RetrievalLimits
) -> SharedLists:
    """Make the lists for the end of one bucket of event time.

    Args:
        bucket: ``now_ms // limits.shared_bucket_ms``.
        catalogue: Items, popularity, creation times.
        hashes: uint64 (N,), hash of each row's id.
        limits: Which sources run, and their numbers.
    """
    now_ms = (bucket + 1) * limits.shared_bucket_ms - 1
    live_rows = catalogue.live_rows()
    trending_rows = np.empty(0, np.int32)
    trending_scores = np.empty(0, np.float32)
    if "trending" in limits.sources:
        trending_rows, trending_scores = _trending(now_ms, live_rows, catalogue, hashes, limits)
    fresh_rows = np.empty(0, np.int32)
    if "fresh" in limits.sources:
        pool = np.empty(limits.fresh_pool, np.int32)
        size = _newest(live_rows, catalogue.created_at_ms, now_ms, hashes, pool)
        fresh_rows = pool[:size]
    return SharedLists(
        trending_rows=trending_rows, trending_scores=trending_scores, fresh_rows=fresh_rows
    )


class PopularityColumns(NamedTuple):
    """Popularity for kernels. P = number of half-lives.

    Attributes:
        live_rows: int32 (n,), rows to rank.
        values: float32 (N, P), decayed to ``times_ms``.
        times_ms: int64 (N,).
        half_lives_ms: float64 (P,).
        hashes: uint64 (N,), hash of each row's id.
    """

    live_rows: NDArray[np.int32]
    values: NDArray[np.float32]
    times_ms: NDArray[np.int64]
    half_lives_ms: NDArray[np.float64]
    hashes: NDArray[np.uint64]


def _trending(
    now_ms: int,
    live_rows: NDArray[np.int32],
    catalogue: Catalogue,
    hashes: NDArray[np.uint64],
    limits: RetrievalLimits,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    half_lives_ms = np.asarray(catalogue.limits.half_lives_ms, np.float64)
    chosen = limits.trending_half_life_ms
    weights = np.asarray(limits.trending_weights or (1.0,) * len(half_lives_ms), np.float64)
    if len(weights) != len(half_lives_ms) or (chosen and chosen not in half_lives_ms):
        message = (
            f"Expected one trending weight per half-life and a chosen one out of "
            f"{half_lives_ms.astype(np.int64).tolist()} ms; got {weights.tolist()}, {chosen}."
        )
        raise ConfigurationError(message)
    columns = PopularityColumns(
        live_rows=live_rows,
        values=catalogue.popularity,
        times_ms=catalogue.popularity_time_ms,
        half_lives_ms=half_lives_ms,
        hashes=hashes,
    )
    size = min(limits.trending_depth, len(live_rows))
    rows = np.empty(size, np.int32)
    scores = np.empty(size, np.float64)
    if chosen:
        column = int(np.flatnonzero(half_lives_ms == chosen)[0])
        size = _most_popular(columns, column, now_ms, rows, scores)
        # A list carries decayed popularity itself; what underflows keeps its place in the order.
        values = np.maximum(np.exp2(scores[:size]), np.finfo(np.float32).tiny)
        return rows[:size], values.astype(np.float32)
    sums = np.zeros(len(catalogue.is_live), np.float64)
    size = _fuse_half_lives(columns, weights, limits.trending_k, now_ms, sums, rows, scores)
    return rows[:size], scores[:size].astype(np.float32)


@njit(cache=True, nogil=True)
def _most_popular(
    columns: PopularityColumns,
    column: int,
    now_ms: int,
    rows: NDArray[np.int32],
    keys: NDArray[np.float64],
) -> int:
    """Fill the most popular rows at one half-life with their log2 of decayed popularity."""
    half_life_ms = columns.half_lives_ms[column]
    size = 0
    for row in columns.live_rows:
        value = columns.values[row, column]
        if value > 0.0:
            elapsed = float(now_ms - columns.times_ms[row])
            key = np.log2(float(value)) - elapsed / half_life_ms
            size = push_best(keys, rows, size, key, row, columns.hashes)
    sort_best(keys, rows, size, columns.hashes)
    return size


@njit(cache=True, nogil=True)
def _fuse_half_lives(
    columns: PopularityColumns,
    weights: NDArray[np.float64],
    k: float,
    now_ms: int,
    sums: NDArray[np.float64],
    rows: NDArray[np.int32],
    scores: NDArray[np.float64],
) -> int:
    """Fill the best rows of the fusion over all half-lives; sums float64 (N,) comes zeroed."""
    touched = np.empty(len(rows) * len(weights), np.int32)
    num_touched = 0
    for column in range(len(weights)):
        if weights[column] <= 0.0:
            continue
        size = _most_popular(columns, column, now_ms, rows, scores)
        for place in range(size):
            row = rows[place]
            if sums[row] == 0.0:
                touched[num_touched] = row
                num_touched += 1
            sums[row] += weights[column] / (k + 1.0 + place)
    num_best: int = 0
    for row in touched[:num_touched]:
        num_best = push_best(scores, rows, num_best, sums[row], row, columns.hashes)
    sort_best(scores, rows, num_best, columns.hashes)
    return num_best


@njit(cache=True, nogil=True)
def _newest(
    live_rows: NDArray[np.int32],
    created_at_ms: NDArray[np.int64],
    now_ms: int,
    hashes: NDArray[np.uint64],
    pool: NDArray[np.int32],
) -> int:
    """Fill the newest rows created at or before now, newest first."""
    keys = np.empty(len(pool), np.float64)
    size = 0
    for row in live_rows:
        if created_at_ms[row] <= now_ms:
            size = push_best(keys, pool, size, float(created_at_ms[row]), row, hashes)
    sort_best(keys, pool, size, hashes)
    return size
