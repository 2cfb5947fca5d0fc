"""What must hold once a simulated history has come to rest, whatever happened in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from stream.digests import DigestParts, Digests, digest_parts
from stream.engine import Engine
from stream.pipeline import Pipeline
from stream.signals import encode_signals
from stream.slab import Slab
from tests.chaos import exported_state
from tests.chaos.comparison import check
from tests.chaos.frame_log import deduplicated, told_to
from tests.chaos.oracle import Oracle
from tests.chaos.oracle_users import UserRules
from tests.chaos.simulated_lists import check_lists
from tests.chaos.simulated_worker import LIMITS, Worker, make_pipeline
from tests.chaos.simulated_world import (
    ITEMS,
    KEYS,
    NUM_ITEM_PARTITIONS,
    NUM_PARTITIONS,
    USER_IDS,
    USERS,
    World,
    demand,
)


def check_rest(world: World, workers: Mapping[str, Worker], *, is_thorough: bool) -> Digests:
    """Compare what the workers hold with one engine that nobody disturbed; return its digests.

    1. every partition has one owner, who holds it; 2. committed <= durable <= applied;
    3. verdicts, state and pairs are those of an undisturbed run; 4. each reject is a dead letter,
    once of each owner who read it; 5. each misrouted record has come home; 6. every item's newest
    signal says what its owner knows; 7. each list in Redis is of its user's newest state, and of
    who is gone there is none; 8. now and then: the undisturbed run and the frames are what the
    oracle says.
    """
    pipeline = make_pipeline()
    rejects = _fold_undisturbed(world, pipeline)
    expected = pipeline.engine
    owners = world.group.owners
    for worker in workers.values():  # 1
        owned = {key for key, owner in owners.items() if owner == worker.name}
        demand(owned == {*worker.held}, f"{worker.name} holds {worker.held}, owns {owned}")
    for key in KEYS:  # 2
        applied = workers[owners[key]].next_offset(key)
        committed, durable = world.group.committed.get(key, 0), world.store.durable(key)
        demand(
            committed <= durable <= applied == world.end(key),
            f"{key}: committed {committed}, durable {durable}, applied {applied}",
        )
        _check_partition(key, workers[owners[key]].engine, expected, world)
    whole, right = _digests(workers), digest_parts(expected).whole()  # 3
    demand(whole.state == right.state, "the state is not that of an undisturbed run")
    demand(whole.rows == right.rows, "the pairs are not those of an undisturbed run")
    letters = {(partition, offset) for _, partition, offset in world.dead_letters}  # 4
    demand(letters == rejects, f"expected dead letters {sorted(rejects)}, came {sorted(letters)}")
    twice = [each for each, times in Counter(world.dead_letters).items() if times > 1]
    demand(not twice, f"sent twice in one life of a partition: {twice}")
    _check_signals(world, workers)  # 6
    check_lists(world.redis, expected, USER_IDS)  # 7
    if is_thorough:  # 8
        _check_against_the_oracle(world, expected)
    return whole


def _ends(world: World) -> list[int]:
    return [world.end((USERS, each)) for each in range(NUM_PARTITIONS)]


def _check_partition(key: tuple[str, int], engine: Engine, expected: Engine, world: World) -> None:
    kind, partition = key
    if kind == USERS:
        found = exported_state.user_counters(engine.users[partition].tables)
        right = exported_state.user_counters(expected.users[partition].tables)
        demand(found == right, f"{key}: expected counters {right}, came {found}")
    else:
        is_below = (engine.items[partition].watermarks <= _ends(world)).all()
        demand(bool(is_below), f"{key}: a watermark is above its source's log")


def _digests(workers: Mapping[str, Worker]) -> Digests:
    parts = DigestParts()
    for worker in workers.values():
        part = digest_parts(worker.engine)
        parts.users |= part.users
        parts.counts |= part.counts
        parts.rows |= part.rows
        parts.rejected += part.rejected
    return parts.whole()


def _fold_undisturbed(world: World, pipeline: Pipeline) -> set[tuple[int, int]]:
    """Fold the final logs in one go; return (partition, offset) of every reject."""
    engine, rejects = pipeline.engine, set()
    for kind, partition in KEYS:
        engine.open_users(partition) if kind == USERS else engine.open_items(partition)
    next_offsets = [0] * NUM_ITEM_PARTITIONS
    for partition, end in enumerate(_ends(world)):
        if not end:
            continue
        folded = pipeline.fold_interactions(world.read_interactions(partition, 0, end))
        rejects |= {(partition, each.offset) for each in folded.rejects}
        for target, frame in folded.frames:
            slab = Slab.from_values([frame], partition=target, first_offset=next_offsets[target])
            pipeline.fold_item_deltas(slab)
            next_offsets[target] += 1
        copies = folded.copies
        for target, origin in zip(copies.partitions.tolist(), copies.headers, strict=True):  # 5
            log = world.interactions[target]
            came = any(origin == value for record in log for _, value in record.headers)
            demand(came, f"the record at {origin.decode()} never came to partition {target}")
    return rejects


def _check_against_the_oracle(world: World, expected: Engine) -> None:
    """Compare with a program that shares nothing: state, and the rows on the wire (I1)."""
    oracle = Oracle(
        (record for log in world.interactions for record in log),
        num_partitions=NUM_PARTITIONS,
        num_item_partitions=NUM_ITEM_PARTITIONS,
        user_rules=UserRules(max_history=LIMITS.max_history),
        bring_home=False,
    )
    check(expected, oracle)
    for partition, frames in enumerate(world.item_deltas):
        told = told_to(oracle.rows(), partition, NUM_ITEM_PARTITIONS)
        demand(deduplicated(frames) == told, f"frames to {partition} are not what users derive")


def _check_signals(world: World, workers: Mapping[str, Worker]) -> None:
    """Readers of the compacted topic end alike in any order, and know what owners know."""
    owned: list[tuple[bytes, bytes]] = []
    for partition in range(NUM_ITEM_PARTITIONS):
        pipeline = workers[world.group.owners[ITEMS, partition]].pipeline
        world.signals += pipeline.publish_signals(partition, 64)
        items = pipeline.engine.items[partition]
        rows = items.live_rows()
        owned += encode_signals(items.read_signals(rows, as_of_ms=items.stream_time_ms))
    ids = sorted({key for key, _ in owned})
    forwards, backwards = _told(world.signals, ids), _told(world.signals[::-1], ids)
    demand(forwards == backwards, "signals in another order tell another story")
    demand(forwards == _told(owned, ids), "an item's newest signal is not its newest state")


def _told(signals: Sequence[tuple[bytes, bytes]], ids: Sequence[bytes]) -> list[object]:
    """Return what a catalogue that reads these signals knows of some items."""
    pipeline = make_pipeline()
    if signals:
        pipeline.read_signals(Slab.from_records(signals))
    told = [pipeline.engine.catalogue.describe(each) for each in ids]
    return [each and (each["interactions"], each["neighbours"]) for each in told]
