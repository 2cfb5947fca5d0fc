"""The user fold: admitted events, one after another, into histories, vectors and delta rows.

An interaction is all that a user did to one item. Its strength is the maximum over its actions; a
repeated like, follow or not-interested changes nothing; an unlike takes back what is left. A
strong event is paired with the strong entries before it, the item's own earlier one among them
(docs/decisions/0005-pairs-and-repeats.md). What one user adds to one item on one day by doing the
same again is bounded.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.actions import (
    LIKE,
    LIKE_BIT,
    NOT_INTERESTED,
    ONCE_BITS,
    SKIP,
    UNLIKE,
    UNLIKE_BIT,
    WATCH,
    completion_of,
    count_repeat,
    strength_of,
)
from state.admission import AdmittedColumns, EventColumns
from state.affinities import AffinityColumns, add_affinity, advance_affinities
from state.history import (
    EMPTY,
    HistoryColumns,
    find_entry,
    move_to_newest,
    open_newest,
    place_of,
)
from state.interests import InterestColumns, add_interest
from state.kernels import kernel
from state.row_facts import ItemFacts
from state.seen import SeenColumns, add_seen, seen_key
from state.user_limits import UserRules
from state.user_prefetch import prefetch_fold

# Events between asking for a user's rows and using them. Measured with 100 K users that come
# at random, 9 pairs an event: fold 1.29 us without, 1.18 us at 4, 1.11 us at 8.
_AHEAD = 8

# Positions in DeltaColumns.counts.
_ROWS, _PAIRS = range(2)


class DeltaColumns(NamedTuple):
    """Room for the rows of ``state.deltas.DeltaRows``; ``counts`` says how much is filled."""

    offsets: NDArray[np.int64]
    item_rows: NDArray[np.int32]
    timestamps_ms: NDArray[np.int64]
    actions: NDArray[np.uint8]
    counts_by_row: NDArray[np.int8]
    strengths: NDArray[np.int16]
    pair_splits: NDArray[np.int64]
    pair_item_rows: NDArray[np.int32]
    pair_lags: NDArray[np.uint8]
    pair_weights: NDArray[np.uint8]
    counts: NDArray[np.int64]


def make_deltas(*, num_events: int, max_lags: int) -> DeltaColumns:
    """Return room for what so many events can give at most."""
    num_pairs = num_events * max_lags
    return DeltaColumns(
        offsets=np.empty(num_events, np.int64),
        item_rows=np.empty(num_events, np.int32),
        timestamps_ms=np.empty(num_events, np.int64),
        actions=np.empty(num_events, np.uint8),
        counts_by_row=np.empty(num_events, np.int8),
        strengths=np.empty(num_events, np.int16),
        pair_splits=np.zeros(num_events + 1, np.int64),
        pair_item_rows=np.empty(num_pairs, np.int32),
        pair_lags=np.empty(num_pairs, np.uint8),
        pair_weights=np.empty(num_pairs, np.uint8),
        counts=np.zeros(2, np.int64),
    )


class CatalogueColumns(NamedTuple):
    """The catalogue's arrays by catalogue row: float32 (N, D), uint64 (N,), uint64 (N, T)."""

    embeddings: NDArray[np.float32]
    author_keys: NDArray[np.uint64]
    tag_keys: NDArray[np.uint64]


class FoldTables(NamedTuple):
    """What the fold reads and changes, for the kernel."""

    history: HistoryColumns
    seen: SeenColumns
    interests: InterestColumns
    affinities: AffinityColumns
    item_facts: ItemFacts
    catalogue: CatalogueColumns


@kernel
def _emit(
    deltas: DeltaColumns,
    offset: int,
    item_row: int,
    time_ms: int,
    action: int,
    count: int,
    strength: int,
) -> None:
    """Append one row; the pairs appended since the row before are its own."""
    row = deltas.counts[_ROWS]
    deltas.offsets[row] = offset
    deltas.item_rows[row] = item_row
    deltas.timestamps_ms[row] = time_ms
    deltas.actions[row] = action
    deltas.counts_by_row[row] = count
    deltas.strengths[row] = strength
    deltas.pair_splits[row + 1] = deltas.counts[_PAIRS]
    deltas.counts[_ROWS] = row + 1


@kernel
def _pair(
    deltas: DeltaColumns, rules: UserRules, history: HistoryColumns, user_row: int, time_ms: int
) -> None:
    """Pair a coming event with the strong, linked entries so far, newest first."""
    lag = 0
    for entry in range(np.int64(history.lengths[user_row]) - 1, -1, -1):
        if lag == rules.max_lags:
            break
        place = place_of(history, user_row, entry)
        gap_ms = abs(time_ms - history.times_ms[user_row, place])
        if history.strengths[user_row, place] == 0 or gap_ms > rules.link_ms:
            continue
        lag += 1
        pair = deltas.counts[_PAIRS]
        deltas.pair_item_rows[pair] = history.item_rows[user_row, place]
        deltas.pair_lags[pair] = lag
        # floor(x + 0.5) and not round: no banker's rounding, no second definition of a half.
        weight = math.floor(255.0 * math.exp(-gap_ms / rules.pair_tau_ms) + 0.5)
        deltas.pair_weights[pair] = np.uint8(weight)
        deltas.counts[_PAIRS] = pair + 1


