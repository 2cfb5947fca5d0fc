"""SignalPublisher: item signals to their compacted topic, no faster than readers can take them.

Signals are repeated statistics: every one replaces the item's last, so a rate bound costs freshness
and nothing else. An item is published at most once per interval, and all items together at most N
rows per second; whoever is held back is read again when it is due and then carries the newest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consumers.producer import Outgoing, ReliableProducer


class OwedRows:
    """Rows whose similar items Redis has not confirmed. Bounded by the table: 4 bytes a row."""

    def __init__(self) -> None:
        # How often a row was owed since it was last settled; 0 where nothing is owed.
        self._counts = np.zeros(1_024, np.uint32)

    def owe(self, rows: NDArray[np.int32]) -> None:
        """Add distinct rows: int32 (n,)."""
        top = int(rows.max(initial=-1))
        if top >= len(self._counts):
            grown = np.zeros(max(top + 1, 2 * len(self._counts)), np.uint32)
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        self._counts[rows] += 1

    def read(self, max_rows: int) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:
        """Return up to so many owed rows, int32 (n,), and their tickets for :meth:`settle`."""
        rows = np.flatnonzero(self._counts)[:max_rows].astype(np.int32)
        return rows, self._counts[rows]

    def settle(self, rows: NDArray[np.int32], tickets: NDArray[np.uint32]) -> None:
        """Take rows out that were not owed again since they were read."""
        self._counts[rows[self._counts[rows] == tickets]] = 0

    def rows(self) -> NDArray[np.int32]:
        """Return all rows that are owed: int32 (n,), ascending."""
        return np.flatnonzero(self._counts).astype(np.int32)


class SignalPacer:
    """Decides which of an item partition's changed rows are published now. Pure; one thread.

    Attributes:
        similar: Rows that were published and whose similar items are still to be written.

    Args:
        interval_ms: A row is published at most once in this time.
        max_rows_per_s: Bound of all rows together.
        max_batch: Rows per decision; also how much of the rate may be saved up.
    """

    def __init__(self, *, interval_ms: int, max_rows_per_s: int, max_batch: int = 1_024) -> None:
        assert interval_ms >= 0 and max_rows_per_s >= 1 and max_batch >= 1
        self._interval_ms = interval_ms
        self._per_ms = max_rows_per_s / 1_000
        self._max_batch = max_batch
        self._allowance = float(max_batch)
        self._at_ms: int | None = None
        # Rows published within the interval, oldest first; the flag says changed since.
        self._recent: deque[tuple[int, int]] = deque()
        self._is_changed: dict[int, bool] = {}
        self.num_held = 0
        self.similar = OwedRows()

    def allowance(self, now_ms: int) -> int:
        """Return how many rows may go out now: what to ask ``take_dirty`` for, at most."""
        if self._at_ms is not None:
            grown = self._allowance + (now_ms - self._at_ms) * self._per_ms
            self._allowance = min(grown, float(self._max_batch))
        self._at_ms = now_ms
        return int(self._allowance)

    def admit(self, rows: NDArray[np.int32], now_ms: int) -> NDArray[np.int32]:
        """Return the rows to read and publish now: those held back before that are due, and new.

        Args:
            rows: int32 (n,), distinct, from ``ItemPartition.take_dirty``; n at most the allowance
                is usual, what exceeds it goes out late by the interval.
            now_ms: Time of the call.

        Returns:
            int32 (m,), distinct, m at most the allowance.
        """
        room = self.allowance(now_ms)
        ready: list[int] = []
        while self._recent and self._recent[0][0] <= now_ms:
            row = self._recent[0][1]
            if self._is_changed[row] and len(ready) == room:
                break  # Stays first in line.
            self._recent.popleft()
            if self._is_changed.pop(row):
                ready.append(row)
        chosen = set(ready)
        # At most max_batch rows: a Python loop over signals, not over events.
        for row in rows.tolist():
            if row in chosen:
                continue
            if row in self._is_changed:
                self.num_held += not self._is_changed[row]
                self._is_changed[row] = True
            elif len(ready) < room:
                ready.append(row)
                chosen.add(row)
            else:
                self._hold(row, now_ms, is_changed=True)
                self.num_held += 1
        for row in ready:
            self._hold(row, now_ms, is_changed=False)
        self._allowance -= len(ready)
        return np.array(ready, np.int32)

    def rows(self) -> NDArray[np.int32]:
        """Return the rows that were published within the interval, or wait to be, or are owed.

        int32 (n,), ascending.
        """
        paced = np.fromiter(self._is_changed, np.int32, len(self._is_changed))
        return np.union1d(paced, self.similar.rows()).astype(np.int32)

    def holds(self, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return bool (n,), the row is one of :meth:`rows`."""
        return np.isin(rows, self.rows())

    def _hold(self, row: int, now_ms: int, *, is_changed: bool) -> None:
        self._recent.append((now_ms + self._interval_ms, row))
        self._is_changed[row] = is_changed


class SignalPublisher:
    """Sends encoded signals and waits for the broker.

    Args:
        producer: Started by its owner; may be shared with other senders.
        item_signals: Compacted topic, keyed by item id.

    Attributes:
        num_sent: Records acknowledged.
        num_held: Records held back by the pacers; whoever asks one adds to it.
    """

    def __init__(self, producer: ReliableProducer, *, item_signals: str) -> None:
        self._producer = producer
        self._item_signals = item_signals
        self.num_sent = 0
        self.num_held = 0

    async def publish(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Send (item id, encoded signal) records (``stream.signals.encode_signals``).

        Raises:
            ServerUnreachable: Not acknowledged within the producer's bound.
        """
        self.num_sent += await self._producer.send_all(
            self._item_signals, (Outgoing(key=key, value=value) for key, value in records)
        )
