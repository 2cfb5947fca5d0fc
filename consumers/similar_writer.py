"""SimilarWriter: the similar items of what was published, written until Redis has them.

A loop of its own, so that what goes to Kafka does not wait for Redis. What Redis did not take stays
owed (:class:`consumers.signal_publisher.OwedRows`) and travels in the item partition's snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from consumers.refresh import Write
from consumers.signal_publisher import SignalPacer
from consumers.sink_replies import Reply
from consumers.state_thread import WorkThread
from stream.candidates import RecommendationBatch
from stream.engine import Engine
from stream.shared_lists import similar_items

_SIZE = 50
# Lists per write; how long Redis is left alone after it did not take one.
_BATCH = 1_024
_PAUSE_S = 1.0

# Pacer, rows, tickets of the rows, lists of the rows.
_Owed = tuple[SignalPacer, NDArray[np.int32], NDArray[np.uint32], RecommendationBatch]


def signals_tick_s(interval_s: float) -> float:
    """Return how often to look for signals that are due, s.

    >>> signals_tick_s(1.0), signals_tick_s(0.2), signals_tick_s(0.0)
    (0.25, 0.05, 0.02)
    """
    return min(max(interval_s / 4, 0.02), 0.25)


class SimilarWriter:
    """The loop beside the signals.

    Args:
        engine: Touched on the state thread only.
        state: The state thread.
        write: Writes similar items and reports each reply.
        pacers: Of each item partition, with what is owed.
        why_over: Says why nothing may be written now.
        wall_ms: Clock of ``generated_at``.
        tick_s: Between two looks.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        state: WorkThread,
        write: Write,
        pacers: Mapping[int, SignalPacer],
        why_over: Callable[[], str | None],
        wall_ms: Callable[[], int],
        tick_s: float,
    ) -> None:
        self._engine = engine
        self._state = state
        self._write = write
        self._pacers = pacers
        self._why_over = why_over
        self._wall_ms = wall_ms
        self._tick_s = tick_s

    async def run(self) -> None:
        """Write what is owed, again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._tick_s)
            for partition in sorted(self._pacers):
                await self._write_owed(partition)

    async def _write_owed(self, partition: int) -> None:
        while self._why_over() is None:
            owed = await self._state.run(self._read_owed, partition)
            if owed is None:
                return
            pacer, rows, tickets, batch = owed
            report = await self._write(batch, generated_at_ms=self._wall_ms())
            # A list that is no number is not written, and would not be the next time.
            is_done = report.replies <= Reply.INVALID
            await self._state.run(pacer.similar.settle, rows[is_done], tickets[is_done])
            if report.is_outage:
                await asyncio.sleep(_PAUSE_S)
                return

    def _read_owed(self, partition: int) -> _Owed | None:
        """Return lists that are owed; None where none is, or it moved away (state thread)."""
        items, pacer = self._engine.items.get(partition), self._pacers.get(partition)
        if items is None or pacer is None:
            return None
        rows, tickets = pacer.similar.read(_BATCH)
        is_live = items.are_live(rows)
        pacer.similar.settle(rows[~is_live], tickets[~is_live])
        rows, tickets = rows[is_live], tickets[is_live]
        if not len(rows):
            return None
        batch = similar_to(self._engine, partition, items.ids.ids(items.id_rows[rows]))
        assert batch is not None, "the partition is held"
        return pacer, rows, tickets, batch


def similar_to(
    engine: Engine, partition: int, item_ids: Sequence[bytes]
) -> RecommendationBatch | None:
    """Return the lists of some items of a partition; None where it moved away (state thread)."""
    items = engine.items.get(partition)
    if items is None:
        return None
    return similar_items(
        engine.catalogue,
        item_ids,
        partition=partition,
        next_offset=items.next_offset,
        now_ms=items.stream_time_ms,
        size=_SIZE,
    )