@kernel
def _derive(
    tables: FoldTables,
    rules: UserRules,
    user_row: int,
    item_row: int,
    weight: float,
    time_ms: int,
) -> None:
    """Add the weight of one change to the user's vectors and affinities."""
    catalogue_row = np.int64(tables.item_facts.catalogue_rows[item_row])
    if weight == 0.0 or catalogue_row < 0:
        return
    add_interest(
        tables.interests,
        user_row,
        tables.catalogue.embeddings[catalogue_row],
        weight,
        time_ms,
        rules.session_half_life_ms,
        rules.long_half_life_ms,
    )
    share = advance_affinities(tables.affinities, user_row, time_ms, rules.long_half_life_ms)
    gain = np.float32(weight * share)
    add_affinity(tables.affinities, user_row, tables.catalogue.author_keys[catalogue_row], gain)
    for tag in range(tables.catalogue.tag_keys.shape[1]):
        key = tables.catalogue.tag_keys[catalogue_row, tag]
        add_affinity(tables.affinities, user_row, key, gain)


@kernel
def _take_back(
    tables: FoldTables,
    rules: UserRules,
    deltas: DeltaColumns,
    offset: int,
    user_row: int,
    item_row: int,
    entry: int,
) -> None:
    """Undo a like: what is left of the entry's strength, in the entry's own time."""
    history = tables.history
    place = place_of(history, user_row, entry)
    if history.actions[user_row, place] & LIKE_BIT == 0:
        return
    strength = np.int64(history.strengths[user_row, place])
    time_ms = history.times_ms[user_row, place]
    _emit(deltas, offset, item_row, time_ms, LIKE, -1, -strength)
    _derive(tables, rules, user_row, item_row, -float(strength), time_ms)
    history.strengths[user_row, place] = 0
    history.actions[user_row, place] &= np.uint16(0xFFFF ^ LIKE_BIT)
    history.actions[user_row, place] |= np.uint16(UNLIKE_BIT)


@kernel
def _interact(
    tables: FoldTables,
    rules: UserRules,
    deltas: DeltaColumns,
    events: EventColumns,
    i: int,
    user_row: int,
    item_row: int,
) -> None:
    """Fold one event that is about an item into history, vectors and delta rows."""
    history = tables.history
    action = np.int64(events.types[i])
    time_ms = events.timestamps_ms[i]
    entry = find_entry(history, user_row, item_row)
    if action == UNLIKE:
        if entry != EMPTY:
            _take_back(tables, rules, deltas, events.offsets[i], user_row, item_row, entry)
        return
    completion = np.int64(completion_of(events.watch_ms[i], events.duration_ms[i]))
    strength = np.int64(strength_of(action, completion, rules.strengths, rules.min_completion))
    before = np.int64(0)
    bits = np.int64(0)
    is_given_again = False
    is_capped = False
    if entry != EMPTY:
        place = place_of(history, user_row, entry)
        bits = np.int64(history.actions[user_row, place])
        if bits & ONCE_BITS & (1 << action) != 0:
            return
        before = np.int64(history.strengths[user_row, place])
        completion = max(completion, np.int64(history.completions[user_row, place]))
        is_newest = entry + 1 == np.int64(history.lengths[user_row])
        # Taken back and given again with nothing in between: its pairs were made the first time.
        is_given_again = bool(is_newest and before == 0 and bits & UNLIKE_BIT != 0)
        newest_ms = history.times_ms[user_row, place]
        counted = np.int64(count_repeat(bits, newest_ms, time_ms, rules.max_repeats_per_day))
        is_capped = bool(counted < 0)
        if not is_capped:
            bits = counted
        elif bits & UNLIKE_BIT != 0 and bits & (1 << action) != 0:
            # What an unlike took back comes back by a like, or within the bound on repeats. Not
            # even the time moves, or the next unlike would take back where the like did not give.
            return
    if strength > 0 and not is_given_again and not is_capped:
        _pair(deltas, rules, history, user_row, time_ms)
    if entry == EMPTY:
        place = open_newest(history, user_row)
        key = seen_key(events.buffer, events.item_starts[i], events.item_lengths[i])
        add_seen(tables.seen, user_row, key, rules.seen_items)
    else:
        place = move_to_newest(history, user_row, entry)
    after = max(before, strength)
    history.item_rows[user_row, place] = item_row
    history.times_ms[user_row, place] = time_ms
    history.strengths[user_row, place] = after
    history.actions[user_row, place] = bits | (1 << action)
    history.completions[user_row, place] = completion
    if not is_capped or after > before or bits & (1 << action) == 0:
        emitted = SKIP if action == WATCH and strength == 0 else action
        _emit(deltas, events.offsets[i], item_row, time_ms, emitted, 1, after - before)
    weight = float(after - before)
    if action == NOT_INTERESTED:
        weight -= rules.dislike_weight
    _derive(tables, rules, user_row, item_row, weight, time_ms)


@kernel
def fold(
    tables: FoldTables,
    rules: UserRules,
    events: EventColumns,
    admitted: AdmittedColumns,
    begin: int,
    deltas: DeltaColumns,
) -> None:
    """Fold the admitted events from position ``begin`` on, in order."""
    end = admitted.counts[0]
    for position in range(begin, end):
        ahead = position + _AHEAD
        if ahead < end and admitted.item_rows[ahead] >= 0:
            prefetch_fold(tables, admitted.user_rows[ahead], admitted.item_rows[ahead])
        item_row = admitted.item_rows[position]
        if item_row >= 0:
            i = admitted.events[position]
            _interact(tables, rules, deltas, events, i, admitted.user_rows[position], item_row)
