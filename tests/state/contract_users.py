"""The user side's tables under the common laws."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from state.catalogue import Catalogue
from state.erased_users import Erase, ErasedUsers
from state.event_ids import EventIds, add_event_id, expire_event_ids, has_event_id
from state.id_index import IdIndex
from state.item_limits import CatalogueLimits
from state.user_limits import UserLimits
from state.user_partition import UserPartition
from tests.state.contracts import Contract
from tests.state.user_builders import apply, digest
from tests.state.user_oracle import ERASE, UNLIKE, Event


def some_ids(seed: int) -> list[bytes]:
    draw = random.Random(seed)
    return [f"{draw.randrange(90)}".encode() * draw.randrange(1, 4) for _ in range(300)]


def intern(index: IdIndex, ids: Sequence[bytes], begin: int, end: int) -> None:
    part = list(ids[begin:end])
    lengths = np.array([len(id) for id in part], np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    rows = np.empty(len(part), np.int32)
    index.intern(np.frombuffer(b"".join(part), np.uint8), starts, lengths, rows)


def some_fingerprints(seed: int) -> list[tuple[int, int, int]]:
    draw = random.Random(seed)
    return [(draw.randrange(9), draw.randrange(60) << 40, 10 * i) for i in range(300)]


def remember(ids: EventIds, log: Sequence[tuple[int, int, int]], begin: int, end: int) -> None:
    ids.reserve(end - begin)
    for user, event, time_ms in log[begin:end]:
        key = np.uint64(user), np.uint64(event)
        if not has_event_id(ids.columns, *key):
            expire_event_ids(ids.columns, time_ms - 700)
            add_event_id(ids.columns, *key, time_ms, 0)


def erase(erased: ErasedUsers, log: Sequence[tuple[int, int]], begin: int, end: int) -> None:
    for user_hash, offset in log[begin:end]:
        erased.add(user_hash, Erase(offset, 9 * offset, offset % 16_384, user_hash << 58))


def some_events(seed: int) -> list[Event | str]:
    draw = random.Random(seed)
    log: list[Event | str] = []
    for i in range(300):
        if draw.random() < 0.05:
            log.append(draw.choice(["rejected", "routed"]))
            continue
        log.append(
            Event(
                user=f"u{draw.randrange(30)}".encode(),
                item=f"i{draw.randrange(40)}".encode(),
                event_id=f"{max(0, i - draw.randrange(4))}".encode(),
                ts=max(0, 1000 * i - draw.choice([0, 0, 0, 5_000, 90_000])),
                action=draw.choice([0, 0, 0, 1, 1, 2, 3, 4, 5, UNLIKE]) if i % 40 else ERASE,
                watch_ms=draw.randrange(30),
                duration_ms=20,
            )
        )
    return log


def joined(arrays: dict[str, Any]) -> bytes:
    return b"".join(array.tobytes() for array in arrays.values())


USER_LIMITS = UserLimits(
    max_users=20,
    max_items=25,
    max_history=5,
    max_event_ids=40,
    max_erased=3,
    seen_items=4,
    grace_ms=60_000,
    link_ms=100_000,
    max_lags=3,
)


def with_catalogue() -> UserPartition:
    catalogue = Catalogue(limits=CatalogueLimits(max_items=64, num_neighbours=2, dim=4))
    return UserPartition(
        partition=0, num_item_partitions=3, catalogue=catalogue, limits=USER_LIMITS
    )


def digest_derived(partition: UserPartition) -> bytes:
    """Return the digest and what it leaves out: every user's vectors and affinities."""
    tables, users = partition._tables, partition.users
    rows = sorted(users.live_rows().tolist(), key=users.id)
    columns = (*tables.interests, *tables.affinities)
    return digest(partition) + b"".join(column[rows].tobytes() for column in columns)


RATE_LIMITS = dataclasses.replace(USER_LIMITS, max_events_per_minute=2)

CONTRACTS = (
    Contract(
        name="IdIndex",
        make=lambda: IdIndex(max_ids=64, initial_ids=1),
        records=some_ids,
        apply=intern,
        digest=lambda index: b"|".join(sorted(index.ids(index.live_rows()))),
    ),
    Contract(
        name="EventIds",
        make=lambda: EventIds(max_event_ids=50, initial=2),
        records=some_fingerprints,
        apply=remember,
        digest=lambda ids: joined(ids.canonical()),
    ),
    Contract(
        name="ErasedUsers",
        make=lambda: ErasedUsers(max_erased=7),
        records=lambda seed: [(i * (seed + 3) % 23, i) for i in range(120)],
        apply=erase,
        digest=lambda erased: joined(erased.arrays()),
    ),
    Contract(
        name="UserPartition",
        make=lambda: UserPartition(
            partition=0, num_item_partitions=3, catalogue=None, limits=USER_LIMITS
        ),
        records=some_events,
        apply=lambda partition, log, begin, end: apply(partition, list(log), begin, end),
        digest=digest,
    ),
    Contract(
        name="UserPartitionWithCatalogue",
        make=with_catalogue,
        records=some_events,
        apply=lambda partition, log, begin, end: apply(partition, list(log), begin, end),
        digest=digest_derived,
    ),
    Contract(
        name="UserPartitionWithRateLimit",
        make=lambda: UserPartition(
            partition=0, num_item_partitions=3, catalogue=None, limits=RATE_LIMITS
        ),
        records=some_events,
        apply=lambda partition, log, begin, end: apply(partition, list(log), begin, end),
        digest=digest,
    ),
)
