"""Engine: the state of one process — its partitions and its catalogue — and how they are opened.

One engine lives in a worker, a replay, a test or an evaluation; only the state thread touches it.
Absent: order of steps (``stream.pipeline``), files and Kafka (``consumers``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.catalogue import Catalogue
from state.frozen import Frozen
from state.item_limits import CatalogueLimits, ItemLimits
from state.item_partition import ItemPartition
from state.user_limits import UserLimits
from state.user_partition import FoldResult, UserPartition
from stream.dirty_users import DirtyUsers, distinct_users
from stream.events import EventBatch

COUNTERS = ("applied", "duplicate", "late", "rejected", "filtered", "routed")


class UserShard:
    """A user partition with what its log position needs beside the tables.

    Attributes:
        tables: The users' tables.
        origins: int64 (num_partitions,), next offset expected of copies from each partition.
    """

    def __init__(self, tables: UserPartition, *, num_partitions: int) -> None:
        self.tables = tables
        self.origins = np.zeros(num_partitions, np.int64)

    def frame_columns(self) -> dict[str, Any]:
        """Return what encoding frames needs beside the delta rows."""
        items = self.tables.items
        return {
            "arena": items.arena,
            "starts": items.starts[: items.num_rows],
            "lengths": items.lengths[: items.num_rows],
            "destinations": self.tables.item_destinations,
            "num_destinations": len(self.tables.emitted),
            "source_partition": self.tables.partition,
            "froms": self.tables.emitted,
        }

    def note_emitted(self, frames: Sequence[tuple[int, bytes]], to: int) -> None:
        """Remember where the next frame to each of these destinations starts."""
        for destination, _ in frames:
            self.tables.emitted[destination] = to

    def dirty_users(self, user_rows: NDArray[np.int32], types: NDArray[np.uint8]) -> DirtyUsers:
        """Return each user of one batch once, with the most urgent level."""
        rows, levels = distinct_users(user_rows, types)
        live = self.tables.users.columns.is_live[rows].astype(bool)  # Erased ones are not.
        rows, levels = rows[live], levels[live]
        return DirtyUsers(
            partition=self.tables.partition,
            user_rows=rows,
            user_ids=tuple(self.tables.users.ids(rows)),
            levels=levels,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the partition's arrays and the watermarks of routed copies."""
        return {**self.tables.arrays(), "origins": self.origins}

    def freeze(self) -> Frozen:
        """Return :meth:`arrays` as of now, while events go on coming; see ``state.frozen``."""
        return self.tables.freeze({"origins": self.origins})

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace the state by a snapshot's arrays."""
        self.origins = np.array(arrays["origins"], np.int64)
        self.tables.restore({name: each for name, each in arrays.items() if name != "origins"})


class Engine:
    """Partitions held by this process, and the catalogue.

    Figures are read from other threads while the state thread opens and drops partitions: they
    go over copies of the two dictionaries.

    Args:
        num_partitions: Partitions of ``interactions``.
        num_item_partitions: Partitions of ``headwater-item-deltas``.
        user_limits: Bounds and rules of the user tables.
        item_limits: Bounds and rules of the item tables.
        catalogue_limits: Bounds of the catalogue.

    Attributes:
        topic_id: Of the topic that the user partitions are of; None where it is not known.
    """

    def __init__(
        self,
        *,
        num_partitions: int,
        num_item_partitions: int,
        user_limits: UserLimits,
        item_limits: ItemLimits,
        catalogue_limits: CatalogueLimits,
    ) -> None:
        self.num_partitions = num_partitions
        self.num_item_partitions = num_item_partitions
        self.topic_id: str | None = None
        self.catalogue = Catalogue(limits=catalogue_limits)
        self.users: dict[int, UserShard] = {}
        self.items: dict[int, ItemPartition] = {}
        self._user_limits = user_limits
        self._item_limits = item_limits

    def open_users(self, partition: int) -> UserShard:
        """Return the user partition, empty when it is new to this process."""
        if partition not in self.users:
            tables = UserPartition(
                partition=partition,
                num_item_partitions=self.num_item_partitions,
                catalogue=self.catalogue,
                limits=self._user_limits,
            )
            self.users[partition] = UserShard(tables, num_partitions=self.num_partitions)
        return self.users[partition]

    def open_items(self, partition: int) -> ItemPartition:
        """Return the item partition, empty when it is new to this process."""
        if partition not in self.items:
            self.items[partition] = ItemPartition(
                partition=partition, num_sources=self.num_partitions, limits=self._item_limits
            )
        return self.items[partition]

    def fold(self, events: EventBatch, routed_offsets: NDArray[np.int64]) -> FoldResult:
        """Admit and fold one batch into its user partition."""
        shard = self.users[events.partition]
        return shard.tables.apply(
            begin=events.begin,
            end=events.end,
            buffer=events.buffer,
            offsets=events.offsets,
            kafka_timestamps_ms=events.kafka_timestamps_ms,
            timestamps_ms=events.timestamps_ms,
            types=events.types,
            user_starts=events.user_starts,
            user_lengths=events.user_lengths,
            item_starts=events.item_starts,
            item_lengths=events.item_lengths,
            event_id_starts=events.event_id_starts,
            event_id_lengths=events.event_id_lengths,
            watch_ms=events.watch_ms,
            duration_ms=events.duration_ms,
            rejected_offsets=np.array([each.offset for each in events.rejected], np.int64),
            routed_offsets=routed_offsets,
        )

    def counters(self) -> dict[str, int]:
        """Sum the verdict counters over the user partitions; ``read`` is their sum."""
        totals = dict.fromkeys(COUNTERS, 0)
        for shard in list(self.users.values()):
            counts = shard.tables.counters
            for name in COUNTERS:
                totals[name] += int(counts[name])
        return {"read": sum(totals.values()), **totals}

    @property
    def num_users(self) -> int:
        """Users with state."""
        return sum(shard.tables.users.num_ids for shard in list(self.users.values()))

    @property
    def num_items(self) -> int:
        """Items owned by the item partitions held."""
        return sum(len(items.live_rows()) for items in list(self.items.values()))

    @property
    def num_evicted(self) -> int:
        """Users and items dropped for want of room, on either side."""
        users = sum(
            int(shard.tables.counters[name])
            for shard in list(self.users.values())
            for name in ("evicted_users", "evicted_items")
        )
        return users + sum(int(items.counters["evicted"]) for items in list(self.items.values()))

    @property
    def num_overflowed(self) -> int:
        """Pair increments that found no room in their row or budget."""
        return sum(int(items.counters["overflowed"]) for items in list(self.items.values()))

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, bound) per table, the fullest partition of each kind."""
        found: dict[str, tuple[int, int]] = {}
        tables = {
            "users": [shard.tables.sizes() for shard in list(self.users.values())],
            "items": [items.sizes() for items in list(self.items.values())],
            "catalogue": [self.catalogue.sizes()],
        }
        for prefix, each in tables.items():
            for sizes in each:
                for name, (used, bound) in sizes.items():
                    key = f"{prefix}.{name}"
                    if key not in found or used * found[key][1] > found[key][0] * bound:
                        found[key] = (used, bound)
        return found
