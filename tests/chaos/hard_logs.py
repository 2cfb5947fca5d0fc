"""Logs that ask much of the state: seeded records for the oracle and for slabs alike."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from local.simulator import Rates, Simulator
from stream.slab import Slab
from stream.wire import Interaction
from tests.chaos.oracle_records import (
    LogRecord,
    by_partition,
    from_values,
    partition_of,
    read_interaction,
)
from tests.stream import corpus
from tests.wire_logs import START_MS, event, wire_log

DAY_MS = 86_400_000
_TYPES = ("watch", "like", "comment", "share", "not_interested", "follow", "unlike", "erase")
# The longest id that the state takes today; the contract allows one byte more.
LONG_ID = "\U0001f600" * 63 + "\u6f22"
# Ids of one to four bytes a sign, up to the longest, and lengths around murmur2's words.
ODD_IDS = ["a", "\u00fc", "\u6f22\u5b57", LONG_ID, "z" * 64, "ab", "abc", "abcd", "abcde"]


def ordinary(num_partitions: int) -> list[LogRecord]:
    """Return duplicates, late events, all actions and some erases."""
    return from_values(wire_log(1_500, seed=11, erase_every=97), num_partitions=num_partitions)


def _fits(event: Interaction) -> bool:
    ids = (event.user_id, event.event_id, event.item_id or "")
    return max(len(each.encode()) for each in ids) <= len(LONG_ID.encode())


def simulated(num_partitions: int) -> list[LogRecord]:
    """Return what the simulator's users do, faster and more often undecided than by default."""
    rates = Rates(unlike=0.05, erase=0.003, duplicate=0.05, delayed=0.1, stale=0.02)
    world = Simulator(seed=5, num_users=60, num_items=80, events_per_s=50.0, rates=rates)
    values: list[bytes | None] = []
    for record in world:
        if record.topic == "interactions":
            values.append(record.value)
        if len(values) == 1_500:
            return from_values(values, num_partitions=num_partitions)
    message = "the simulator's stream has no end"
    raise AssertionError(message)


def poisoned(num_partitions: int) -> list[LogRecord]:
    """Return the hand-made corpus of bad records among good events, with Kafka timestamps.

    What is good and of a far future (Kafka's time is unknown there) comes last: all behind it is
    late.
    """
    draw = random.Random(7)
    good = wire_log(600, seed=12, num_users=8, num_items=15)
    records, last = [LogRecord(0, 0, value) for value in good], []
    for case in corpus.cases():
        record = LogRecord(0, 0, case.value, timestamp_ms=case.kafka_timestamp_ms)
        read = read_interaction(record)
        if read is None or read.ts < START_MS + DAY_MS and _fits(read):
            records.insert(draw.randrange(len(records)), record)
        elif _fits(read):
            last.append(record)
    records += last
    return _numbered(records, [draw.randrange(num_partitions) for _ in records])


def undecided(num_partitions: int) -> list[LogRecord]:
    """Return few users who like, take back, dislike, watch again and ask to be forgotten."""
    draw = random.Random(3)
    values = [
        event(
            index,
            type=draw.choices(_TYPES, (4, 6, 1, 1, 4, 2, 6, 0.7))[0],
            user_id=f"u{draw.randrange(5)}",
            item_id=f"i{draw.randrange(7)}",
            ts=START_MS + index * 1_000 - draw.choice((0, 0, 3_000, 60_000)),
            watch_ms=draw.choice((0, 1, 5_999, 6_000, 30_000, 60_000)),
            duration_ms=30_000,
        )
        for index in range(900)
    ]
    return from_values(values, num_partitions=num_partitions)


