"""The independent oracle: a log in, the state that every engine must end in out.

A plain single-threaded program of dicts and loops. It shares with the engine the models of
``stream.wire``; it reads logs from memory or, with kafka-python, from Kafka. Its parts:

1. ``oracle_records``: what a record says, and where its user belongs;
2. ``oracle_users``: per user partition counters, histories, ids, erases, and rows for items;
3. ``oracle_items``: per item partition counts, marginals and pairs, from those rows.

Run as a program it prints a topic's expected figures as JSON:
``python -m tests.chaos.oracle HOST:PORT TOPIC``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from tests.chaos.oracle_items import ItemPartitionOracle, ItemRules
from tests.chaos.oracle_records import (
    LogRecord,
    by_partition,
    from_kafka,
    origin_of,
    partition_of,
    read_interaction,
)
from tests.chaos.oracle_users import DeltaRow, UserPartitionOracle, UserRules


class Oracle:
    """The expected state after a whole log of `interactions`.

    Args:
        records: All records, of every partition, in any order.
        num_partitions: Partitions of `interactions`.
        num_item_partitions: Partitions of item-deltas; None for as many.
        bring_home: Fold misrouted records that nobody copied at the end of their own partition,
            as a replay does; False where workers make the copies, which then are in the log.

    Attributes:
        users: One oracle per user partition.
        items: One oracle per item partition.
    """

    def __init__(
        self,
        records: Iterable[LogRecord],
        *,
        num_partitions: int,
        num_item_partitions: int | None = None,
        user_rules: UserRules | None = None,
        item_rules: ItemRules | None = None,
        bring_home: bool = True,
    ) -> None:
        self.num_partitions = num_partitions
        self.users = [
            UserPartitionOracle(each, user_rules or UserRules()) for each in range(num_partitions)
        ]
        # Next offset expected of copies, per destination and source.
        self._origins: dict[tuple[int, int], int] = {}
        self._misrouted: list[tuple[int, LogRecord]] = []
        # Home, source partition, offset: told of by a dead letter, so no longer to be brought home.
        self._rejected_copies: set[tuple[int, int, int]] = set()
        for part in by_partition(list(records), num_partitions):
            for record in part:
                self._read(record)
        if bring_home:
            self._bring_home()
        num_items = num_item_partitions or num_partitions
        rows = self.rows()
        self.items = [
            ItemPartitionOracle(each, num_items, item_rules or ItemRules(), rows)
            for each in range(num_items)
        ]

    def _read(self, record: LogRecord) -> None:
        users = self.users[record.partition]
        users.next_offset = record.offset + 1
        event, origin = read_interaction(record), origin_of(record)
        if event is None:
            users.reject(record.offset)
            if origin is not None:
                self._rejected_copies.add((record.partition, *origin))
            return
        if origin is not None and origin[0] < self.num_partitions:
            if not self._is_first(record.partition, *origin):
                return  # A copy that came before, outside of all counters.
        else:
            origin = None
        home = partition_of(event.user_id.encode(), self.num_partitions)
        if home == record.partition:
            users.apply(record.offset, event)
        elif origin is not None:
            users.reject(record.offset)  # Routed once already: it must not wander on.
        else:
            users.route()
            self._misrouted.append((home, record))

    def _is_first(self, partition: int, source: int, offset: int) -> bool:
        if offset < self._origins.get((partition, source), 0):
            return False
        self._origins[partition, source] = offset + 1
        return True

    def _bring_home(self) -> None:
        """Fold what was never copied: by source partition and offset, behind all else."""
        for home, record in sorted(
            self._misrouted, key=lambda each: (each[1].partition, each[1].offset)
        ):
            place = (home, record.partition, record.offset)
            if place not in self._rejected_copies and self._is_first(*place):
                users = self.users[home]
                event = read_interaction(LogRecord(home, users.next_offset, record.value))
                assert event is not None, "it was read before"
                users.apply(users.next_offset, event)
                users.next_offset += 1

    def rows(self) -> list[DeltaRow]:
        """Return all rows that users derive for items, by source partition and offset."""
        return [row for users in self.users for row in users.rows]

    def counters(self) -> dict[str, int]:
        """Return the verdicts summed over partitions; ``read`` is their sum."""
        names = self.users[0].counters
        totals = {name: sum(each.counters[name] for each in self.users) for name in names}
        return {"read": sum(totals.values()), **totals}


def main() -> None:
    """Print what a topic must end in."""
    bootstrap, topic = sys.argv[1:]
    records = list(from_kafka(bootstrap, topic))
    num_partitions = 1 + max(record.partition for record in records)
    oracle = Oracle(records, num_partitions=num_partitions, bring_home=False)
    figures = {
        **oracle.counters(),
        "users": sum(len(each.users) for each in oracle.users),
        "items": sum(len(each.items) for each in oracle.items),
        "rejects": [[each.partition, each.rejected_offsets] for each in oracle.users],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
