"""The kernels that gather a ranker's columns; each fills arrays that come zeroed or empty."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.ranking import NO_AGE_MS

# Added to the out / in sums of an item: a transition seen once of once is not a certainty.
_SMOOTHING = np.float32(2.0)
_NO_KEY = np.uint64(0)
_LOW_SIX = np.uint64(63)
_ONE = np.uint64(1)


@njit(cache=True, nogil=True)
def fill_history(
    history_rows: NDArray[np.int32],
    history_lengths: NDArray[np.int32],
    history_times_ms: NDArray[np.int64],
    now_ms: NDArray[np.int64],
    embeddings: NDArray[np.float32],
    present: NDArray[np.bool_],
    history_embeddings: NDArray[np.float32],
    ages_ms: NDArray[np.int64],
) -> None:
    """Fill the (B, L) history columns; the outputs come zeroed."""
    for b in range(len(history_lengths)):
        for place in range(history_rows.shape[1]):
            if place >= history_lengths[b]:
                ages_ms[b, place] = NO_AGE_MS
                continue
            ages_ms[b, place] = max(now_ms[b] - history_times_ms[b, place], 0)
            row = history_rows[b, place]
            if row >= 0:
                present[b, place] = True
                history_embeddings[b, place] = embeddings[row]


@njit(cache=True, nogil=True)
def fill_own(
    splits: NDArray[np.int64],
    item_rows: NDArray[np.int32],
    history_rows: NDArray[np.int32],
    history_lengths: NDArray[np.int32],
    ages_ms: NDArray[np.int64],
    actions: NDArray[np.uint16],
    place_by_row: NDArray[np.int32],
    places: NDArray[np.int32],
    out_ages_ms: NDArray[np.int64],
    out_actions: NDArray[np.uint16],
) -> None:
    """Fill the candidate's own-history columns; place_by_row (N,) comes and leaves zeroed."""
    for b in range(len(history_lengths)):
        length = history_lengths[b]
        for place in range(length):
            if history_rows[b, place] >= 0:
                place_by_row[history_rows[b, place]] = place + 1
        for c in range(splits[b], splits[b + 1]):
            place = place_by_row[item_rows[c]] - 1
            if place >= 0:
                places[c] = length - 1 - place
                out_ages_ms[c] = ages_ms[b, place]
                out_actions[c] = actions[b, place]
        for place in range(length):
            if history_rows[b, place] >= 0:
                place_by_row[history_rows[b, place]] = 0


@njit(cache=True, nogil=True)
def fill_transitions(
    splits: NDArray[np.int64],
    item_rows: NDArray[np.int32],
    history_rows: NDArray[np.int32],
    history_lengths: NDArray[np.int32],
    neighbour_rows: NDArray[np.int32],
    neighbour_out: NDArray[np.float32],
    neighbour_in: NDArray[np.float32],
    out_sums: NDArray[np.float32],
    in_sums: NDArray[np.float32],
    scratch: NDArray[np.float32],
    transitions: NDArray[np.float32],
) -> None:
    """Fill (C, 3) raw transition probabilities; scratch float32 (N, 3) comes and leaves zero."""
    for b in range(len(history_lengths)):
        found = 0
        sources = np.full(2, -1, np.int32)
        for place in range(history_lengths[b] - 1, -1, -1):
            if history_rows[b, place] >= 0:
                sources[found] = history_rows[b, place]
                found += 1
                if found == 2:
                    break
        for which in range(found):
            source = sources[which]
            for slot in range(neighbour_rows.shape[1]):
                row = neighbour_rows[source, slot]
                if row < 0:
                    continue
                scratch[row, which] = neighbour_out[source, slot] / (out_sums[source] + _SMOOTHING)
                if which == 0:
                    scratch[row, 2] = neighbour_in[source, slot] / (in_sums[source] + _SMOOTHING)
        for c in range(splits[b], splits[b + 1]):
            transitions[c] = scratch[item_rows[c]]
        for which in range(found):
            for slot in range(neighbour_rows.shape[1]):
                row = neighbour_rows[sources[which], slot]
                if row >= 0:
                    scratch[row] = np.float32(0.0)


