"""RowQueue: rows waiting for a turn, oldest first, each at most once; bounded by its rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state.kernels import kernel


@kernel
def _append(
    is_waiting: NDArray[np.bool_], ring: NDArray[np.int32], end: int, rows: NDArray[np.int32]
) -> int:
    """Put rows that do not wait yet behind position ``end`` of the ring; return how many."""
    num_new = 0
    for row in rows:
        if row >= 0 and not is_waiting[row]:
            is_waiting[row] = True
            ring[(end + num_new) % len(ring)] = row
            num_new += 1
    return num_new


class RowQueue:
    """First in, first out, without repeats.

    >>> queue = RowQueue(max_rows=8)
    >>> queue.append(np.array([3, 5], np.int32)); queue.append(np.array([5, 1], np.int32))
    >>> queue.take(2).tolist(), queue.take(2).tolist()
    ([3, 5], [1])
    """

    def __init__(self, *, max_rows: int) -> None:
        self._is_waiting = np.zeros(max_rows, np.bool_)
        self._ring = np.zeros(max_rows, np.int32)
        self._first = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def are_waiting(self, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return bool (n,), the row waits."""
        return self._is_waiting[rows]

    def append(self, rows: NDArray[np.int32]) -> None:
        """Let rows wait unless they already do; negative ones are none."""
        self._count += _append(self._is_waiting, self._ring, self._first + self._count, rows)

    def rows(self) -> NDArray[np.int32]:
        """Return a copy of the waiting rows, oldest first: int32."""
        places = (self._first + np.arange(self._count)) % len(self._ring)
        return self._ring[places]

    def take(self, max_rows: int) -> NDArray[np.int32]:
        """Remove and return up to ``max_rows`` rows, oldest first: int32."""
        count = min(max_rows, self._count)
        places = (self._first + np.arange(count)) % len(self._ring)
        rows = self._ring[places]
        self._is_waiting[rows] = False
        self._first = (self._first + count) % len(self._ring)
        self._count -= count
        return rows

    def remove(self, rows: NDArray[np.int32]) -> None:
        """Take rows out of turn, wherever they stand."""
        waiting = self.rows()
        self.restore(waiting[~np.isin(waiting, rows)])

    def restore(self, rows: NDArray[np.int32]) -> None:
        """Replace the queue by the given rows, oldest first."""
        self._is_waiting[:] = False
        self._is_waiting[rows] = True
        self._ring[: len(rows)] = rows
        self._first = 0
        self._count = len(rows)
