"""Scenarios 16, 18 and 19: logs that changed under the state, two versions, erasing."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, NewPartitions, NewTopic

from consumers.sink_keys import list_keys
from tests.chaos.judgement import settle
from tests.chaos.load import PERSON, Mix, Sending, events
from tests.chaos.scenarios import Figures, scenario
from tests.chaos.world import Slot, World
from tests.integration.workers import until


def _refused(world: World, says: str, **settings: object) -> str:
    """Start a worker that must end with a reason and leave every snapshot as it was."""
    folder = world.deployment.folder / "data" / "snapshots"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    worker = world.deployment.start(**settings)
    assert worker.wait() in (1, 2), worker.log[-1500:]  # 2: what is configured cannot work.
    last = worker.log.splitlines()[-1]
    assert re.search(says, last) and "Traceback" not in worker.log, last
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    return last


@scenario(16, "log cut, recreated, repartitioned", settles=False)
def changed_logs(world: World) -> Figures:
    """Stop workers, change the log beneath their state, start: each is refused with a reason."""
    deployment = world.deployment
    (slot,) = world.start_workers(1)
    load = world.start_load(0)
    load.burst(600)
    deployment.drain()
    slot.is_expected_to_end = True
    deployment.stop_all()
    load.burst(600)
    admin = KafkaAdminClient(bootstrap_servers=deployment.kafka)
    topic, reasons = deployment.interactions, []
    try:
        end = deployment.ends(topic)[f"{topic}/0"]
        admin.delete_records({TopicPartition(topic, 0): end - 1})
        reasons.append(_refused(world, "records in between are gone"))
        admin.create_partitions({topic: NewPartitions(total_count=4)})
        reasons.append(_refused(world, "partitions"))
        reasons.append(_refused(world, "partition", TOPICS__PARTITIONS=4))
        admin.delete_topics([topic])
        until(lambda: _is_made(admin, topic, deployment.partitions), "the topic is made anew")
        load.burst(1_200)
        reasons.append(_refused(world, "deleted and made again"))
    finally:
        admin.close()
    return {"refused_with_reason": len(reasons), "asked": 4}


def _is_made(admin: KafkaAdminClient, topic: str, num_partitions: int) -> bool:
    try:
        admin.create_topics(
            [NewTopic(name=topic, num_partitions=num_partitions, replication_factor=1)]
        )
    except Exception:  # The name is free only once the broker has dropped the old one.
        return False
    return True


@scenario(18, "rolling restart, two settings")
def rolling(world: World) -> Figures:
    """Replace workers one by one under load, there and back.

    A dry run of an upgrade: both versions are the same code with other bounds of batches.
    """
    slots = world.start_workers(2)
    world.start_load(200)
    world.wait_durable(300)
    pauses = []
    for settings in ({"REFRESH__MAX_BATCH": 16, "WORKER__MAX_SLAB_BYTES": 65_536}, {}):
        for slot in slots:
            held = world.partitions_of(slot)
            begin_s = time.monotonic()
            slot.is_expected_to_end = True
            assert slot.worker.stop() == 0, slot.worker.log[-1500:]
            until(lambda: world.lists.first_write_after(begin_s + 0.2, held), "handed over")  # noqa: B023
            pauses.append(world.lists.longest_gap(held, begin_s - 1.0))
            world.launch(slot, **settings).wait_ready()
            until(lambda: world.partitions_of(slot), "it holds partitions")  # noqa: B023
            world.wait_durable(100)
    world.heal()
    return {"replaced": len(pauses), "hand_over_pause_s_max": round(max(pauses), 2), "dry_run": 1}


_GONE = f"{PERSON}-who-is-forgotten"


def _their_events(seed: int, count: int) -> Iterable[Sending]:
    for number, each in enumerate(events(seed, Mix(num_users=1, duplicates=0, late=0, erases=0))):
        if number == count:
            return
        value = (each.value or b"").replace(f"{PERSON}-0".encode(), _GONE.encode())
        value = value.replace(b'"event_id": "e', b'"event_id": "gone-e')
        yield Sending(value, user=_GONE, key=_GONE.encode())


def _erase() -> Sending:
    value = (
        f'{{"event_id": "forget", "type": "erase", "user_id": "{_GONE}", '
        f'"ts": {int(time.time() * 1000)}}}'
    )
    return Sending(value.encode(), user=_GONE, is_erase=True, key=_GONE.encode())


@scenario(19, "erase under load, then replay, then a zombie")
def erased(world: World) -> Figures:
    """Erase a user while their worker sleeps, kill who erased, wake the sleeper; look everywhere.

    Who erases writes no snapshot, so that the one after them replays the erase from a snapshot with
    the user in it. What Kafka retains for days is deleted at once at the end, as retention would.
    """
    slots = world.start_workers(2)
    world.start_load(150)
    their = world.start_load(0, sendings=_their_events(world.seed, 40))
    their.burst(40)
    redis, (list_key, tombstone) = world.deployment.redis, list_keys(_GONE.encode())
    until(lambda: redis.exists(list_key), "there is a list")
    place = their.accepted[0].partition
    until(lambda: any(place in world.partitions_of(slot) for slot in slots), "it is held")
    sleeper, eraser = sorted(slots, key=lambda slot: place not in world.partitions_of(slot))
    world.wait_durable(300)  # Their events are in a snapshot.
    world.kill(eraser)
    world.launch(eraser, WORKER__SNAPSHOT_INTERVAL_S=3_600).wait_ready()
    sleeper.worker.send(signal.SIGSTOP)
    their.send(_erase())
    begin_s = time.monotonic()
    until(lambda: redis.exists(tombstone), "there is a tombstone")
    gone_s = time.monotonic() - begin_s
    assert not redis.exists(list_key), "the list stands beside its tombstone"
    num_again = _replay_erase(world, eraser, place, their.accepted[-1].offset)
    assert redis.exists(tombstone) and not redis.exists(list_key), "a replay wrote the list again"
    sleeper.worker.send(signal.SIGCONT)
    until(lambda: world.partitions_of(sleeper) or sleeper.exits, "the zombie works or exits")
    world.wait_durable(300)
    world.heal()
    settle(world, world.verdicts)
    assert not redis.exists(list_key), "a zombie wrote the list again"
    return {
        "list_gone_s": round(gone_s, 2),
        "replayed_to_the_erase": num_again,
        "stores_with_the_id": len(_stores_with(world)),
    }


def _replay_erase(world: World, slot: Slot, partition: int, offset: int) -> int:
    """Kill who folded an erase and has no snapshot with it; wait until another one has.

    Returns how many records were read again up to the erase.
    """
    key = f"{world.deployment.interactions}/{partition}"
    world.kill(slot)
    world.launch(slot).wait_ready()
    until(lambda: world.durable()[key] > offset, "a snapshot has the erase")
    found = re.search(rf"{key}: restored at offset (\d+)", slot.worker.log)
    assert found and int(found[1]) <= offset, f"{key}: the erase at {offset} was not read again"
    return offset + 1 - int(found[1])


def _stores_with(world: World) -> list[str]:
    """Return where the id still stands, once what Kafka retains has left it."""
    deployment = world.deployment
    admin = KafkaAdminClient(bootstrap_servers=deployment.kafka)
    topic = deployment.interactions
    try:
        ends = deployment.ends(topic)
        admin.delete_records(
            {TopicPartition(topic, int(key.split("/")[-1])): end for key, end in ends.items()}
        )
    finally:
        admin.close()
    word = _GONE.encode()
    found = [path.name for path in _files(deployment.folder / "data") if word in path.read_bytes()]
    found += [key.decode() for key in deployment.redis.scan_iter() if word in key]
    for name, count in (
        (topic, deployment.partitions),
        (deployment.item_deltas, deployment.partitions),
        (deployment.dead_letters, 1),
    ):
        found += [name for each in deployment.records(name, count) if word in (each.value or b"")]
    assert not found, f"the id still stands in {found[:5]}"
    return found


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