@njit(cache=True, nogil=True)
def fill_counts(
    splits: NDArray[np.int64],
    item_rows: NDArray[np.int32],
    now_ms: NDArray[np.int64],
    popularity: NDArray[np.float32],
    popularity_time_ms: NDArray[np.int64],
    half_lives_ms: NDArray[np.float64],
    created_at_ms: NDArray[np.int64],
    action_counts: NDArray[np.float32],
    values: NDArray[np.float32],
    exponents: NDArray[np.float32],
    ages_ms: NDArray[np.int64],
    rates: NDArray[np.float32],
) -> None:
    """Fill popularity (C, P) and its decay's exponents, ages (C,) and action rates (C, 5)."""
    slopes = -np.log(2.0) / half_lives_ms
    num_actions = action_counts.shape[1]
    for b in range(len(now_ms)):
        for c in range(splits[b], splits[b + 1]):
            row = item_rows[c]
            elapsed = float(max(now_ms[b] - popularity_time_ms[row], 0))
            for h in range(len(slopes)):
                values[c, h] = popularity[row, h]
                exponents[c, h] = elapsed * slopes[h]
            ages_ms[c] = max(now_ms[b] - created_at_ms[row], 0)
            total = np.float32(1.0)
            for action in range(num_actions):
                total += action_counts[row, action]
            for action in range(num_actions):
                rates[c, action] = action_counts[row, action] / total


def popularity_logs(
    values: NDArray[np.float32], exponents: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return ``log(1 + value e^exponent)``; in NumPy, whose exp and log run in vectors."""
    np.exp(exponents, out=exponents)
    np.maximum(values, 0.0, out=values)
    values *= exponents
    values += np.float32(1.0)
    return np.log(values, out=values)


@njit(cache=True, nogil=True)
def _weight_of(
    key: np.uint64, keys: NDArray[np.uint64], weights: NDArray[np.float32]
) -> np.float32:
    for a in range(len(keys)):
        if keys[a] == key:
            return np.float32(weights[a])
    return np.float32(0.0)


@njit(cache=True, nogil=True)
def fill_affinities(
    splits: NDArray[np.int64],
    item_rows: NDArray[np.int32],
    keys: NDArray[np.uint64],
    weights: NDArray[np.float32],
    author_keys: NDArray[np.uint64],
    category_keys: NDArray[np.uint64],
    tag_keys: NDArray[np.uint64],
    authors: NDArray[np.float32],
    tags: NDArray[np.float32],
) -> None:
    """Fill the shares (C,) of the user's affinity weight on the author and on tags + category.

    A mask with one bit per own key answers most questions without a look at the keys.
    """
    for b in range(len(splits) - 1):
        own_keys, own_weights = keys[b], weights[b]
        mask, total = _NO_KEY, np.float32(0.0)
        for a in range(len(own_keys)):
            if own_keys[a] != _NO_KEY:
                mask |= _ONE << (own_keys[a] & _LOW_SIX)
                total += own_weights[a]
        if total <= 0.0:
            continue
        for c in range(splits[b], splits[b + 1]):
            row = item_rows[c]
            key = author_keys[row]
            if key != _NO_KEY and mask >> (key & _LOW_SIX) & _ONE:
                authors[c] = _weight_of(key, own_keys, own_weights) / total
            share = np.float32(0.0)
            key = category_keys[row]
            if key != _NO_KEY and mask >> (key & _LOW_SIX) & _ONE:
                share += _weight_of(key, own_keys, own_weights)
            for t in range(tag_keys.shape[1]):
                key = tag_keys[row, t]
                if key == _NO_KEY:
                    break
                if mask >> (key & _LOW_SIX) & _ONE:
                    share += _weight_of(key, own_keys, own_weights)
            tags[c] = min(share / total, np.float32(1.0))


@njit(cache=True, nogil=True)
def fill_maxima(
    splits: NDArray[np.int64],
    scores: NDArray[np.float32],
    users: NDArray[np.int32],
    maxima: NDArray[np.float32],
) -> None:
    """Fill each candidate's user (C,) and each user's best score per source (B, S)."""
    for b in range(len(splits) - 1):
        for c in range(splits[b], splits[b + 1]):
            users[c] = b
            for s in range(scores.shape[1]):
                maxima[b, s] = max(maxima[b, s], scores[c, s])
