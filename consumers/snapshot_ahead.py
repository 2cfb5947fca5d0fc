"""Newest snapshots one after the other, the next one read while one is opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from consumers.snapshots import Snapshot, SnapshotStore


async def newest_ahead(
    store: SnapshotStore, wanted: Sequence[tuple[str, int]]
) -> AsyncGenerator[Snapshot | None]:
    """Yield the newest valid snapshot of each (kind, partition), None where there is none.

    While the caller works on one, a thread reads and checks the next.
    """

    def read(place: int) -> asyncio.Task[Snapshot | None]:
        return asyncio.create_task(store.calls.run(store.newest_valid, *wanted[place]))

    ahead = read(0) if wanted else None
    try:
        for place in range(1, len(wanted) + 1):
            assert ahead is not None  # There is one for each place.
            snapshot = await ahead
            ahead = read(place) if place < len(wanted) else None
            yield snapshot
    finally:
        if ahead is not None:
            ahead.cancel()