def repeated(num_partitions: int) -> list[LogRecord]:
    """Return copies near and far, ids used anew after the grace, and events on its edge."""
    draw = random.Random(4)
    values: list[bytes] = []
    for index in range(900):
        now_ms = START_MS + index * 600_000
        if values and draw.random() < 0.3:
            values.append(values[-1 - draw.randrange(min(len(values), 250))])
            continue
        behind_ms = draw.choice((0, 0, 0, DAY_MS - 1, DAY_MS, DAY_MS + 1, 3 * DAY_MS))
        values.append(
            event(
                draw.randrange(index // 3 + 1),
                type=draw.choices(_TYPES, (8, 3, 1, 1, 1, 1, 1, 0.5))[0],
                user_id=f"u{draw.randrange(6)}",
                item_id=f"i{draw.randrange(9)}",
                ts=now_ms - behind_ms,
            )
        )
    return from_values(values, num_partitions=num_partitions)


def around_midnight(num_partitions: int) -> list[LogRecord]:
    """Return events on the edges of minutes, hours, days, generations and windows, for 70 days."""
    draw = random.Random(6)
    midnight_ms = 20_000 * DAY_MS
    moments = []
    for _ in range(1_000):
        edge_ms = draw.choice((60_000, 3_600_000, 6 * 3_600_000, DAY_MS, 30 * DAY_MS // 4))
        near_ms = draw.randrange(70 * DAY_MS) // edge_ms * edge_ms
        moments.append(midnight_ms + near_ms + draw.choice((-1, 0, 1, -60_000, 59_999)))
    moments.sort()
    values = [
        event(
            index,
            type=draw.choices(_TYPES, (8, 4, 1, 1, 1, 1, 3, 0.05))[0],
            user_id=draw.choice(ODD_IDS),
            item_id=draw.choice(ODD_IDS),
            ts=moments[max(0, index - draw.choice((0, 0, 0, 1, 5)))],
        )
        for index in range(len(moments))
    ]
    return from_values(values, num_partitions=num_partitions)


def misrouted(num_partitions: int) -> list[LogRecord]:
    """Return records in wrong partitions, some copied home once or twice, some copied astray."""
    draw = random.Random(9)
    values = [*wire_log(900, seed=13, erase_every=83, num_users=15), b"broken", None]
    draw.shuffle(values)
    placed: list[LogRecord] = []
    for value in values:
        record = LogRecord(draw.randrange(num_partitions), 0, value)
        placed.append(replace(record, offset=sum(p.partition == record.partition for p in placed)))
    parts = by_partition(placed, num_partitions)
    for source, part in enumerate([list(each) for each in parts]):
        for record in part:
            home = _home(record, num_partitions)
            if home in (None, source) or draw.random() < 0.2:
                continue
            header = ("headwater-from", b"%d/%d" % (source, record.offset))
            for target in draw.choice(([home], [home], [home, home], [home, (home + 1)])):
                parts[target % num_partitions].append(replace(record, headers=(header,)))
    return [
        replace(record, partition=number, offset=offset)
        for number, part in enumerate(parts)
        for offset, record in enumerate(part)
    ]


def holed(num_partitions: int) -> list[LogRecord]:
    """Return a log whose head is gone, with offsets that hold no record (markers, aborted ones)."""
    draw, shifts = random.Random(2), [100] * num_partitions
    records = []
    for record in misrouted(num_partitions):
        shifts[record.partition] += draw.choice((0, 0, 0, 1, 7))
        headers = tuple((name, b"1/2") for name, _ in record.headers)  # Far below: dropped copies.
        offset = record.offset + shifts[record.partition]
        records.append(
            replace(record, offset=offset, headers=headers if draw.random() < 0.1 else ())
        )
    return records


def _home(record: LogRecord, num_partitions: int) -> int | None:
    try:
        user = json.loads(record.value or b"")["user_id"]
    except ValueError:
        return None
    return partition_of(user.encode(), num_partitions)


def _numbered(records: Sequence[LogRecord], partitions: Sequence[int]) -> list[LogRecord]:
    next_offsets: dict[int, int] = {}
    numbered = []
    for record, partition in zip(records, partitions, strict=True):
        offset = next_offsets.get(partition, 0)
        next_offsets[partition] = offset + 1
        numbered.append(replace(record, partition=partition, offset=offset))
    return numbered


def _varint(number: int) -> bytes:
    """Write a zigzag varint as record format v2 has it."""
    rest, out = number << 1, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def slab_of(records: Sequence[LogRecord], *, topic: str = "interactions") -> Slab:
    """Make a slab of records of one partition in order, headers among them; offsets may jump."""
    slab = Slab.from_values(
        [record.value for record in records],
        topic=topic,
        partition=records[0].partition,
        first_offset=records[0].offset,
        timestamps_ms=[record.timestamp_ms for record in records],
    )
    offsets = [record.offset for record in records]
    slab = replace(slab, offsets=np.array(offsets, np.int64), end=offsets[-1] + 1)
    if not any(record.headers for record in records):
        return slab
    buffer, starts = bytearray(slab.buffer.tobytes()), []
    for record in records:
        starts.append(len(buffer) if record.headers else -1)
        if record.headers:
            buffer += _varint(len(record.headers))
        for name, value in record.headers:
            buffer += _varint(len(name)) + name.encode() + _varint(len(value)) + value
    return replace(
        slab,
        buffer=np.frombuffer(bytes(buffer), np.uint8),
        header_starts=np.array(starts, np.int64),
    )
