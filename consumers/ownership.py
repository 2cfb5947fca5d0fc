"""Ownership: which partitions this worker holds, from which offset on, and how far they are safe.

Implements the transport's :class:`consumers.ledger.OffsetLedger` over the engine and the snapshot
store. ``committed <= durable <= applied`` holds because only :meth:`durable_offset` is committed,
and it is raised only after a snapshot is written, which waits for every derived row below it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from consumers.broker_offsets import BrokerOffsets
from consumers.crash_points import crash_point
from consumers.held_partitions import Held
from consumers.lost_snapshots import LostSnapshots
from consumers.refusals import check_partition, check_snapshot, check_topic_id, does_not_fit
from consumers.signal_publisher import SignalPacer
from consumers.snapshot_ahead import newest_ahead
from consumers.snapshot_copies import ITEMS as ITEMS
from consumers.snapshot_copies import PENDING, REST, SnapshotCopies, split_pending
from consumers.snapshot_copies import USERS as USERS
from consumers.snapshot_faults import SnapshotFaults
from consumers.snapshots import Snapshot, SnapshotStore
from consumers.state_thread import WorkThread
from stream.engine import Engine
from stream.errors import ServerUnreachable, SnapshotNotWritten

logger = logging.getLogger(__name__)


class Ownership:
    """The ledger: opens, restores, snapshots and drops partitions.

    Args:
        engine: State; touched on the state thread only.
        store: Where snapshots are.
        state: The state thread.
        interactions: Topic of the user partitions.
        item_deltas: Topic of the item partitions.
        settle: Waits until everything that a user partition derived below an offset is
            acknowledged by the broker.
        offsets: Asks the broker where logs begin and end.
        on_open: Told (kind, partition, what was pending) when a partition came into memory.
        on_assign: Told (kind, partition) of each partition given up or taken up, also of one that
            stayed in memory: what waits of it is of an old assignment, and no list may be made
            before :meth:`is_caught_up`.
        on_drop: Told (kind, partition) when it left.
        pending: Returns what the shell still owes to a user partition's users (lists, erasures):
            it travels in the snapshot, so that a crash forgets none of it.
        generation: Returns the group's generation of the newest assignment: of two snapshots at
            one offset the one of the later owner counts, not a zombie's.
        on_snapshot: Told (kind, seconds) of each snapshot written.
        why_over: Says why the group may have given our partitions away: no snapshot is written
            then. None while they are surely ours.
        on_pause: Told (kind, seconds) for which a snapshot held the state thread.
        snapshots_timeout_s: For how long a partition's snapshots may fail.

    Attributes:
        assignment: Grows whenever partitions are given up or taken up.
        is_sealed: Whether a failure may have left a fold half done: nothing more becomes durable.
        num_unusable: Snapshots passed over at restores, by kind.
        faults: Snapshots that could not be written.
        lost: Snapshots that were durable and are gone.
        release_failure: Why the newest release made not everything durable; None where it did.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        store: SnapshotStore,
        state: WorkThread,
        interactions: str,
        item_deltas: str,
        settle: Callable[[int, int], Awaitable[None]],
        offsets: BrokerOffsets,
        on_open: Callable[[str, int, Mapping[str, NDArray[Any]]], None],
        on_drop: Callable[[str, int], None],
        pending: Callable[[int], Mapping[str, NDArray[Any]]],
        generation: Callable[[], int],
        on_snapshot: Callable[[str, float], None],
        on_pause: Callable[[str, float], None],
        on_assign: Callable[[str, int], None] = lambda kind, partition: None,
        why_over: Callable[[], str | None] = lambda: None,
        snapshots_timeout_s: float = 3600.0,
    ) -> None:
        self.assignment = 0
        self.held: dict[tuple[str, int], Held] = {}
        self.assigned: set[tuple[str, int]] = set()
        # Of each item partition that publishes signals; touched on the state thread.
        self.pacers: dict[int, SignalPacer] = {}
        # Set once the first assignment was restored; it may be empty.
        self.has_assignment = asyncio.Event()
        self.release_failure: Exception | None = None
        self.is_sealed = False
        self._engine = engine
        self._store = store
        self._state = state
        self._kinds = {interactions: USERS, item_deltas: ITEMS}
        self._settle = settle
        self._offsets = offsets
        self._on_open = on_open
        self._on_drop = on_drop
        self._pending = pending
        self._ask_generation = generation
        self._on_snapshot = on_snapshot
        self._on_assign = on_assign
        self._why_over = why_over
        self._copies = SnapshotCopies(
            engine=engine, state=state, pacers=self.pacers, on_pause=on_pause
        )
        self._rest_until_s = 0.0
        self.faults = SnapshotFaults(limit_s=snapshots_timeout_s, monotonic_s=time.monotonic)
        self.lost = LostSnapshots(store, self._kinds, monotonic_s=time.monotonic)
        self.num_unusable = dict.fromkeys((USERS, ITEMS), 0)
        # Of the assignment that the partitions were restored under, whatever the group does since.
        self._generation = 0
        self._topic_ids: dict[str, str] = {}
        self._locks: dict[tuple[str, int], asyncio.Lock] = {}

    async def restore(self, partitions: set[tuple[str, int]]) -> None:
        """Load the newest valid snapshot of every partition that is not in memory."""
        self._generation = max(self._ask_generation(), 0)  # -1 would be no file's name.
        self.release_failure = None  # What was not durable then is read again.
        for topic, partition in sorted(partitions):
            check_partition(topic, partition, self._num_partitions(topic))
        ends = await self._offsets.ends(partitions)
        self._take_ids(await self._offsets.topic_ids(self._kinds))
        for key in partitions & self.held.keys():
            self.held[key].end_at_assignment = ends[key]
        await self._load_all(sorted(partitions - self.held.keys()), ends)
        self.lost.tell()
        self.assigned = set(partitions)
        self._tell(partitions)
        crash_point("after-restore")
        self.has_assignment.set()

    def _tell(self, partitions: set[tuple[str, int]]) -> None:
        """Make whatever waits of these partitions one of an old assignment."""
        self.assignment += 1
        for topic, partition in sorted(partitions):
            self._on_assign(self._kinds[topic], partition)

    def _take_ids(self, ids: Mapping[str, str]) -> None:
        """Remember which topics these are; one made anew since the last assignment is an end."""
        for topic, topic_id in ids.items():
            check_topic_id(topic, self._topic_ids.get(topic), topic_id)
            if self.is_users(topic):
                self._engine.topic_id = topic_id
        self._topic_ids.update(ids)

    async def _load_all(
        self, keys: Sequence[tuple[str, int]], ends: Mapping[tuple[str, int], int]
    ) -> None:
        """Open partitions one by one; meanwhile the next one's snapshot is read and checked."""
        wanted = [(self._kinds[topic], partition) for topic, partition in keys]
        # Asked before the store: what was committed by then is there to be found.
        committed = await self._offsets.committed(keys)
        async with contextlib.aclosing(newest_ahead(self._store, wanted)) as snapshots:
            for key in keys:
                held = Held(end_at_assignment=ends[key], committed=committed[key])
                held.saved_at_s = held.tried_at_s = time.monotonic()
                await self._load(key, held, await anext(snapshots))
                crash_point("mid-restore")

    async def _load(self, key: tuple[str, int], held: Held, snapshot: Snapshot | None) -> None:
        topic, partition = key
        kind = self._kinds[topic]
        pending: Mapping[str, NDArray[Any]] = {}
        if snapshot is None:
            broken = await self._store.calls.run(self._store.names, kind, partition)
            self.num_unusable[kind] += len(broken)
            begin = (await self._offsets.beginnings({key}))[key]
            self.lost.refuse_gap(key, begin=begin, committed=held.committed)
            await self._state.run(self._start_at, kind, partition, begin)
            logger.info("%s/%d: no snapshot, reading from offset %d", topic, partition, begin)
            if begin:
                logger.warning("%s/%d: without the log's head, which retention took", *key)
        else:
            self.num_unusable[kind] += snapshot.num_skipped
            counts = (self._engine.num_partitions, self._engine.num_item_partitions)
            check_snapshot(key, snapshot.meta, counts=counts, topic_id=self._topic_ids.get(topic))
            pending, arrays = split_pending(snapshot.arrays)
            try:
                await self._state.run(self._open, kind, partition, arrays)
            except ValueError as error:
                raise does_not_fit(key, snapshot.name.file, error) from error
            held.durable = int(snapshot.meta["next_offset"])
            took = time.monotonic() - held.saved_at_s
            logger.info("%s/%d: restored at offset %d in %.2f s", *key, held.durable, took)
        self.held[key] = held
        self.lost.begin(key, held, at=self.next_offset(*key) or 0)
        self._on_open(kind, partition, pending)

    def _start_at(self, kind: str, partition: int, begin: int) -> None:
        """Open an empty partition at the first offset that its log still has."""
        if kind == USERS:
            self._engine.open_users(partition).tables.next_offset = begin
        elif begin:
            self._engine.open_items(partition).start_at(begin)
        else:
            self._engine.open_items(partition)

    def _open(self, kind: str, partition: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        if kind == USERS:
            self._engine.open_users(partition).restore(arrays)
        else:
            self._engine.open_items(partition).restore(arrays)

    def _num_partitions(self, topic: str) -> int:
        engine = self._engine
        return engine.num_partitions if self.is_users(topic) else engine.num_item_partitions

    def topic_id(self, topic: str) -> str | None:
        """Return the id that Kafka gave a topic; None where it is not known (yet)."""
        return self._topic_ids.get(topic)

    def is_users(self, topic: str) -> bool:
        """Whether a topic's partitions are user partitions."""
        return self._kinds[topic] == USERS

    def next_offset(self, topic: str, partition: int) -> int | None:
        """Return the next offset that the state wants; None while it is not in memory."""
        key = (topic, partition)
        if key not in self.held:
            return None
        if self._kinds[topic] == USERS:
            return self._engine.users[partition].tables.next_offset
        return self._engine.items[partition].next_offset

    def durable_offset(self, topic: str, partition: int) -> int | None:
        """Return what may be committed to the group."""
        held = self.held.get((topic, partition))
        return None if held is None else held.durable

    def is_caught_up(self, topic: str, partition: int) -> bool:
        """Whether the state has passed the log's end as it was at assignment."""
        held = self.held.get((topic, partition))
        if held is None:
            return False
        return (self.next_offset(topic, partition) or 0) >= held.end_at_assignment

    async def release(self, partitions: set[tuple[str, int]]) -> None:
        """Snapshot every partition that is given up; arrays stay until it has moved.

        Where the store takes none, the next owner reads on from the snapshot before.
        """
        self.assigned -= partitions
        self._tell(partitions)
        try:
            for key in sorted(partitions & self.held.keys()):
                try:
                    await self.snapshot(key)
                except SnapshotNotWritten as error:
                    self.release_failure = error
                    logger.error("%s; what is above the one before will be read again", error)
                crash_point("mid-release")
        except Exception as error:
            self.release_failure = error  # Faust only logs what fails while it stops.
            raise

    async def retain(self, partitions: set[tuple[str, int]]) -> None:
        """Drop the arrays of partitions that moved to another worker."""
        for key in sorted(self.held.keys() - partitions):
            topic, partition = key
            del self.held[key]
            self.faults.forget(key)
            kind = self._kinds[topic]
            await self._state.run(self._drop, kind, partition)
            self._on_drop(kind, partition)
            logger.info("%s/%d: handed over", topic, partition)

    def _drop(self, kind: str, partition: int) -> None:
        held = self._engine.users if kind == USERS else self._engine.items
        held.pop(partition, None)
        if kind == ITEMS:
            self.pacers.pop(partition, None)  # Its rows mean other items when it comes back.

    def seal(self) -> None:
        """Make nothing durable any more: a failure may have left a fold half done."""
        self.is_sealed = True

    @contextmanager
    def sealing(self) -> Iterator[None]:
        """Seal when the body fails; on the state thread, around whatever changes the state.

        A snapshot's copy may already be the thread's next piece of work: too early for the loop.
        """
        try:
            yield
        except BaseException:
            self.seal()
            raise

    async def snapshot(self, key: tuple[str, int]) -> None:
        """Make the partition's state durable.

        1. freeze it on the state thread; 2. copy it as of then on a thread of the pool, while
        folds go on; 3. wait until every row derived below its offset is acknowledged; 4. write;
        5. raise the durable offset.

        Raises:
            SnapshotNotWritten: The store did not take it; nothing has changed.
        """
        async with self._locks.setdefault(key, asyncio.Lock()):
            held = self.held.get(key)
            if held is None or self.is_sealed:
                return
            try:
                await self._snapshot(key, held)
            finally:
                held.tried_at_s = time.monotonic()

    async def _snapshot(self, key: tuple[str, int], held: Held) -> None:
        topic, partition = key
        kind = self._kinds[topic]
        started = time.monotonic()
        found = await self._copies.freeze(kind, partition)  # 1
        if self.is_sealed or held.durable == found.next_offset:
            self._copies.thaw(kind, partition)
            held.saved_at_s = time.monotonic()
            return
        # Before anything else is awaited: what is marked later may have no row in the copy.
        pending = self._pending(partition) if kind == USERS else {}
        arrays = await self._copies.copy(kind, partition, found)  # 2
        crash_point("after-copy")
        arrays.update({PENDING + name: array for name, array in pending.items()})
        if kind == USERS:
            await self._settle(partition, found.next_offset)  # 3
            crash_point("after-settle")
        if (reason := self._why_over()) is not None:
            logger.warning("%s/%d: no snapshot: %s", topic, partition, reason)
            return
        if self.is_sealed:
            return
        await self._write(key, found.next_offset, arrays)  # 4
        held.durable = found.next_offset  # 5
        held.saved_at_s = time.monotonic()
        self.faults.written(key)
        self._on_snapshot(kind, held.saved_at_s - started)

    async def _write(
        self, key: tuple[str, int], next_offset: int, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        topic, partition = key
        kind = self._kinds[topic]
        meta = {
            "kind": kind,
            "partition": partition,
            "next_offset": next_offset,
            "num_partitions": self._engine.num_partitions,
            "num_item_partitions": self._engine.num_item_partitions,
            "topic_id": self._topic_ids.get(topic),
        }
        generation = self._generation
        try:
            await self._store.calls.run(
                self._store.write, kind, partition, next_offset, arrays, meta, generation=generation
            )
        except (OSError, ServerUnreachable) as error:
            message = (
                f"{topic}/{partition}: expected to write a snapshot at offset {next_offset} to "
                f"{self._store.place}, came {error}: is there room, may the worker write there?"
            )
            raise SnapshotNotWritten(message) from error

    async def snapshot_due(self, interval_s: float) -> None:
        """Snapshot the one partition that waits longest, if its interval has passed.

        Where state is so large that snapshots would follow on each other, there is a ``REST``
        after each one. One that the store did not take is tried again after its interval.

        Raises:
            HeadwaterError: A partition's snapshots have failed for too long.
        """
        ours = {key: self.held[key] for key in self.assigned & self.held.keys()}
        await self.lost.forget(ours, interval_s=interval_s)
        due = [key for key in self.assigned if key in self.held]
        started = time.monotonic()
        if not due or started < self._rest_until_s:
            return
        oldest = min(due, key=lambda key: self.held[key].tried_at_s)
        if started - self.held[oldest].tried_at_s >= interval_s:
            try:
                await self.snapshot(oldest)
            except SnapshotNotWritten as error:
                self.faults.failed(oldest, self._kinds[oldest[0]], error)
            ended = time.monotonic()
            # Most of a long one was waiting for Kafka or the store, which slows no fold.
            self._rest_until_s = ended + REST * min(ended - started, interval_s)
