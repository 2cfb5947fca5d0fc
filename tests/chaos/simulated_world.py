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

import numpy as np
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
USER_IDS = [f"u{number}".encode() for number in range(5)]
# When Kafka took a record: freshness needs to know.
_APPENDED_MS = START_MS + 3_600_000
# Rows of users who are owed a list, and the erasures that wait, as a snapshot holds them.
Owed = tuple[NDArray[np.int32], bytes]
# After each of these a worker may die.
EFFECTS = (
    "after mark",
    "before dead letter",
    "after copy",
    "after frames queued",
    "after frame appended",
    "after frame acknowledged",
    "after item fold",
    "before signals sent",
    "after signals sent",
    "after signals read",
    "after retrieval",
    "mid-pipeline",
    "after pipeline",
    "mid-erasure",
    "after copy of the arrays",
    "mid-snapshot",
    "before rename",
    "after rename",
    "before commit",
    "after commit",
    "after retain",
    "after restore",
)


# What may be planted in the protocol; each must be caught.
BUGS = (
    "ack before fold",
    "snapshot before frames are acknowledged",
    "no watermark",
    "commit before durable",
    "snapshot is torn",
    "frames overtake",
    "copies counted twice",
    "rejects after the snapshot",
    "rejects sent twice",
    "restore forgets what was emitted",
    "owed lists are not in the snapshot",
    "an outage counts as written",
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
        # Where a partition's first record is days old its windows would roll on under items that
        # nobody touches, and their newest signals rightly say what was before.
        shares = (15, 4, 1 if index >= 8 else 0)
        fields = {
            "event_id": f"e{index}",
            "type": draw.choices(_TYPES, (8, 4, 1, 1, 1, 1, 2, 2))[0],
            "user_id": draw.choice(USER_IDS).decode(),
            "item_id": f"i{draw.randrange(7)}",
            "ts": START_MS + index * 1_000 - draw.choices((0, 3_000, 172_800_000), shares)[0],
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
    owed: Owed | None = None


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


class FakeRedis:
    """Lists and tombstones by user, compared by version as the sink's scripts compare them.

    Attributes:
        lists: User to (version, what the list is made of).
        stones: User to the version of the erase.
        is_away: Nothing is taken, and nobody knows.
    """

    def __init__(self) -> None:
        self.lists: dict[bytes, tuple[str, object]] = {}
        self.stones: dict[bytes, str] = {}
        self.is_away = False

    def write(self, user: bytes, version: str, made_of: object) -> bool:
        """Take a list unless a newer one or a tombstone stands there; False: no answer."""
        held, _ = self.lists.get(user, ("", None))
        if not self.is_away and max(held, self.stones.get(user, "")) <= version:
            self.lists[user] = version, made_of
        return not self.is_away

    def erase(self, user: bytes, version: str) -> None:
        """Delete an older list and leave a tombstone."""
        if self.lists.get(user, (version, None))[0] < version:
            del self.lists[user]
        self.stones[user] = max(version, self.stones.get(user, ""))


class World:
    """Logs, store, group and the dead letters; every write of a worker goes through here.

    Attributes:
        zombie_writes: What workers of an older generation still wrote, by kind, allowed or not.
    """

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.store = Store()
        self.redis = FakeRedis()
        self.group = Group()
        self.interactions: list[list[LogRecord]] = [[] for _ in range(NUM_PARTITIONS)]
        self.item_deltas: list[list[bytes]] = [[] for _ in range(NUM_ITEM_PARTITIONS)]
        self.signals: list[tuple[bytes, bytes]] = []
        # (life of a partition in memory, partition, offset).
        self.dead_letters: list[tuple[int, int, int]] = []
        self.zombie_writes: Counter[str] = Counter()
        self._now_ms = 0

    def tick(self) -> int:
        """Return a later time than ever before, of all workers' lists."""
        self._now_ms += 1
        return self._now_ms

    def end(self, key: Key) -> int:
        """Return the end offset of a partition's log."""
        kind, partition = key
        return len((self.interactions if kind == USERS else self.item_deltas)[partition])

    def produce(self, partition: int, value: bytes, headers: tuple[Any, ...] = ()) -> None:
        """Append a record to `interactions`."""
        log = self.interactions[partition]
        log.append(
            LogRecord(partition, len(log), value, timestamp_ms=_APPENDED_MS, headers=headers)
        )

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
