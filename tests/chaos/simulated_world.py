"""What surrounds simulated workers: logs, a snapshot store and a consumer group, all in memory.

As harsh as the real ones may be and no harsher: a log appends what arrives, twice where a producer
retried; a store shows a snapshot whole or not at all; a group gives out generations and refuses
commits of an older one. Nothing here knows time: the scheduler of ``tests.chaos.simulation`` does.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from stream.slab import Slab
from tests.chaos.hard_logs import slab_of
from tests.chaos.oracle_records import LogRecord, partition_of
from tests.wire_logs import START_MS

USERS = "users"
ITEMS = "items"
# A partition of `interactions` or of item-deltas.
Key = tuple[str, int]
Arrays = dict[str, NDArray[Any]]

NUM_PARTITIONS = 2
NUM_ITEM_PARTITIONS = 2
KEYS: tuple[Key, ...] = tuple(
    [(USERS, each) for each in range(NUM_PARTITIONS)]
    + [(ITEMS, each) for each in range(NUM_ITEM_PARTITIONS)]
)
_TYPES = ("watch", "like", "comment", "share", "not_interested", "follow", "unlike", "erase")
_KEPT_SNAPSHOTS = 2
# After each of these a worker may die.
EFFECTS = (
    "after fold",
    "before dead letter",
    "after copy",
    "after frames queued",
    "after frame appended",
    "after frame acknowledged",
    "after item fold",
    "before signals sent",
    "after signals sent",
    "after signals read",
    "after copy of the arrays",
    "mid-snapshot",
    "before rename",
    "after rename",
    "before commit",
    "after commit",
    "after retain",
    "after restore",
)


class Violation(AssertionError):
    """An invariant does not hold: the simulated protocol lost or doubled something."""


def demand(holds: bool, what: str) -> None:
    """Raise a violation unless something holds."""
    if not holds:
        raise Violation(what)


def make_values(draw: random.Random, num_events: int) -> list[bytes]:
    """Return a small log with copies, late events, rejects, unlikes and erases."""
    values: list[bytes] = []
    for index in range(num_events):
        if values and draw.random() < 0.08:
            values.append(draw.choice(values[-10:]))
            continue
        if draw.random() < 0.08:
            values.append(draw.choice((b"", b"{", b'{"type":"watch"}')))
            continue
        fields = {
            "event_id": f"e{index}",
            "type": draw.choices(_TYPES, (8, 4, 1, 1, 1, 1, 2, 0.4))[0],
            "user_id": f"u{draw.randrange(5)}",
            "item_id": f"i{draw.randrange(7)}",
            "ts": START_MS + index * 1_000 - draw.choices((0, 3_000, 172_800_000), (15, 4, 1))[0],
            "watch_ms": draw.choice((1_000, 20_000)),
            "duration_ms": 30_000,
        }
        values.append(json.dumps(fields).encode())
    return values


def choose_partition(draw: random.Random, value: bytes) -> int:
    """Return where a producer puts a record: some have another partitioner."""
    if draw.random() < 0.15 or b"user_id" not in value:
        return draw.randrange(NUM_PARTITIONS)
    return partition_of(json.loads(value)["user_id"].encode(), NUM_PARTITIONS)


@dataclass
class Snapshot:
    """One file of the store."""

    next_offset: int
    generation: int
    arrays: Arrays


@dataclass
class Store:
    """Snapshots per partition, oldest first; the last two are kept, and the one just written."""

    files: dict[Key, list[Snapshot]] = field(default_factory=lambda: {key: [] for key in KEYS})

    def rename(self, key: Key, snapshot: Snapshot) -> None:
        """Make a written snapshot visible, and prune."""
        files = [
            each
            for each in self.files[key]
            if (each.next_offset, each.generation) != (snapshot.next_offset, snapshot.generation)
        ]
        files.append(snapshot)
        files.sort(key=lambda each: (each.next_offset, each.generation))
        leaving = files[:-_KEPT_SNAPSHOTS]
        self.files[key] = [each for each in files if each not in leaving or each is snapshot]

    def newest(self, key: Key) -> Snapshot | None:
        """Return the snapshot to restore."""
        return self.files[key][-1] if self.files[key] else None

    def durable(self, key: Key) -> int:
        """Return the next offset that survives every worker's death; 0 before any."""
        newest = self.newest(key)
        return 0 if newest is None else newest.next_offset


@dataclass
class Group:
    """The consumer group: generations, owners, committed offsets.

    Attributes:
        is_open: A rebalance is going on: members join until it is completed.
    """

    generation: int = 0
    owners: dict[Key, str] = field(default_factory=dict)
    committed: dict[Key, int] = field(default_factory=dict)
    is_open: bool = False
    joined: list[str] = field(default_factory=list)

    def complete(self, draw: random.Random) -> None:
        """Give every partition to one of those who joined, under a new generation."""
        self.generation += 1
        self.owners = {key: draw.choice(self.joined) for key in KEYS}
        self.is_open = False


class World:
    """Logs, store, group and the dead letters; every write of a worker goes through here.

    Attributes:
        zombie_writes: What workers of an older generation still wrote, by kind, allowed or not.
    """

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.store = Store()
        self.group = Group()
        self.interactions: list[list[LogRecord]] = [[] for _ in range(NUM_PARTITIONS)]
        self.item_deltas: list[list[bytes]] = [[] for _ in range(NUM_ITEM_PARTITIONS)]
        self.signals: list[tuple[bytes, bytes]] = []
        # (life of a partition in memory, partition, offset).
        self.dead_letters: list[tuple[int, int, int]] = []
        self.zombie_writes: Counter[str] = Counter()

    def end(self, key: Key) -> int:
        """Return the end offset of a partition's log."""
        kind, partition = key
        return len((self.interactions if kind == USERS else self.item_deltas)[partition])

    def produce(self, partition: int, value: bytes, headers: tuple[Any, ...] = ()) -> None:
        """Append a record to `interactions`."""
        log = self.interactions[partition]
        log.append(LogRecord(partition, len(log), value, headers=headers))

    def append_frame(self, partition: int, frame: bytes) -> None:
        """Append a frame to item-deltas; sometimes a retry appends it again."""
        self.item_deltas[partition].append(frame)
        if self.draw.random() < 0.05:
            self.item_deltas[partition].append(frame)

    def read_interactions(self, partition: int, begin: int, count: int) -> Slab:
        """Return records from an offset on."""
        return slab_of(self.interactions[partition][begin : begin + count])

    def read_item_deltas(self, partition: int, begin: int, count: int) -> Slab:
        """Return frames from an offset on."""
        frames: Sequence[bytes] = self.item_deltas[partition][begin : begin + count]
        return Slab.from_values(
            frames, topic="item-deltas", partition=partition, first_offset=begin
        )

    def commit(self, key: Key, offset: int, generation: int) -> None:
        """Commit to the group; an older generation is refused."""
        if generation != self.group.generation:
            return
        demand(
            offset <= self.store.durable(key),
            f"committed {key} up to {offset}, durable is {self.store.durable(key)}",
        )
        self.group.committed[key] = offset
