"""ItemCounts: actions and strength per item in rings of tiles: minutes, hours, days.

Integers only, so that the order in which partitions' rows arrive cannot matter; decay and
clamping happen in a read. One row of ``tiles`` holds, in this order, num_minutes x strength,
num_hours x (five actions, strength), num_days x (five actions, strength). Tile t of a ring of
size n stands at ``t % n``; an item's rings end at its own newest minute and are cleared lazily
when it moves on, so stream time may jump a year at no cost to the other items.

Beside the tiles stands the moment when somebody last turned to the item, a maximum: a read takes
one unit of the newest minute with strength to be of that moment, for a tile cannot tell seconds
apart and holds nothing of a user who comes again. Who skips or dislikes it does not turn to it.

Absent: ids and the choice of rows (``state.item_partition``).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.actions import LIKE, NOT_INTERESTED, SKIP, UNLIKE, WATCH
from state.item_limits import DAY_MS, HOUR_MS, MINUTE_MS, ItemLimits
from state.kernels import kernel
from state.large_arrays import large_zeros
from state.prefetch import prefetch

# Columns of an hour or day tile: WATCH, LIKE, COMMENT, SHARE, NOT_INTERESTED, strength.
NUM_ACTIONS = 5
NUM_COLUMNS = NUM_ACTIONS + 1
STRENGTH = NUM_ACTIONS

# How many rows ahead the kernel asks for an item's tiles.
_AHEAD = 8

# Columns of ``newest``: an item's newest minute tile, and when somebody last turned to it, in ms.
_MINUTE = 0
_TOUCHED = 1


@kernel
def _advance(
    tiles: NDArray[np.int32], row: int, newest: int, minute: int, sizes: NDArray[np.int64]
) -> None:
    """Clear the tiles of one row in ``(newest, minute]`` of every ring."""
    num_minutes, num_hours, num_days = sizes[0], sizes[1], sizes[2]
    for tile in range(max(newest + 1, minute - num_minutes + 1), minute + 1):
        tiles[row, tile % num_minutes] = 0
    start = num_minutes
    for tile in range(max(newest // 60 + 1, minute // 60 - num_hours + 1), minute // 60 + 1):
        at = start + (tile % num_hours) * NUM_COLUMNS
        tiles[row, at : at + NUM_COLUMNS] = 0
    start += num_hours * NUM_COLUMNS
    for tile in range(max(newest // 1440 + 1, minute // 1440 - num_days + 1), minute // 1440 + 1):
        at = start + (tile % num_days) * NUM_COLUMNS
        tiles[row, at : at + NUM_COLUMNS] = 0


@kernel
def _prefetch_tiles(
    tiles: NDArray[np.int32],
    newest: NDArray[np.int64],
    sizes: NDArray[np.int64],
    row: int,
    minute: int,
) -> None:
    """Ask for the three tiles of a row that hold a minute, and for what is its newest."""
    hours_at = sizes[0]
    days_at = hours_at + sizes[1] * NUM_COLUMNS
    start = np.uint64(tiles.ctypes.data) + np.uint64(row * tiles.shape[1] * 4)
    prefetch(np.uint64(newest.ctypes.data) + np.uint64(row * 16))
    prefetch(start + np.uint64(4 * (minute % sizes[0])))
    prefetch(start + np.uint64(4 * (hours_at + minute // 60 % sizes[1] * NUM_COLUMNS)))
    prefetch(start + np.uint64(4 * (days_at + minute // 1440 % sizes[2] * NUM_COLUMNS)))


@kernel
def add_rows(
    tiles: NDArray[np.int32],
    newest_times: NDArray[np.int64],
    sizes: NDArray[np.int64],
    rows: NDArray[np.int32],
    timestamps_ms: NDArray[np.int64],
    actions: NDArray[np.uint8],
    counts: NDArray[np.int8],
    strengths: NDArray[np.int16],
) -> int:
    """Add frame rows to their items' tiles; negative rows are skipped.

    Args:
        tiles: int32 (N, T), changed.
        newest_times: int64 (N, 2), newest minute tile and last touch per item, changed.
        sizes: int64 (3,), tiles per ring: minutes, hours, days.
        rows: int32 (R,), item rows; -1 where another partition owns the item.
        timestamps_ms: int64 (R,).
        actions: uint8 (R,).
        counts: int8 (R,).
        strengths: int16 (R,).

    Returns:
        How many rows were too old for every ring of their item.
    """
    num_minutes, num_hours, num_days = sizes[0], sizes[1], sizes[2]
    hours_at = num_minutes
    days_at = hours_at + num_hours * NUM_COLUMNS
    num_old = 0
    for index in range(len(rows)):
        ahead = index + _AHEAD
        if ahead < len(rows) and rows[ahead] >= 0:
            minute = timestamps_ms[ahead] // MINUTE_MS
            _prefetch_tiles(tiles, newest_times, sizes, np.int64(rows[ahead]), minute)
        row = rows[index]
        if row < 0:
            continue
        minute = timestamps_ms[index] // MINUTE_MS
        newest = newest_times[row, _MINUTE]
        if minute > newest:
            _advance(tiles, row, newest, minute, sizes)
            newest_times[row, _MINUTE] = minute
            newest = minute
        action = int(actions[index])
        if counts[index] > 0 and action != NOT_INTERESTED and action != SKIP:
            touched_ms = newest_times[row, _TOUCHED]
            newest_times[row, _TOUCHED] = max(touched_ms, timestamps_ms[index])
        hour = minute // 60
        day = hour // 24
        if day <= newest // 1440 - num_days:
            num_old += 1
            continue
        if action == UNLIKE:
            action = LIKE
        elif action == SKIP:
            action = WATCH
        count = np.int32(counts[index])
        strength = np.int32(strengths[index])
        at = days_at + (day % num_days) * NUM_COLUMNS
        if action < NUM_ACTIONS:
            tiles[row, at + action] += count
        tiles[row, at + STRENGTH] += strength
        if hour > newest // 60 - num_hours:
            at = hours_at + (hour % num_hours) * NUM_COLUMNS
            if action < NUM_ACTIONS:
                tiles[row, at + action] += count
            tiles[row, at + STRENGTH] += strength
        if minute > newest - num_minutes:
            tiles[row, minute % num_minutes] += strength
    return num_old


@njit(cache=True, nogil=True)
def unroll_rows(
    tiles: NDArray[np.int32],
    newest_times: NDArray[np.int64],
    sizes: NDArray[np.int64],
    rows: NDArray[np.int32],
    minute: int,
) -> NDArray[np.int32]:
    """Copy items' tiles with each ring laid out newest first as of one minute.

    Column layout as in ``tiles``, but tile k of a ring is the k-th before the one that holds
    ``minute``; tiles outside an item's own rings are 0. Nothing in the copy depends on when an
    item last moved, so two states that saw the same rows give the same copy.

    Returns:
        int32 (n, T).
    """
    num_minutes, num_hours, num_days = sizes[0], sizes[1], sizes[2]
    unrolled = np.zeros((len(rows), tiles.shape[1]), np.int32)
    for index in range(len(rows)):
        row = rows[index]
        newest = newest_times[row, _MINUTE]
        for age in range(num_minutes):
            tile = minute - age
            if newest - num_minutes < tile <= newest:
                unrolled[index, age] = tiles[row, tile % num_minutes]
        start = num_minutes
        for age in range(num_hours):
            tile = minute // 60 - age
            if newest // 60 - num_hours < tile <= newest // 60:
                for column in range(NUM_COLUMNS):
                    unrolled[index, start + age * NUM_COLUMNS + column] = tiles[
                        row, start + (tile % num_hours) * NUM_COLUMNS + column
                    ]
        start += num_hours * NUM_COLUMNS
        for age in range(num_days):
            tile = minute // 1440 - age
            if newest // 1440 - num_days < tile <= newest // 1440:
                for column in range(NUM_COLUMNS):
                    unrolled[index, start + age * NUM_COLUMNS + column] = tiles[
                        row, start + (tile % num_days) * NUM_COLUMNS + column
                    ]
    return unrolled


@njit(cache=True, nogil=True)
def subtract_finer(unrolled: NDArray[np.int32], sizes: NDArray[np.int64], minute: int) -> None:
    """Take out of coarser tiles what finer ones hold, so that every event counts once.

    Hours lose (in their strength) the minutes in the ring of minutes, days lose (in every column)
    the hours in the ring of hours. ``unrolled`` is changed.
    """
    num_minutes, num_hours, num_days = sizes[0], sizes[1], sizes[2]
    hours_at = num_minutes
    days_at = hours_at + num_hours * NUM_COLUMNS
    hour = minute // 60
    for index in range(len(unrolled)):
        for age in range(num_hours):
            days_ago = hour // 24 - (hour - age) // 24
            if days_ago < num_days:
                for column in range(NUM_COLUMNS):
                    unrolled[index, days_at + days_ago * NUM_COLUMNS + column] -= unrolled[
                        index, hours_at + age * NUM_COLUMNS + column
                    ]
        for age in range(num_minutes):
            hours_ago = hour - (minute - age) // 60
            if hours_ago < num_hours:
                at = hours_at + hours_ago * NUM_COLUMNS + STRENGTH
                unrolled[index, at] -= unrolled[index, age]


def _decayed(
    strengths: NDArray[np.int32],
    ages_ms: NDArray[np.float64],
    touch_ages_ms: NDArray[np.int64],
    half_lives_ms: NDArray[np.int64],
    num_minutes: int,
) -> NDArray[np.float64]:
    """Sum tiles by age, one unit of each row's newest minute by its touch: float64 (n, H)."""
    # (n, tiles) @ (tiles, H), in float64: integers stay exact until the weights meet them.
    weights = np.exp2(-ages_ms[:, None] / half_lives_ms[None, :])
    sums = strengths.astype(np.float64) @ weights
    minutes = strengths[:, :num_minutes]
    newest = np.argmax(minutes > 0, axis=1)
    has_strength = np.take_along_axis(minutes, newest[:, None], axis=1) > 0
    touch_weights = np.exp2(-touch_ages_ms[:, None] / half_lives_ms[None, :])
    sums += np.where(has_strength, touch_weights - weights[newest], 0.0)
    decayed: NDArray[np.float64] = np.maximum(sums, 0.0)
    return decayed


