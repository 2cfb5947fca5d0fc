"""Scenarios 4 to 6 and 17: workers are killed, stopped, continued, join and leave."""

from __future__ import annotations

import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from statistics import median

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.structs import OffsetAndMetadata

from consumers.crash_points import POINTS
from consumers.snapshot_digests import load_snapshots
from stream.digests import digests
from tests.chaos.load import Mix, Sending, events
from tests.chaos.scenarios import LONG, QUICK, Figures, scenario
from tests.chaos.world import RESTART_S, Slot, World
from tests.integration.workers import until

# Reached while a worker starts or stops; all others under load.
_BEFORE_READY = ("mid-restore", "after-restore")
_AT_STOP = ("mid-release",)
# Erases, bad and misplaced records, so that every point is reached soon.
_EVERYTHING = Mix(erases=0.02, bad=0.02, misrouted=0.02, duplicates=0.03)


def _arm(world: World, slot: Slot, point: str) -> None:
    """Start a slot's worker so that it dies at a point, the first to third time it comes there."""
    time_ = 1 if point in (*_BEFORE_READY, *_AT_STOP) else world.random.randint(1, 3)
    world.launch(slot, CRASH_AT=f"{point}:{time_}")
    slot.is_expected_to_end = True


def _die(slot: Slot, point: str) -> None:
    """Wait for a worker to die at its point."""
    if point in _AT_STOP:
        with suppress(AssertionError, OSError):  # A rebalance may have brought it there already.
            slot.worker.wait_ready()
            until(lambda: slot.worker.stats()["positions"], f"{point}: the worker has partitions")
            slot.worker.send(signal.SIGTERM)
    code = slot.worker.wait()
    assert code == -signal.SIGKILL, f"{point}: ended with {code}: {slot.worker.log[-1500:]}"


@scenario(4, "worker killed at crash points", tier=QUICK)
def crash_points(world: World) -> Figures:
    """Two workers die at once, each at a point of its own, and again, until all points are done."""
    slots = world.start_workers(2)
    world.start_load(120, mix=_EVERYTHING)
    world.wait_durable(100)
    points = list(POINTS)
    world.random.shuffle(points)
    passed = 0
    for first in range(0, len(points), len(slots)):
        pairs = list(zip(slots, points[first : first + len(slots)], strict=False))
        for slot, point in pairs:
            if not slot.is_expected_to_end:
                world.kill(slot)
            _arm(world, slot, point)
        for slot, point in pairs:
            _die(slot, point)
            passed += 1
    restarted_s = time.monotonic()
    with world.counting_replays():
        for slot in slots:
            world.launch(slot)
        for slot in slots:
            slot.worker.wait_ready()
        world.heal()
        world.note_recovery(restarted_s, {0, 1, 2}, since_s=restarted_s)
    return {"points_passed": passed, "points": len(POINTS)}


@scenario(4, "worker killed and restarted", settings={"WORKER__SESSION_TIMEOUT_S": 45})
def worker_restarted(world: World) -> Figures:
    """Kill, start half a second later: within its session it is the member that it was."""
    slots = world.start_workers(2)
    world.start_load(250)
    world.wait_durable(500)
    for slot in (*slots, slots[0]):
        world.kill_and_restart(slot)
        world.wait_durable(200)
    return {
        "restarts": 3,
        "recovery_s_min": round(min(world.recoveries_s), 2),
        "restart_cpu_s": round(min(world.restarts_cpu_s), 2),
    }


