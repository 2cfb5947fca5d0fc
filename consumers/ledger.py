"""OffsetLedger: what the slab transport asks the application about offsets.

Offsets live inside the state (law 2): the transport never remembers one of its own. It reads on
where the ledger says, and commits to the group only what the ledger calls durable.
"""

from __future__ import annotations

from typing import Protocol


class OffsetLedger(Protocol):
    """Next and durable offsets of the slab topics' partitions, kept by the application.

    All methods run on the application's event loop. The transport never calls two of the three
    coroutines at once. A partition is (topic, partition number); only slab topics are asked about.
    The life of a partition: ``retain``, ``restore``, then ``next_offset`` and ``durable_offset``
    at any time, then ``release``; after it, ``retain`` and ``restore`` of the next assignment,
    which often names it again.

    Attributes:
        assignment: Grows with every ``release`` and at the end of every ``restore``: next offsets
            that were asked for before are those of an old assignment. Read on any thread.
    """

    assignment: int

    async def restore(self, partitions: set[tuple[str, int]]) -> None:
        """Load the state of all assigned partitions that is not already in memory.

        Called after each assignment before any record is read. No record reaches the agents until
        it returns. Raising ends the worker.
        """

    def next_offset(self, topic: str, partition: int) -> int | None:
        """Return the offset to read on at: the state's next offset; None for the log's start."""

    def durable_offset(self, topic: str, partition: int) -> int | None:
        """Return the next offset inside the newest durable snapshot; None while there is none.

        Only this is ever committed to the group, and only when it has grown.
        """

    async def release(self, partitions: set[tuple[str, int]]) -> None:
        """Give partitions up: await the fold in flight, snapshot, keep the arrays.

        Called on revoke and on a clean stop, when no further slab will be handed out; the durable
        offsets are committed right after it. Not called after a crash: what a failed fold left
        behind must not become durable. Raising ends the worker.
        """

    async def retain(self, partitions: set[tuple[str, int]]) -> None:
        """Keep only these partitions' arrays: the others have moved to another worker.

        Called after each assignment with all assigned partitions, before ``restore``.
        """
