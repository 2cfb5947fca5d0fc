"""Scenario 15: snapshots that are broken, and a store that is full."""

from __future__ import annotations

import hashlib
import random
import resource
import struct
import time
from pathlib import Path

import psutil
import xxhash

from state.snapshot import SCHEMA_VERSION, SnapshotInvalid, decode
from tests.chaos.scenarios import QUICK, Figures, scenario
from tests.chaos.world import World
from tests.integration.workers import until

_VERSION_AT = 8
_CHECKSUM_BYTES = 16
# Room for a log, not for a snapshot.
_FULL_BYTES = 200_000


def _newest(world: World) -> list[Path]:
    """Return the newest snapshot of each kind and partition."""
    newest: dict[str, Path] = {}
    for path in sorted((world.deployment.folder / "data" / "snapshots").glob("*.snapshot")):
        newest[_kind_and_number(path)] = path
    return list(newest.values())


def _kind_and_number(path: Path) -> str:
    return ".".join(path.name.split(".")[:2])


def _flip(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def _of_other_schema(data: bytes) -> bytes:
    """Return a whole snapshot of a version that nobody knows: its checksum holds."""
    version = struct.pack("<I", SCHEMA_VERSION + 1000)
    body = data[:_VERSION_AT] + version + data[_VERSION_AT + 4 : -_CHECKSUM_BYTES]
    return body + xxhash.xxh3_128(body).digest()


def _of_first_schema(data: bytes) -> bytes:
    """Return a snapshot as the first version had it: another checksum over the same arrays."""
    body = data[:_VERSION_AT] + struct.pack("<I", 1) + data[_VERSION_AT + 4 : -_CHECKSUM_BYTES]
    return body + hashlib.blake2b(body, digest_size=32).digest()


_FAULTS = {"flipped": _flip, "cut": _cut}


def _detected(data: bytes, draw: random.Random, count: int) -> int:
    """Break copies of a snapshot; return how many a reader refused."""
    refused = 0
    for _ in range(count):
        broken = _FAULTS[draw.choice(list(_FAULTS))](data, draw)
        try:
            decode(broken)
        except SnapshotInvalid:
            refused += 1
    return refused


def _refuse_schema(world: World, path: Path) -> None:
    """Start a worker on a whole snapshot of another version: it ends with a reason."""
    whole = path.read_bytes()
    path.write_bytes(_of_other_schema(whole))
    worker = world.deployment.start(WORKER__INSTANCE_ID="chaos-0")
    assert worker.wait() != 0, "a snapshot of another schema was read"
    last = worker.log.splitlines()[-1]
    assert "schema version" in last and "Traceback" not in worker.log, last
    path.write_bytes(whole)


def _age_or_flip_rest(newest: list[Path], draw: random.Random) -> int:
    """Make the snapshots before the newest ones older, of the first version; flip one partition's.

    Returns how many partitions have one of that version.
    """
    folder, lost = newest[0].parent, _kind_and_number(newest[0])
    older: set[str] = set()
    for path in sorted(set(folder.glob("*.snapshot")).difference(newest)):
        whole = path.read_bytes()
        if _kind_and_number(path) == lost:
            path.write_bytes(_flip(whole, draw))
        else:
            path.write_bytes(_of_first_schema(whole))
            older.add(_kind_and_number(path))
    return len(older)


@scenario(15, "snapshots broken", tier=QUICK, may_lose_snapshots=True)
def snapshots_broken(world: World) -> Figures:
    """Break the newest snapshot of every partition, both of one; the others become older ones."""
    slots = world.start_workers(2)
    world.start_load(200)
    world.wait_durable(500)
    for slot in slots:
        world.kill(slot)
    draw = world.random
    broken = _newest(world)
    count = 200
    detected = _detected(broken[0].read_bytes(), draw, count)
    assert detected == count, f"{count - detected} of {count} broken snapshots were read"
    _refuse_schema(world, draw.choice(broken))
    broken = _newest(world)  # The worker that refused one may have replaced others before.
    for path in broken:
        path.write_bytes(_FAULTS[draw.choice(list(_FAULTS))](path.read_bytes(), draw))
    older = _age_or_flip_rest(broken, draw)
    begin_s = time.monotonic()
    with world.counting_replays():
        for slot in slots:
            world.launch(slot)
        for slot in slots:
            slot.worker.wait_ready()
        world.heal()
        world.note_recovery(begin_s, {0, 1, 2}, since_s=begin_s)
    said = sum(slot.worker.log.count("cannot be used, trying the one before") for slot in slots)
    assert said >= len(broken), f"only {said} of {len(broken)} broken snapshots were noticed"
    restored = sum(slot.worker.log.count(": restored at offset ") for slot in slots)
    assert restored >= older, f"only {restored} of {older} went on from the first version"
    return {
        "broken": len(broken) + 1,
        "noticed": said,
        "detected_of_200": detected,
        "other_schema_refused": True,
        "older_schema_read": older,
    }


@scenario(15, "snapshot store full")
def store_full(world: World) -> Figures:
    """Let no file grow beyond a bound: work goes on, room heals it; without any the worker ends."""
    (slot,) = world.start_workers(1, WORKER__SNAPSHOTS_TIMEOUT_S=10)
    world.start_load(200)
    world.wait_durable(300)
    process = psutil.Process(slot.worker.pid)
    bound = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (_FULL_BYTES, bound[1]))
    until(lambda: "it is tried again at every interval" in slot.worker.log, "a snapshot fails")
    process.rlimit(resource.RLIMIT_FSIZE, bound)
    until(lambda: "snapshots are written again" in slot.worker.log, "snapshots are written again")
    assert not slot.exits, slot.exits
    begin_s = time.monotonic()
    with world.counting_replays():
        process.rlimit(resource.RLIMIT_FSIZE, (_FULL_BYTES, _FULL_BYTES))
        until(lambda: slot.exits, "the worker ends")
        ended_s = time.monotonic()
        assert "is there room" in slot.exits[0], slot.exits
        world.note_recovery(begin_s, {0, 1, 2}, since_s=ended_s)
    world.heal()
    return {"ended_with_reason": len(slot.exits)}
