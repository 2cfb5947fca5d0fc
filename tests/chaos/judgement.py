"""Judgement: what must hold once a scenario is healed and drained, invariant by invariant.

I1 state = oracle; I2 committed <= durable <= applied at every sample; I3 every record read has one
verdict and every reject is in dead-letters, once by (topic, partition, offset); I4 lists never go
back; I5 lists reflect each user's newest event; I6 one writer per partition; I7 lag goes to 0
without a hand; I8 memory, descriptors, threads and tasks are bounded; I9 reads are answered; I10 no
ids in logs; I11 a worker works, or it ended in one of the ways of :mod:`tests.chaos.exits`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from consumers.kafka_replay import replay_topic
from consumers.sink_keys import list_keys
from stream.digests import digests
from tests.chaos.comparison import wrong_keys
from tests.chaos.exits import why_wrong
from tests.chaos.frame_log import deduplicated, told_to
from tests.chaos.load import PERSON, THING
from tests.chaos.oracle import Oracle
from tests.chaos.oracle_records import LogRecord, from_kafka
from tests.chaos.verdicts import Verdicts
from tests.chaos.world import World
from tests.integration.workers import ROOT, WorkerProcess, until
from tests.list_versions import parse_version

# Bounds of I8 for a worker with the default bounds of its tables, which are memory from the start.
MAX_MEMORY_MB, MAX_DESCRIPTORS, MAX_THREADS, MAX_TASKS = 2_048, 256, 64, 256
# The group may need a session's length to tell an old owner (4 s), and a sample's.
MAX_TWO_OWNERS_S = 6.0
# The promise for a heal: lists follow within this, whatever happened.
MAX_CATCH_UP_S = 60.0


def _attempt(verdicts: Verdicts, invariant: str, check: Callable[[], None]) -> bool:
    """Run a check that raises AssertionError where the invariant does not hold."""
    try:
        check()
    except AssertionError as error:
        verdicts.take(invariant, str(error)[:600] or "failed")
        return False
    verdicts.take(invariant, "")
    return True


def settle(world: World, verdicts: Verdicts) -> None:
    """End the load, drain, wait for the lists, stop the workers, and judge what they left."""
    deployment = world.deployment
    verdicts.is_settled = True
    for load in world.loads:
        load.stop()
    if not _attempt(verdicts, "I7", lambda: _drain(world)):
        return
    records = list(from_kafka(deployment.kafka, deployment.interactions))
    oracle = Oracle(records, num_partitions=deployment.partitions, bring_home=False)
    _attempt(verdicts, "I5", lambda: _wait_for_lists(world, oracle, verdicts))
    world.stop_probes()
    if not _attempt(verdicts, "I11", deployment.stop_all):
        return
    _attempt(verdicts, "I2", lambda: _check_commits(world))
    _judge_state(world, oracle, records, verdicts)


def _drain(world: World) -> None:
    """Drain; a worker that ends meanwhile and is started again may make it ask anew."""
    for _ in range(5):
        before = sum(len(slot.exits) for slot in world.slots)
        try:
            world.deployment.drain()
        except (AssertionError, OSError):
            deadline = time.monotonic() + 15.0  # Its health ends before its process does.
            while sum(len(slot.exits) for slot in world.slots) == before:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            until(lambda: all(slot.worker.health for slot in world.slots), "workers are back")
        else:
            return
    message = f"workers end again and again: {[slot.exits[-1:] for slot in world.slots]}"
    raise AssertionError(message)


def _wait_for_lists(world: World, oracle: Oracle, verdicts: Verdicts) -> None:
    newest = {user: each for users in oracle.users for user, each in users.newest.items()}
    bound_s = MAX_CATCH_UP_S
    # Somebody may have done something until a moment ago: staleness is what the probe measures.
    since_s = world.healed_s
    until(lambda: not _behind(world, newest), "lists reflect the newest events", bound_s)
    verdicts.catch_up_s = time.monotonic() - since_s


def _behind(world: World, newest: dict[str, tuple[int, bool]]) -> list[str]:
    """Return the users whose list does not reflect their newest event."""
    redis, users = world.deployment.redis, list(newest)
    pipeline = redis.pipeline(transaction=False)
    for user in users:
        list_key, tombstone = list_keys(user.encode())
        pipeline.hget(list_key, "version")
        pipeline.exists(tombstone)
    answers = pipeline.execute()
    behind = []
    for index, user in enumerate(users):
        offset, is_erased = newest[user]
        version, stone = answers[2 * index], answers[2 * index + 1]
        if is_erased:
            is_behind = version is not None or not stone
        else:
            is_behind = version is None or parse_version(version.decode()).next_offset <= offset
        if is_behind:
            behind.append(user)
    return behind


def _check_commits(world: World) -> None:
    """Raise AssertionError where nothing was ever committed: that would be below what is durable.

    How far is no promise: a commit that a stop has no time for is only read again.
    """
    assert world.commits.samples, "the group was never asked what it has committed"
    deployment, found = world.deployment, world.deployment.committed()
    ends = deployment.ends(deployment.interactions) | deployment.ends(deployment.item_deltas)
    never = [key for key, end in ends.items() if end and found.get(key, 0) <= 0]
    assert not never, f"nothing was ever committed of {never[:3]}"


def _judge_state(
    world: World, oracle: Oracle, records: list[LogRecord], verdicts: Verdicts
) -> None:
    deployment = world.deployment

    def state() -> None:
        engine = deployment.engine()
        wrong = wrong_keys(engine, oracle)
        verdicts.wrong_keys = len(wrong)
        assert not wrong, f"{len(wrong)} keys differ: {wrong[:3]}"
        frames: dict[int, list[bytes]] = defaultdict(list)
        for record in deployment.records(deployment.item_deltas, deployment.partitions):
            frames[record.partition].append(record.value)
        for number in range(deployment.partitions):
            found = deduplicated(frames[number])
            expected = told_to(oracle.rows(), number, deployment.partitions)
            assert found == expected, f"item-deltas/{number} differ from what users derive"
        if not _is_mixed(world):  # Another version may fold otherwise in what no format says.
            settings = deployment._worker_settings()
            again = asyncio.run(replay_topic(settings, deployment.kafka, deployment.interactions))
            same = digests(engine).state == digests(again).state
            assert same, "the state is not that of one undisturbed reading of the log"

    _attempt(verdicts, "I1", state)
    _attempt(verdicts, "I3", lambda: _check_dead_letters(world, oracle))
    there = {(each.partition, each.offset): each.value for each in records}
    verdicts.lost = sum(
        there.get((each.partition, each.offset)) != each.sending.value
        for load in world.loads
        for each in load.accepted
    )


def _letters(world: World) -> dict[tuple[int, int], list[bytes]]:
    """Return every dead letter by (partition, offset) of interactions, which its header names."""
    found: dict[tuple[int, int], list[bytes]] = defaultdict(list)
    topic = world.deployment.interactions
    for record in world.deployment.records(world.deployment.dead_letters, 1):
        said = json.loads(record.value)
        assert said["topic"] == topic, said["topic"]
        place = said["partition"], said["offset"]
        headers = dict(record.headers)
        assert headers == {"headwater-from": f"{topic}/{place[0]}/{place[1]}".encode()}, headers
        found[place].append(record.value)
    return found


def dead_letters(world: World) -> Counter[tuple[int, int]]:
    """Return how often each (partition, offset) of interactions stands in dead-letters."""
    return Counter({place: len(copies) for place, copies in _letters(world).items()})


def check_letters(
    found: Mapping[tuple[int, int], Sequence[bytes]],
    expected: Collection[tuple[int, int]],
    *,
    is_calm: bool,
    is_mixed: bool = False,
) -> None:
    """Raise AssertionError where dead letters are not "once by (topic, partition, offset)".

    A letter is acknowledged before an offset is durable: who goes on from a snapshot below it
    sends it again, the same bytes, and readers take the first. Where nobody had to go on from
    anywhere, it stands there once.

    Args:
        found: The values of each (partition, offset), in the log's order.
        expected: What the oracle rejects.
        is_calm: Whether nothing made anybody read a record twice.
        is_mixed: Whether two versions of the code wrote them: a newer one's may say more, what
            both say is equal.
    """
    missing, extra = {*expected} - found.keys(), found.keys() - {*expected}
    assert not missing and not extra, f"missing {sorted(missing)[:3]}, extra {sorted(extra)[:3]}"
    unequal = sorted(
        place
        for place, copies in found.items()
        if len({*copies}) > 1 and not (is_mixed and _say_the_same(copies))
    )
    assert not unequal, f"copies of a dead letter differ: {unequal[:3]}"
    repeated = sorted(place for place, copies in found.items() if len(copies) > 1)
    assert not (is_calm and repeated), f"written twice, and nothing had broken: {repeated[:3]}"


def _say_the_same(copies: Sequence[bytes]) -> bool:
    letters = [json.loads(copy) for copy in copies]
    shared = set(letters[0]).intersection(*letters)
    return all(letter[name] == letters[0][name] for letter in letters for name in shared)


def _check_dead_letters(world: World, oracle: Oracle) -> None:
    expected = {
        (users.partition, offset) for users in oracle.users for offset in users.rejected_offsets
    }
    check_letters(_letters(world), expected, is_calm=world.is_calm(), is_mixed=_is_mixed(world))


def _is_mixed(world: World) -> bool:
    return len({worker.folder for worker in world.deployment.workers}) > 1


def judge_samples(world: World, verdicts: Verdicts) -> None:
    """Judge what the probes saw while the scenario was played."""
    judge_never_seen(world, verdicts)
    offsets, lists = world.offsets, world.lists
    over_s = offsets.two_owners_s > MAX_TWO_OWNERS_S
    verdicts.take("I6", round(offsets.two_owners_s, 1) if over_s else 0, "seconds of two owners:")
    verdicts.take("I8", _too_much(offsets))
    if world.scenario.rests_on_redis:
        verdicts.take("I9", lists.failed_reads + lists.empty_reads, "reads without an answer:")
        verdicts.take("I9", len(lists.gone - lists.erased), "users whose list went away:")


def judge_never_seen(world: World, verdicts: Verdicts) -> None:
    """Judge what must never be seen, also of a scenario that was not played to its end."""
    if not world.scenario.may_lose_snapshots:
        verdicts.take("I2", [*world.commits.ahead, *world.offsets.ahead])
    if not world.scenario.may_lose_lists:
        verdicts.take("I4", world.lists.went_back)
    logs = {worker.log_path.name: worker.log for worker in world.deployment.workers}
    verdicts.take("I10", [name for name, log in logs.items() if PERSON in log or THING in log])
    wrong = {worker.log_path.name: _why_wrong(worker) for worker in world.deployment.workers}
    verdicts.take("I11", [f"{name} {why}" for name, why in wrong.items() if why])


def _why_wrong(worker: WorkerProcess) -> str:
    """Return why a worker may not have ended, or live, as it does; "" where it may."""
    return why_wrong(
        worker.process.poll(),
        worker.log,
        signals=worker.signals,
        may_crash=worker.may_crash,
        was_ready=bool(worker.health),
        may_trace=worker.folder != ROOT,
    )


def _too_much(offsets: Any) -> list[str]:
    seen = {
        "memory_mb": (offsets.memory_mb, MAX_MEMORY_MB),
        "descriptors": (offsets.descriptors, MAX_DESCRIPTORS),
        "threads": (offsets.threads, MAX_THREADS),
        "tasks": (offsets.tasks, MAX_TASKS),
    }
    return [f"{name} {most:.0f}" for name, (most, bound) in seen.items() if most > bound]