@scenario(
    4,
    "worker of 200 K users restarted",
    tier=LONG,
    partitions=2,
    settings={"WORKER__SESSION_TIMEOUT_S": 45, "WORKER__SNAPSHOT_INTERVAL_S": 10},
)
def large_worker_restarted(world: World) -> Figures:
    """Fill a worker, wait for its snapshots, kill and restart under an ordinary load; twice.

    What grows with the state is the reading of its snapshots: measured at a quarter of the users
    and at all of them, it says what more users would cost.
    """
    (slot,) = world.start_workers(1)
    world.start_load(120)
    world.wait_applied(500)
    num_users = 200_000
    fill = world.start_load(0, sendings=_one_event_each(world.seed, num_users))
    figures: dict[str, object] = {}
    for share, name in ((4, "quarter"), (1, "all")):
        for _ in range(0, num_users // share - fill.num_sent, 10_000):
            fill.burst(10_000)
        # What waits for a list then is the load's, not a queue of everybody behind whom it waits.
        redis, has_list = world.deployment.redis, fill.num_sent
        until(lambda: redis.dbsize() >= has_list, "everybody has a list", 600.0)  # noqa: B023
        there = sum(world.deployment.ends(world.deployment.interactions).values())
        until(lambda: world.num_durable() >= there, "a snapshot holds all users")  # noqa: B023
        begin = len(world.recoveries_s)
        for _ in range(5):
            world.kill_and_restart(slot)
            world.wait_durable(300)
        snapshots = (world.deployment.folder / "data" / "snapshots").glob("users.*.snapshot")
        newest = sorted(each.stat().st_size for each in snapshots)[-2:]
        restored = re.findall(r": restored at offset \d+ in (\S+) s", slot.worker.log)
        figures |= {
            f"users_{name}": slot.worker.stats()["users"],
            f"snapshots_mb_{name}": round(sum(newest) / 2**20),
            f"restore_s_{name}": round(sum(map(float, restored)), 2),
            f"recovery_s_min_{name}": round(min(world.recoveries_s[begin:]), 2),
            f"recovery_s_median_{name}": round(median(world.recoveries_s[begin:]), 2),
            f"restart_cpu_s_{name}": round(min(world.restarts_cpu_s[begin:]), 2),
        }
    return figures


def _one_event_each(seed: int, num_users: int) -> Iterator[Sending]:
    """Yield events of so many users, with ids that no other load's have."""
    mix = Mix(num_users=num_users, is_even=True, duplicates=0, erases=0, late=0)
    for each in events(seed, mix, num_partitions=1):
        value = (each.value or b"").replace(b'"event_id": "e', b'"event_id": "fill-e')
        yield replace(each, value=value)


@scenario(4, "worker killed, taken over")
def worker_taken_over(world: World) -> Figures:
    """Kill a worker and leave it dead: the other one takes its partitions."""
    stays, victim = world.start_workers(2)
    world.start_load(250)
    world.wait_durable(500)
    with world.counting_replays():
        begin_s = time.monotonic()
        held = world.kill(victim)
        world.note_recovery(begin_s, held, since_s=begin_s + 0.3)
    world.wait_durable(200)
    world.heal()
    assert stays.worker.process.poll() is None
    return {"session_timeout_s": world.deployment.settings["WORKER__SESSION_TIMEOUT_S"]}


def stale_writes(slot: Slot) -> int:
    """Return how many old lists a worker did not write: its lease was over, or Redis had newer."""
    with urllib.request.urlopen(f"{slot.worker.health}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found = re.findall(r'headwater_sink_replies_total\{kind="(?:stale|fenced)"\} (\S+)', text)
    return sum(int(float(each)) for each in found)


@scenario(5, "worker stopped past its session", tier=QUICK)
def zombie(world: World) -> Figures:
    """SIGSTOP until another worker has taken over, SIGCONT, and again with the other one."""
    slots = world.start_workers(2)
    load = world.start_load(250)
    world.wait_durable(300)
    blocked, ended = 0, 0
    for sleeper, other in ((slots[0], slots[1]), (slots[1], slots[0])):
        held = until(lambda: world.partitions_of(sleeper), "it holds partitions")  # noqa: B023
        before = stale_writes(sleeper)
        # So much waits in it that it has something to write when it goes on.
        load.burst(300)
        with world.counting_replays():
            begin_s = time.monotonic()
            sleeper.worker.send(signal.SIGSTOP)
            world.note_recovery(begin_s, held, since_s=begin_s + 0.5)
        until(lambda: world.partitions_of(other) >= held, "taken over")  # noqa: B023
        world.wait_durable(100)
        sleeper.worker.send(signal.SIGCONT)
        until(lambda: world.partitions_of(sleeper) or sleeper.exits, "it works or exits")  # noqa: B023
        ended += len(sleeper.exits)
        if not sleeper.exits:
            blocked += stale_writes(sleeper) - before
        world.heal()
    return {"stale_writes_blocked": blocked, "zombies_ended": ended}


@scenario(6, "rebalance storm")
def rebalance_storm(world: World) -> Figures:
    """A second worker joins and leaves under load, again and again; the pause of each round."""
    (stays,) = world.start_workers(1)
    # Nobody dies here, so that no reject may come to dead-letters twice.
    world.start_load(250, mix=Mix(bad=0.02))
    world.wait_durable(300)
    joins, leaves = [], []
    for number in range(4):
        begin_s = time.monotonic()
        guest = world.add_slot() if number == 0 else guest  # noqa: F821
        if number:
            world.launch(guest)
        guest.worker.wait_ready()
        held = until(lambda: world.partitions_of(guest), "the guest holds partitions")  # noqa: B023
        joins.append(world.lists.longest_gap(held, begin_s))
        world.wait_durable(100)
        begin_s = time.monotonic()
        guest.is_expected_to_end = True
        assert guest.worker.stop() == 0, guest.worker.log[-1500:]
        until(lambda: world.lists.first_write_after(begin_s + 0.2, held), "written again")  # noqa: B023
        leaves.append(world.lists.longest_gap(held, begin_s - 1.0))
        world.wait_durable(100)
    assert stays.worker.process.poll() is None, "the worker that stays has ended"
    return {
        "rounds": len(leaves),
        "join_pause_s_max": round(max(joins), 2),
        "leave_pause_s_max": round(max(leaves), 2),
    }


@scenario(17, "all killed, offsets reset", tier=QUICK)
def offsets_reset(world: World) -> Figures:
    """Kill all, commit offset 0 for the group, start: a re-read changes nothing."""
    slots = world.start_workers(2)
    load = world.start_load(0)
    load.burst(1_500)
    world.deployment.drain()
    _snapshots_hold_all(world)
    before = _digest(world)
    for slot in slots:
        world.kill(slot)
    _reset_offsets(world)
    begin_s = time.monotonic()
    time.sleep(RESTART_S)
    for slot in slots:
        world.launch(slot)
    for slot in slots:
        slot.worker.wait_ready()
    world.deployment.drain()
    after = _digest(world)
    assert after == before, f"a re-read changed the state: {before} to {after}"
    load.burst(200)
    world.heal()
    world.note_recovery(begin_s, {0, 1, 2}, since_s=begin_s)
    return {"records_below_reset": 1_500, "digest_same": True}


def _snapshots_hold_all(world: World) -> None:
    def holds() -> bool:
        positions = world.deployment.positions().values()
        return all(each["durable"] == each["next"] for each in positions)

    until(holds, "snapshots hold everything")


def _digest(world: World) -> tuple[str, str]:
    found = digests(load_snapshots(world.deployment._worker_settings()))
    return str(found.state), str(found.rows)


def _reset_offsets(world: World) -> None:
    """Commit offset 0 for every partition, once the group has no living member."""
    deployment = world.deployment
    parts = [
        TopicPartition(topic, number)
        for topic in (deployment.interactions, deployment.item_deltas)
        for number in range(deployment.partitions)
    ]

    def reset() -> bool:
        admin = KafkaAdminClient(bootstrap_servers=deployment.kafka)
        try:
            wanted = {part: OffsetAndMetadata(0, "", -1) for part in parts}
            admin.alter_group_offsets(deployment.group, wanted)
        except Exception:  # The group still waits for its dead members.
            return False
        finally:
            admin.close()
        return set(deployment.committed().values()) == {0}

    until(reset, "the group's offsets are reset")
