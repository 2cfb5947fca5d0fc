"""Action codes and what each is worth, for kernels.

The codes are those of ``stream.events.Action``, repeated because ``state`` knows no other room; a
test holds the two equal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state.kernels import kernel

WATCH = 0
LIKE = 1
COMMENT = 2
SHARE = 3
NOT_INTERESTED = 4
FOLLOW = 5
UNLIKE = 6
ERASE = 7
ACTION_NAMES = (
    "watch",
    "like",
    "comment",
    "share",
    "not_interested",
    "follow",
    "unlike",
    "erase",
)
NUM_ACTIONS = len(ACTION_NAMES)
# Of delta rows alone: a watch that is worth nothing. It counts as a watch and shows no wish.
SKIP = 8

LIKE_BIT = 1 << LIKE
UNLIKE_BIT = 1 << UNLIKE
# Stating one of these again says nothing new.
ONCE_BITS = LIKE_BIT | 1 << NOT_INTERESTED | 1 << FOLLOW

# Of an entry's 16 bits the lower eight say which actions came. Above them lie the day, modulo 16,
# whose repeats are counted, and their count.
ACTION_BITS = (1 << NUM_ACTIONS) - 1
MAX_REPEATS = 15
_DAY_SHIFT, _COUNT_SHIFT = 8, 12
_DAY_MS = 86_400_000

WHOLE = 255


@kernel
def count_repeat(bits: int, newest_ms: int, time_ms: int, max_repeats: int) -> int:
    """Count one more event on an item already met; return the entry's bits, or -1 where capped.

    The count starts anew on a later day of event time, never on an earlier one: a user cannot go
    back and forth. The counted day is kept modulo 16. It is that of ``newest_ms``, the time of the
    entry's newest event, or a later one where that event was late: exact for 15 days of lateness.

    >>> noon, actions = 43_200_000, 1
    >>> once = count_repeat(actions, noon, noon, 2)
    >>> twice = count_repeat(once, noon, noon + 1, 2)
    >>> count_repeat(twice, noon + 1, noon + 2, 2), count_repeat(twice, noon + 1, 0, 2)
    (-1, -1)
    >>> count_repeat(twice, noon + 1, noon + 86_400_000, 2) >> 12  # The next day.
    1
    """
    day = time_ms // _DAY_MS
    newest_day = newest_ms // _DAY_MS
    counted_day = newest_day + (((bits >> _DAY_SHIFT) - newest_day) & 15)
    count = bits >> _COUNT_SHIFT
    if day > counted_day:
        count = 0
    if count >= max_repeats:
        return -1
    if count == 0:
        counted_day = day
    return (bits & ACTION_BITS) | (counted_day & 15) << _DAY_SHIFT | (count + 1) << _COUNT_SHIFT


@kernel
def completion_of(watch_ms: int, duration_ms: int) -> int:
    """Return the watched share as a byte: ``floor(255 * watch / duration)``, 0..255.

    0 where either is absent (-1) or the duration is 0; all that is longer than once counts 255.

    >>> completion_of(10_000, 40_000), completion_of(90, 30), completion_of(5, -1)
    (63, 255, 0)
    """
    if watch_ms <= 0 or duration_ms <= 0:
        return 0
    if watch_ms >= duration_ms:
        return WHOLE
    # Only a duration beyond 10^16 ms could overflow; one bit of it is no loss there.
    while duration_ms >= 1 << 54:
        watch_ms >>= 1
        duration_ms >>= 1
    return watch_ms * WHOLE // duration_ms


@kernel
def strength_of(
    action: int, completion: int, strengths: NDArray[np.uint8], min_completion: int
) -> int:
    """Return what one action is worth: its strength, 0 for a watch below ``min_completion``."""
    if action == WATCH and completion < min_completion:
        return 0
    return int(strengths[action])
