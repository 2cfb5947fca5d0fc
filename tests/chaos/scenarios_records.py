"""Scenarios 7 to 9: what producers send that they should not, or too much of it."""

from __future__ import annotations

import json
import random
import re
import time
import urllib.request
from collections.abc import Iterator

import psutil
from kafka.admin import KafkaAdminClient, NewTopic

from tests.chaos.hard_logs import poisoned
from tests.chaos.judgement import dead_letters
from tests.chaos.load import Mix, Sending, events
from tests.chaos.scenarios import QUICK, Figures, scenario
from tests.chaos.world import Slot, World

_TEN_MB = 10 * 1024 * 1024
# The corpus says of many records when Kafka took them, which only such a topic keeps.
_CORPUS_TOPIC = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**62),
    "retention.ms": "-1",
    "max.message.bytes": str(12 * 1024 * 1024),
}
# The user, and the item, of scenario 9.
_HOT = "hot"
# Stands for an unknown time: nothing is later.
_END_OF_TIMES_MS = 4_102_444_800_000


def _make_topic(world: World) -> None:
    admin = KafkaAdminClient(bootstrap_servers=world.kafka.bootstrap)
    try:
        admin.create_topics(
            [
                NewTopic(
                    name=world.deployment.interactions,
                    num_partitions=world.deployment.partitions,
                    replication_factor=1,
                    topic_configs=_CORPUS_TOPIC,
                )
            ]
        )
    finally:
        admin.close()


def _corpus(num_partitions: int) -> list[Sending]:
    return [
        Sending(
            each.value,
            key=each.key,
            partition=each.partition,
            timestamp_ms=each.timestamp_ms if each.timestamp_ms >= 0 else _END_OF_TIMES_MS,
        )
        for each in poisoned(num_partitions)
    ]


def _bad(draw: random.Random) -> Iterator[Sending]:
    """Yield records that nothing can be made of, without an end."""
    values = (b"", b"{", b"\xff\xfe", b"[" * 200, b'{"type": "watch", "ts": NaN}', b'{"ts": 1e999}')
    while True:
        yield Sending(draw.choice(values), partition=draw.randrange(3))


def _cpu_s(slot: Slot) -> float:
    times = psutil.Process(slot.worker.pid).cpu_times()
    return float(times.user + times.system)


@scenario(7, "poison corpus", tier=QUICK)
def poison(world: World) -> Figures:
    """Play the hand-made corpus, a record of 10 MB, then as many bad records as fit a burst."""
    _make_topic(world)
    (slot,) = world.start_workers(1)
    load = world.start_load(0, sendings=_bad(world.random))
    for sending in _corpus(world.deployment.partitions):
        load.send(sending)
    load.send(Sending(b"x" * _TEN_MB, partition=0))
    load.burst(1)
    world.deployment.drain()
    found = dead_letters(world)
    num_bad, cpu_s = 10_000, _cpu_s(slot)
    load.burst(num_bad)
    world.deployment.drain()
    cpu_s = _cpu_s(slot) - cpu_s
    copies = sum(dead_letters(world).values()) - sum(found.values()) - num_bad
    assert max(found.values()) == 1, "a dead letter stands twice"
    assert copies == 0, f"{num_bad} more records left {num_bad + copies} more dead letters"
    world.heal()
    return {"bad_of_corpus": len(found), "us_per_bad_record": round(cpu_s / num_bad * 1e6, 1)}


@scenario(8, "duplicates, disorder, late, skew", tier=QUICK)
def disorder(world: World) -> Figures:
    """Send a third twice, near or far, in shuffled windows, with clocks hours apart, misplaced."""
    world.start_workers(2)
    mix = Mix(
        duplicates=0.3,
        far=2_000,
        late=0.05,
        shuffled=64,
        skew_ms=3 * 3_600_000,
        erases=0.005,
        misrouted=0.1,
    )
    load = world.start_load(0, mix=mix)
    for _ in range(12):
        load.burst(400)
        time.sleep(world.random.uniform(0.0, 0.3))
    world.heal()
    return {"events": load.num_sent}


@scenario(9, "hot user, celebrity item")
def hot_user(world: World) -> Figures:
    """Send what one user cannot have done, on one item, beside an ordinary load."""
    world.start_workers(2)
    ordinary = world.start_load(150)
    world.wait_durable(200)
    hot = world.start_load(
        0,
        sendings=(
            _hot(each) for each in events(world.seed + 1, Mix(num_users=1, num_items=1, erases=0.0))
        ),
    )
    begin_s, num_hot = time.monotonic(), 20_000
    hot.burst(num_hot)
    sent_s = time.monotonic() - begin_s
    world.wait_durable(500)
    world.heal()
    return {
        "hot_per_s": round(num_hot / sent_s),
        "caught_up_s": round(time.monotonic() - begin_s - sent_s, 1),
        "ordinary": ordinary.num_sent,
        "fold_p99_ms_below": max(_fold_p99_ms(slot) for slot in world.slots),
        "counted_of_hot": max(_counted(slot, _HOT) for slot in world.slots),
    }


def _hot(sending: Sending) -> Sending:
    """Name events of the hot user, and the item, so that they meet nobody else's."""
    fields = json.loads(sending.value or b"{}")
    fields |= {"event_id": f"hot-{fields['event_id']}", "user_id": _HOT, "item_id": _HOT}
    return Sending(json.dumps(fields).encode(), key=_HOT.encode())


def _fold_p99_ms(slot: Slot) -> float:
    """Return the bound of the bucket that 99 % of a worker's batches of interactions are within."""
    with urllib.request.urlopen(f"{slot.worker.health}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    pattern = r'headwater_fold_seconds_bucket\{le="([^"]+)",topic="interactions[^"]*"\} (\S+)'
    buckets = [(float(bound), float(count)) for bound, count in re.findall(pattern, text)]
    total = max((count for _, count in buckets), default=0.0)
    return min((bound for bound, count in buckets if count >= 0.99 * total), default=0.0) * 1e3


def _counted(slot: Slot, item: str) -> float:
    """Return how many interactions an item has in the largest window; 0 where it is not owned."""
    url = f"{slot.worker.health}/inspect/item?id={item}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        owner = json.load(answer).get("owner") or {}
    return max((each["interactions"] for each in owner.get("windows", [])), default=0.0)
