"""Seen filter: which items a user consumed, as two rotating Bloom filters per user.

New items go into the young filter; after ``seen_items`` of them the old filter is dropped and the
young one takes its place, so that the last ``seen_items`` to ``2 * seen_items`` distinct items
are remembered and the error stays bounded (1024 bits, 64 items, 4 bits each: 2.4 % at worst).
Filters are keyed by the item's id, never its row, so that they outlive evictions.

Source: Bloom 1970; the bits follow Kirsch and Mitzenmacher 2006 (two hashes make all).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from state.hashing import hash64, mix64
from state.kernels import kernel

BITS_PER_ITEM = 4
# Fixed for ever: filters and readers must agree. Digits of pi.
SEEN_SEED = 0x243F6A8885A308D3


class SeenColumns(NamedTuple):
    """The arrays of all filters, for kernels. N rows of capacity, W words.

    Attributes:
        young_words: uint64 (N, W).
        old_words: uint64 (N, W).
        num_items: int32 (N,), distinct items in the young filter.
    """

    young_words: NDArray[np.uint64]
    old_words: NDArray[np.uint64]
    num_items: NDArray[np.int32]


@kernel
def seen_key(buffer: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """Return the key of an item id in seen filters; the same in every partition and worker."""
    return np.uint64(hash64(buffer, start, length, np.uint64(SEEN_SEED)))


@njit(cache=True, nogil=True)
def seen_keys(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int32]
) -> NDArray[np.uint64]:
    """Return :func:`seen_key` of each span: uint64 (E,)."""
    keys = np.empty(len(starts), np.uint64)
    for i in range(len(starts)):
        keys[i] = seen_key(buffer, starts[i], max(lengths[i], 0))
    return keys


@kernel
def contains(words: NDArray[np.uint64], key: np.uint64) -> bool:
    """Tell whether a filter (uint64 (W,)) may hold an item: never a false no."""
    num_bits = np.uint64(64 * len(words))
    step = mix64(key) | np.uint64(1)
    for _ in range(BITS_PER_ITEM):
        bit = (key >> np.uint64(32)) * num_bits >> np.uint64(32)
        if words[bit >> np.uint64(6)] >> (bit & np.uint64(63)) & np.uint64(1) == np.uint64(0):
            return False
        key += step
    return True


@kernel
def _set_bits(words: NDArray[np.uint64], key: np.uint64) -> None:
    num_bits = np.uint64(64 * len(words))
    step = mix64(key) | np.uint64(1)
    for _ in range(BITS_PER_ITEM):
        bit = (key >> np.uint64(32)) * num_bits >> np.uint64(32)
        words[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))
        key += step


@kernel
def add_seen(seen: SeenColumns, user_row: int, key: np.uint64, max_items: int) -> None:
    """Remember an item; rotate first when the young filter has had its ``max_items``."""
    young = seen.young_words[user_row]
    if contains(young, key):
        return
    if seen.num_items[user_row] >= max_items:
        for word in range(len(young)):
            seen.old_words[user_row, word] = young[word]
            young[word] = np.uint64(0)
        seen.num_items[user_row] = 0
    _set_bits(young, key)
    seen.num_items[user_row] += 1


@kernel
def clear_seen(seen: SeenColumns, user_row: int) -> None:
    """Forget what a user has seen."""
    seen.young_words[user_row] = np.uint64(0)
    seen.old_words[user_row] = np.uint64(0)
    seen.num_items[user_row] = 0


def make_seen(*, seen_bits: int, capacity: int) -> SeenColumns:
    """Return empty filters, two of ``seen_bits`` for each of ``capacity`` users."""
    shape = (capacity, seen_bits // 64)
    return SeenColumns(
        young_words=np.zeros(shape, np.uint64),
        old_words=np.zeros(shape, np.uint64),
        num_items=np.zeros(capacity, np.int32),
    )
