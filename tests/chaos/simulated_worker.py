"""A worker of the simulation: the real pipeline, and the protocol of the shell as small steps.

Mirrors ``consumers.handlers`` (fold, rejects, copies, frames), ``consumers.frame_producer`` (order,
acknowledgements), ``consumers.ownership`` (restore, settle, snapshot, release, retain) and the
transport's commits. Every task is a generator that yields the name of the effect it has just had,
or None while it waits; between two yields anything may happen to the worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from state.item_limits import CatalogueLimits, ItemLimits
from state.user_limits import UserLimits
from stream.engine import Engine
from stream.outcomes import Folded
from stream.pipeline import Pipeline
from stream.rerank import RerankLimits
from stream.routing import HEADER_FROM
from stream.slab import Slab
from stream.sources import RetrievalLimits
from tests.chaos.simulated_lists import Lists
from tests.chaos.simulated_world import (
    ITEMS,
    KEYS,
    NUM_ITEM_PARTITIONS,
    NUM_PARTITIONS,
    USERS,
    Arrays,
    Key,
    Snapshot,
    World,
    demand,
)

Steps = Iterator[str | None]
LIMITS = UserLimits(max_users=64, max_items=64, max_event_ids=256, max_history=6)


def make_pipeline() -> Pipeline:
    """Make a small engine: nothing is to be evicted, nothing large to be copied."""
    engine = Engine(
        num_partitions=NUM_PARTITIONS,
        num_item_partitions=NUM_ITEM_PARTITIONS,
        user_limits=LIMITS,
        item_limits=ItemLimits(
            max_items=64, max_ids=128, max_pairs=2048, max_row_pairs=64, num_neighbours=4
        ),
        catalogue_limits=CatalogueLimits(max_items=64, dim=2, num_neighbours=4, max_tags=1),
    )
    return Pipeline(engine, retrieval=RetrievalLimits(), reranking=RerankLimits())


@dataclass
class _Sent:
    """The frames of one fold: done when none is open."""

    to: int
    num_open: int


@dataclass
class _Held:
    """A partition in memory: one life of it, in which no offset is read twice."""

    durable: int | None = None
    is_saving: bool = False
    life: int = field(default_factory=count().__next__)


class Worker:
    """One process: its engine, what it holds, and its tasks.

    Attributes:
        generation: Of its last assignment.
        assigned: Partitions it believes to own.
        held: Partitions in memory.
        tasks: Name to generator; a worker that crashes loses them all.
        is_paused: Stopped by a signal: no task runs, and it does not know.
    """

    def __init__(self, name: str, world: World, bug: str | None) -> None:
        self.name = name
        self.world = world
        self.draw = world.draw
        self.bug = bug
        self.pipeline = make_pipeline()
        self.engine = self.pipeline.engine
        self.generation = -1
        self.assigned: set[Key] = set()
        self.held: dict[Key, _Held] = {}
        self.is_paused = False
        self.num_read_signals = 0
        self._unsent: dict[int, NDArray[np.int32]] = {}
        self._outboxes: list[deque[tuple[bytes, _Sent]]] = [
            deque() for _ in range(NUM_ITEM_PARTITIONS)
        ]
        self._open: dict[int, deque[_Sent]] = {}
        self._acknowledged: dict[int, int] = {}
        self.lists = Lists(self, world.redis, world.tick)
        self.tasks: dict[str, Steps] = {
            "users": self._fold_users(),
            "items": self._fold_items(),
            "frames": self._send_frames(),
            "signals": self._read_signals(),
            "snapshots": self._snapshot_some(),
            "commits": self._commit_some(),
            "lists": self.lists.write(),
            "erasures": self.lists.erase(),
        }

    # What the scheduler asks.

    def next_offset(self, key: Key) -> int:
        """Return what the state in memory wants next."""
        kind, partition = key
        if kind == USERS:
            return self.engine.users[partition].tables.next_offset
        return self.engine.items[partition].next_offset

    def is_idle(self) -> bool:
        """Tell whether everything read is folded and everything taken or derived is sent."""
        is_folded = all(
            self.next_offset(key) == self.world.end(key) for key in self.assigned & {*self.held}
        )
        is_sent = all(
            self._acknowledged.get(partition, 0) == self.next_offset((USERS, partition))
            for kind, partition in self.assigned
            if kind == USERS
        )
        is_quiet = not any(self._outboxes) and not self._unsent
        return is_folded and is_sent and is_quiet and self.lists.is_idle()

    def in_flight(self) -> list[tuple[int, bytes]]:
        """Return the frames that a dying worker may have on the wire: one per destination."""
        return [(each, box[0][0]) for each, box in enumerate(self._outboxes) if box]

    def _note(self, what: str) -> None:
        """Count what a zombie writes: its partitions belong to others by now."""
        if 0 <= self.generation < self.world.group.generation:
            self.world.zombie_writes[what] += 1

    # Steps 1 to 6.

    def _choose(self, kind: str) -> int | None:
        """Choose a partition with something to read."""
        keys = [key for key in KEYS if key[0] == kind and key in self.assigned and key in self.held]
        ready = [key for key in keys if self.next_offset(key) < self.world.end(key)]
        return self.draw.choice(ready)[1] if ready else None

    def _fold_users(self) -> Steps:
        while True:
            partition = self._choose(USERS)
            if partition is None:
                yield None
                continue
            shard, life = self.engine.users[partition], self.held[USERS, partition].life
            count = self.draw.choice((1, 4, 12))
            slab = self.world.read_interactions(partition, shard.tables.next_offset, count)
            if self.bug == "copies counted twice":
                shard.origins[:] = 0
            if self.bug == "ack before fold":
                begin, shard.tables.next_offset = shard.tables.next_offset, slab.end
                yield None
                shard.tables.next_offset = begin
            folded = self.pipeline.fold_interactions(slab)
            self.lists.mark(partition, folded)
            yield "after mark"
            late_rejects = self.bug == "rejects after the snapshot"
            if not late_rejects:
                yield from self._send_rejects(life, partition, folded)
            yield from self._send_copies(folded)
            self._queue(folded, partition, slab.end)
            yield "after frames queued"
            if late_rejects:
                yield from self._send_rejects(life, partition, folded)

    def _send_rejects(self, life: int, partition: int, folded: Folded) -> Steps:
        for reject in folded.rejects:
            yield "before dead letter"
            letter = (life, partition, reject.offset)
            self.world.dead_letters += [letter] * (2 if self.bug == "rejects sent twice" else 1)

    def _send_copies(self, folded: Folded) -> Steps:
        copies = folded.copies
        for index, target in enumerate(copies.partitions.tolist()):
            headers = ((HEADER_FROM, copies.headers[index]),)
            self.world.produce(target, copies.values[index], headers)
            yield "after copy"

    def _queue(self, folded: Folded, partition: int, to: int) -> None:
        sent = _Sent(to, len(folded.frames))
        self._open.setdefault(partition, deque()).append(sent)
        for destination, frame in folded.frames:
            self._outboxes[destination].append((frame, sent))
        self._advance()

    def _advance(self) -> None:
        for partition, calls in self._open.items():
            while calls and not calls[0].num_open:
                self._acknowledged[partition] = calls.popleft().to

    def _send_frames(self) -> Steps:
        while True:
            ready = [each for each, box in enumerate(self._outboxes) if box]
            if not ready:
                yield None
                continue
            destination = self.draw.choice(ready)
            box = self._outboxes[destination]
            if self.bug == "frames overtake":
                box.rotate(1)
            frame, sent = box[0]
            self._note("frames")
            self.world.append_frame(destination, frame)
            yield "after frame appended"
            box.popleft()
            sent.num_open -= 1
            self._advance()
            yield "after frame acknowledged"

    def _fold_items(self) -> Steps:
        while True:
            partition = self._choose(ITEMS)
            if partition is None:
                yield None
                continue
            items = self.engine.items[partition]
            count = self.draw.choice((1, 2, 8))
            slab = self.world.read_item_deltas(partition, items.next_offset, count)
            before = items.watermarks.copy()
            if self.bug == "no watermark":
                items.watermarks[:] = -1
            self.pipeline.fold_item_deltas(slab)
            is_higher = bool((items.watermarks >= before).all())
            demand(is_higher or self.bug == "no watermark", "a watermark went back")
            yield "after item fold"
            if self.draw.random() < 0.7:
                yield from self._send_signals(partition)

    def _send_signals(self, partition: int) -> Steps:
        """Send what is new; until then its rows count as waiting, as in the shell's pacers."""

        def take(rows: NDArray[np.int32]) -> NDArray[np.int32]:
            self._unsent[partition] = rows
            return rows

        signals = self.pipeline.publish_signals(partition, 4, take)
        yield "before signals sent"
        self.world.signals += signals
        self._unsent.pop(partition, None)
        yield "after signals sent"

    def _read_signals(self) -> Steps:
        """Read every worker's signals, from the log's start in each life."""
        while True:
            records = self.world.signals[self.num_read_signals :]
            if not records:
                yield None
                continue
            self.pipeline.read_signals(Slab.from_records(records))
            self.num_read_signals += len(records)
            yield "after signals read"

    # Snapshots and commits.

    def _copy(self, key: Key) -> tuple[int, Arrays]:
        kind, partition = key
        held = self.engine.users if kind == USERS else self.engine.items
        arrays = dict(held[partition].arrays())
        if kind == ITEMS and partition in self._unsent:
            unsent = self._unsent[partition]
            arrays["dirty_rows"] = np.union1d(arrays["dirty_rows"], unsent).astype(np.int32)
        return self.next_offset(key), {name: np.array(each) for name, each in arrays.items()}

    def snapshot(self, key: Key) -> Steps:
        """Make a partition durable: copy, settle, write, rename, raise the durable offset."""
        while key in self.held and self.held[key].is_saving:
            yield None
        held = self.held.get(key)
        if held is None:
            return
        next_offset, arrays = self._copy(key)
        if held.durable == next_offset:
            return
        held.is_saving = True
        owed = self.lists.owed(key[1]) if key[0] == USERS else None
        if self.bug == "commit before durable":
            held.durable = next_offset
        yield "after copy of the arrays"
        if key[0] == USERS and self.bug != "snapshot before frames are acknowledged":
            while self._acknowledged.get(key[1], 0) < next_offset:
                yield None
        snapshot = Snapshot(next_offset, max(self.generation, 0), arrays, owed)
        if self.bug == "snapshot is torn" and key in self.held:
            _, torn = self._copy(key)
            names = sorted(torn)[len(torn) // 2 :]
            snapshot.arrays = {**arrays, **{name: torn[name] for name in names}}
        yield "mid-snapshot"
        yield "before rename"
        self._note("snapshots")
        self.world.store.rename(key, snapshot)
        yield "after rename"
        if key in self.held and self.held[key] is held:
            demand(next_offset <= self.next_offset(key), f"{key}: durable above applied")
        held.durable = next_offset
        held.is_saving = False

    def _snapshot_some(self) -> Steps:
        while True:
            keys = [key for key in KEYS if key in self.assigned and key in self.held]
            if not keys or self.draw.random() < 0.8:
                yield None
                continue
            yield from self.snapshot(self.draw.choice(keys))
            yield None

    def _commit(self, keys: set[Key]) -> Steps:
        for key in KEYS:
            held = self.held.get(key)
            if key in keys and held is not None and held.durable is not None:
                yield "before commit"
                self._note("commits")
                self.world.commit(key, held.durable, self.generation)
                yield "after commit"

    def _commit_some(self) -> Steps:
        while True:
            if self.draw.random() < 0.9:
                yield None
            else:
                yield from self._commit({*self.assigned})
                yield None

    # Membership.

    def release_and_join(self, join: Callable[[str], None]) -> Steps:
        """Give everything up gracefully, then join the group that rebalances."""
        leaving = {*self.assigned}
        self.assigned = set()
        self._tell(leaving)
        for key in KEYS:
            if key in leaving:
                yield from self.snapshot(key)
        yield from self._commit(leaving)
        join(self.name)

    def take(self, assigned: set[Key], generation: int) -> Steps:
        """Drop what moved away, restore what is not in memory, go on with it."""
        self.generation = generation
        ends = {key[1]: self.world.end(key) for key in assigned if key[0] == USERS}
        for key in KEYS:
            if key in self.held and key not in assigned:
                del self.held[key]
                (self.engine.users if key[0] == USERS else self.engine.items).pop(key[1])
                if key[0] == ITEMS:
                    self._unsent.pop(key[1], None)
                else:
                    self.lists.refresh.drop(key[1])
        yield "after retain"
        for key in KEYS:
            if key in assigned and key not in self.held:
                self._load(key)
                yield "after restore"
        self.assigned, self.lists.ends = assigned, ends
        self._tell(assigned)

    def _tell(self, keys: set[Key]) -> None:
        for kind, partition in sorted(keys):
            if kind == USERS:
                self.lists.assign(partition)

    def _load(self, key: Key) -> None:
        kind, partition = key
        snapshot = self.world.store.newest(key)
        held = _Held()
        if kind == USERS:
            shard = self.engine.open_users(partition)
            if snapshot is not None:
                shard.restore(snapshot.arrays)
                if self.bug == "restore forgets what was emitted":
                    shard.tables.emitted[:] = shard.tables.next_offset
            self._open[partition] = deque()
            self._acknowledged[partition] = shard.tables.next_offset
            self.lists.open(partition, None if snapshot is None else snapshot.owed)
        else:
            items = self.engine.open_items(partition)
            if snapshot is not None:
                items.restore(snapshot.arrays)
        if snapshot is not None:
            demand(self.next_offset(key) == snapshot.next_offset, f"{key}: another offset inside")
            held.durable = snapshot.next_offset
        self.held[key] = held
