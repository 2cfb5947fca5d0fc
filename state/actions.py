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

LIKE_BIT = 1 << LIKE
UNLIKE_BIT = 1 << UNLIKE
# Stating one of these again says nothing new.
ONCE_BITS = LIKE_BIT | 1 << NOT_INTERESTED | 1 << FOLLOW

WHOLE = 255


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