class ItemCounts:
    """Counts per item in rings of tiles; see the module.

    Rows are handed out by the owner of the table; memory is reserved at the bound and committed
    by the operating system as rows come into use.
    """

    def __init__(self, *, limits: ItemLimits) -> None:
        self._sizes = np.array([limits.num_minutes, limits.num_hours, limits.num_days], np.int64)
        width = limits.num_minutes + (limits.num_hours + limits.num_days) * NUM_COLUMNS
        self._tiles = large_zeros((limits.max_items, width), np.int32)
        self._newest_times = np.zeros((limits.max_items, 2), np.int64)

    def add(
        self,
        rows: NDArray[np.int32],
        timestamps_ms: NDArray[np.int64],
        actions: NDArray[np.uint8],
        counts: NDArray[np.int8],
        strengths: NDArray[np.int16],
    ) -> int:
        """Add frame rows (R,) to item rows, -1 skipped; return how many were too old to count."""
        return int(
            add_rows(
                self._tiles,
                self._newest_times,
                self._sizes,
                rows,
                timestamps_ms,
                actions,
                counts,
                strengths,
            )
        )

    def unroll(self, rows: NDArray[np.int32], *, now_ms: int) -> NDArray[np.int32]:
        """Return int32 (n, T): the rings newest first as of ``now_ms`` (a copy; see kernel)."""
        unrolled: NDArray[np.int32] = unroll_rows(
            self._tiles, self._newest_times, self._sizes, rows, now_ms // MINUTE_MS
        )
        return unrolled

    def read(
        self,
        rows: NDArray[np.int32],
        *,
        as_of_ms: int,
        half_lives_ms: NDArray[np.int64],
        action_half_life_ms: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return decayed popularity and counts per action of some items.

        Every tile counts with ``2 ** (-age / half_life)``, age taken from the middle of the part
        of it that no finer ring covers; of the newest minute with strength one unit has the age of
        the item's last touch instead. Sums below 0 (taken back after decay) read as 0.

        Args:
            rows: int32 (n,).
            as_of_ms: Event time of the read, at or after the newest event added.
            half_lives_ms: int64 (H,).
            action_half_life_ms: Half-life of the counts per action.

        Returns:
            popularity float32 (n, H) from strengths, and action counts float32 (n, 5).
        """
        unrolled = self.unroll(rows, now_ms=as_of_ms)
        subtract_finer(unrolled, self._sizes, as_of_ms // MINUTE_MS)
        num_minutes, num_hours, num_days = (int(size) for size in self._sizes)
        minute_ages, hour_ages, day_ages = self._ages_ms(as_of_ms)
        hours = unrolled[:, num_minutes : num_minutes + num_hours * NUM_COLUMNS]
        hours = hours.reshape(len(rows), num_hours, NUM_COLUMNS)
        days = unrolled[:, num_minutes + num_hours * NUM_COLUMNS :]
        days = days.reshape(len(rows), num_days, NUM_COLUMNS)
        ages = np.concatenate((minute_ages, hour_ages, day_ages))
        strengths = np.concatenate(
            (unrolled[:, :num_minutes], hours[:, :, STRENGTH], days[:, :, STRENGTH]), axis=1
        )
        touch_ages = np.maximum(as_of_ms - self._newest_times[rows, _TOUCHED], 0)
        popularity = _decayed(strengths, ages, touch_ages, half_lives_ms, num_minutes)
        # Minutes hold no actions: an hour of actions has the age of its own middle.
        hour_middles = self._middles_ms(as_of_ms, HOUR_MS, num_hours)
        action_ages = np.concatenate((hour_middles, day_ages))
        action_weights = np.exp2(-action_ages / action_half_life_ms)
        actions = np.concatenate((hours[:, :, :NUM_ACTIONS], days[:, :, :NUM_ACTIONS]), axis=1)
        action_counts = np.maximum(np.einsum("nta,t->na", actions, action_weights), 0.0)
        return popularity.astype(np.float32), action_counts.astype(np.float32)

    @staticmethod
    def _middles_ms(as_of_ms: int, size_ms: int, num_tiles: int) -> NDArray[np.float64]:
        starts = (as_of_ms // size_ms - np.arange(num_tiles)) * size_ms
        ages: NDArray[np.float64] = np.maximum(as_of_ms - (starts + size_ms / 2.0), 0.0)
        return ages

    def _ages_ms(
        self, as_of_ms: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the age of every tile of the three rings, newest first, as of a moment.

        A tile partly covered by a finer ring has the age of the middle of what remains:
        ``[hour start------middle------first minute kept)``.
        """
        num_minutes, num_hours, num_days = (int(size) for size in self._sizes)
        ages = [self._middles_ms(as_of_ms, MINUTE_MS, num_minutes)]
        finer_start = (as_of_ms // MINUTE_MS - num_minutes + 1) * MINUTE_MS
        for size_ms, num_tiles in ((HOUR_MS, num_hours), (DAY_MS, num_days)):
            starts = (as_of_ms // size_ms - np.arange(num_tiles)) * size_ms
            ends = np.clip(starts + size_ms, None, np.maximum(finer_start, starts))
            ages.append(np.maximum(as_of_ms - (starts + ends) / 2.0, 0.0))
            finer_start = (as_of_ms // size_ms - num_tiles + 1) * size_ms
        return ages[0], ages[1], ages[2]

    def touched_ms(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return when somebody last turned to some items: int64 (n,) in ms, 0 for never."""
        touched: NDArray[np.int64] = self._newest_times[rows, _TOUCHED]
        return touched

    def clear(self, rows: NDArray[np.int32]) -> None:
        """Forget some items, so that their rows can be handed out again."""
        self._tiles[rows] = 0
        self._newest_times[rows] = 0

    def arrays(self, num_rows: int) -> dict[str, NDArray[np.int32] | NDArray[np.int64]]:
        """Return views of the first ``num_rows`` rows, for a snapshot."""
        return {
            "tiles": self._tiles[:num_rows],
            "newest_minutes": self._newest_times[:num_rows, _MINUTE],
            "last_touched_ms": self._newest_times[:num_rows, _TOUCHED],
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what :meth:`arrays` gave; rows beyond it become empty.

        Where it is of a time before last touches were kept, one is the middle of the newest minute.
        """
        num_rows = len(arrays["tiles"])
        # Fresh zeros commit no memory; filling the old ones would commit all up to the bound.
        self._tiles = large_zeros(self._tiles.shape, np.int32)
        self._newest_times = np.zeros(self._newest_times.shape, np.int64)
        self._tiles[:num_rows] = arrays["tiles"]
        minutes = arrays["newest_minutes"].astype(np.int64)
        touched_ms = np.where(minutes > 0, minutes * MINUTE_MS + MINUTE_MS // 2, 0)
        self._newest_times[:num_rows, _MINUTE] = minutes
        self._newest_times[:num_rows, _TOUCHED] = arrays.get("last_touched_ms", touched_ms)
