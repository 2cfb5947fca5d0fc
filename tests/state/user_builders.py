"""Logs for the user side: events as spans over one buffer, cut as wanted, and state by id."""

from __future__ import annotations

from typing import Any

import numpy as np

from state.history import place_of
from state.id_index import IdIndex
from state.user_partition import FoldResult, UserPartition
from tests.state.user_oracle import (
    Event,
)

Log = list[Event | str]


class SmallCatalogue:
    """The least that the user side asks of a catalogue: rows in order of arrival."""

    def __init__(self, dim: int = 3, num_tags: int = 2, max_items: int = 64) -> None:
        self.items = IdIndex(max_ids=max_items)
        self.epoch = 0
        rng = np.random.default_rng(7)
        self.embeddings = rng.normal(size=(max_items, dim)).astype(np.float32)
        self.author_keys = rng.integers(0, 4, max_items).astype(np.uint64)
        self.tag_keys = rng.integers(0, 6, (max_items, num_tags)).astype(np.uint64)
        self.first_seen_ms: dict[bytes, int] = {}

    def ensure(self, buffer: Any, starts: Any, lengths: Any, first_seen_ms: Any) -> Any:
        rows = np.empty(len(starts), np.int32)
        assert self.items.intern(buffer, starts, lengths, rows) == len(starts)
        for row, first in zip(rows, first_seen_ms, strict=True):
            self.first_seen_ms.setdefault(self.items.id(int(row)), int(first))
        return rows

    def move(self) -> None:
        """Give every item another row, as an eviction would."""
        ids = self.items.ids(self.items.live_rows())
        self.items.remove(self.items.live_rows())
        for id in reversed(ids):
            rows = np.empty(1, np.int32)
            buffer = np.array(bytearray(id), np.uint8)
            self.items.intern(buffer, np.zeros(1, np.int64), np.array([len(id)], np.int32), rows)
        self.epoch += 1


def apply(
    partition: UserPartition, log: Log, begin: int, end: int, first_offset: int = 0
) -> FoldResult:
    """Apply records [begin, end) of a log; a str in place of an event is its verdict."""
    part = [
        (first_offset + begin + i, event)
        for i, event in enumerate(log[begin:end])
        if not isinstance(event, str)
    ]
    spans: dict[str, list[tuple[int, int]]] = {"user": [], "item": [], "event_id": []}
    data = b""
    for _, event in part:
        for name, each in spans.items():
            value: bytes = getattr(event, name)
            each.append((len(data), len(value)))
            data += value

    def column(name: str, which: int, dtype: Any) -> Any:
        return np.array([span[which] for span in spans[name]], dtype)

    def field(name: str, dtype: Any) -> Any:
        return np.array([getattr(event, name) for _, event in part], dtype)

    def verdict(name: str) -> Any:
        marks = [i for i, event in enumerate(log[begin:end]) if event == name]
        return np.array(marks, np.int64) + first_offset + begin

    return partition.apply(
        begin=first_offset + begin,
        end=first_offset + end,
        buffer=np.frombuffer(data, np.uint8),
        offsets=np.array([offset for offset, _ in part], np.int64),
        kafka_timestamps_ms=np.full(len(part), -1, np.int64),
        timestamps_ms=field("ts", np.int64),
        types=field("action", np.uint8),
        user_starts=column("user", 0, np.int64),
        user_lengths=column("user", 1, np.int32),
        item_starts=column("item", 0, np.int64),
        item_lengths=column("item", 1, np.int32),
        event_id_starts=column("event_id", 0, np.int64),
        event_id_lengths=column("event_id", 1, np.int32),
        watch_ms=field("watch_ms", np.int64),
        duration_ms=field("duration_ms", np.int64),
        rejected_offsets=verdict("rejected"),
        routed_offsets=verdict("routed"),
    )


def deltas_by_id(partition: UserPartition, result: FoldResult) -> list[tuple[Any, ...]]:
    """Return delta rows in the oracle's form."""
    deltas, ids = result.deltas, partition.items.id
    rows = []
    for r in range(len(deltas)):
        pairs = range(int(deltas.pair_splits[r]), int(deltas.pair_splits[r + 1]))
        rows.append(
            (
                int(deltas.offsets[r]),
                ids(int(deltas.item_rows[r])),
                int(deltas.timestamps_ms[r]),
                int(deltas.actions[r]),
                int(deltas.counts[r]),
                int(deltas.strengths[r]),
                [
                    (
                        ids(int(deltas.pair_item_rows[p])),
                        int(deltas.pair_lags[p]),
                        int(deltas.pair_weights[p]),
                    )
                    for p in pairs
                ],
            )
        )
    return rows


def as_int(words: Any) -> int:
    return sum(int(word) << (64 * i) for i, word in enumerate(words))


def users_by_id(partition: UserPartition) -> dict[bytes, tuple[Any, ...]]:
    """Return each user's log-determined state: facts, history, filters."""
    tables = partition._tables
    users = {}
    for row in (int(row) for row in partition.users.live_rows()):
        history, seen, facts = tables.history, tables.seen, tables.user_facts
        entries = []
        for place in (place_of(history, row, k) for k in range(int(history.lengths[row]))):
            entries.append(
                (
                    partition.items.id(int(history.item_rows[row, place])),
                    int(history.times_ms[row, place]),
                    int(history.strengths[row, place]),
                    int(history.actions[row, place]) & 0xFF,
                    int(history.completions[row, place]),
                )
            )
        users[partition.users.id(row)] = (
            int(facts.num_events[row]),
            int(facts.events_to_ms[row]),
            int(facts.touched_offsets[row]),
            entries,
            as_int(seen.young_words[row]),
            as_int(seen.old_words[row]),
            int(seen.num_items[row]),
            int(facts.debts[row]),
        )
    return users


def derived_by_id(partition: UserPartition) -> dict[bytes, bytes]:
    """Return each user's derived columns, bit for bit."""
    tables = partition._tables
    columns = [*tables.interests, *tables.affinities]
    return {
        partition.users.id(int(row)): b"".join(column[row].tobytes() for column in columns)
        for row in partition.users.live_rows()
    }


def digest(partition: UserPartition) -> bytes:
    return b"".join(partition.digest_state())
