"""Lists that all users share: what trends and what is fresh, made once per bucket of event time.

Trending orders items by the intensity of a self-exciting process whose memory is a sum of
exponentials: what an item was worth lately, strength per hour, at several half-lives at once,

    score = sum over half-lives h of  weight_h * popularity_h * ln 2 / h,  decayed to now.

``ln 2 / h`` gives each half-life the same mass. By default one weighs as its fourth root, so that
an event counts about as age to the power of -3/4 from the shortest to the longest (Hardiman,
Bercot and Bouchaud, 2013, https://doi.org/10.1140/epjb/e2013-40107-3, make a power law of
exponentials in this way): the scale of decay belongs to the log, so none is chosen. Sums are taken
in logarithms and never underflow, however short the half-lives. What was read after the moment of
a list counts as read then.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.item_limits import HOUR_MS
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
        rates: float64 (P,), what a unit of popularity is worth per hour.
        hashes: uint64 (N,), hash of each row's id.
    """

    live_rows: NDArray[np.int32]
    values: NDArray[np.float32]
    times_ms: NDArray[np.int64]
    half_lives_ms: NDArray[np.float64]
    rates: NDArray[np.float64]
    hashes: NDArray[np.uint64]


def _trending(
    now_ms: int,
    live_rows: NDArray[np.int32],
    catalogue: Catalogue,
    hashes: NDArray[np.uint64],
    limits: RetrievalLimits,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    half_lives_ms = np.asarray(catalogue.limits.half_lives_ms, np.float64)
    default = (half_lives_ms / half_lives_ms[0]) ** 0.25
    weights = np.asarray(limits.trending_weights or default, np.float64)
    if len(weights) != len(half_lives_ms):
        message = (
            f"Expected one trending weight per half-life of "
            f"{half_lives_ms.astype(np.int64).tolist()} ms; got {weights.tolist()}."
        )
        raise ConfigurationError(message)
    columns = PopularityColumns(
        live_rows=live_rows,
        values=catalogue.popularity,
        times_ms=catalogue.popularity_time_ms,
        half_lives_ms=half_lives_ms,
        rates=weights * np.log(2.0) / half_lives_ms * HOUR_MS,
        hashes=hashes,
    )
    rows = np.empty(min(limits.trending_depth, len(live_rows)), np.int32)
    keys = np.empty(len(rows), np.float64)
    size = _most_popular(columns, now_ms, rows, keys)
    # What underflows keeps its place in the order.
    values = np.maximum(np.exp2(keys[:size]), np.finfo(np.float32).tiny)
    return rows[:size], values.astype(np.float32)


@njit(cache=True, nogil=True)
def _most_popular(
    columns: PopularityColumns, now_ms: int, rows: NDArray[np.int32], keys: NDArray[np.float64]
) -> int:
    """Fill the rows that trend most with log2 of their score, best first; return how many."""
    half_lives_ms, rates = columns.half_lives_ms, columns.rates
    logs = np.empty(len(rates), np.float64)
    size = 0
    for row in columns.live_rows:
        elapsed = float(max(now_ms - columns.times_ms[row], 0))
        most = -np.inf
        for column in range(len(rates)):
            value = rates[column] * float(columns.values[row, column])
            logs[column] = -np.inf
            if value > 0.0:
                logs[column] = np.log2(value) - elapsed / half_lives_ms[column]
            most = max(most, logs[column])
        if most == -np.inf:
            continue
        total = 0.0
        for column in range(len(rates)):
            total += np.exp2(logs[column] - most)
        size = push_best(keys, rows, size, most + np.log2(total), row, columns.hashes)
    sort_best(keys, rows, size, columns.hashes)
    return size


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
