"""Ownership over a real engine and real snapshot files; only the broker is a fake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from consumers import snapshot_copies
from consumers.ownership import ITEMS, USERS
from consumers.signal_publisher import SignalPacer
from consumers.snapshots import Snapshot
from consumers.state_thread import WorkThread
from state.frozen import Frozen
from stream.digests import digests
from stream.errors import StateMismatch
from stream.slab import Slab
from tests.consumers.owners import LINES, TOPIC, Owner

KEY = (TOPIC, 0)


@pytest.fixture
def state() -> Iterator[WorkThread]:
    thread = WorkThread("state")
    yield thread
    thread.close()


async def leave_snapshot(folder: Path, state: WorkThread, topic_id: str | None) -> None:
    owner = Owner(folder, state, topic_id=topic_id)
    await owner.ownership.restore({KEY})
    owner.fold()
    await owner.ownership.snapshot(KEY)


@pytest.mark.parametrize(
    ("before", "now"), [("first", "first"), (None, "first"), ("first", None), (None, None)]
)
def test_a_snapshot_of_the_same_topic_or_of_one_without_an_id_is_restored(
    tmp_path: Path, state: WorkThread, before: str | None, now: str | None
) -> None:
    async def run() -> int | None:
        await leave_snapshot(tmp_path, state, before)
        owner = Owner(tmp_path, state, topic_id=now)
        await owner.ownership.restore({KEY})
        return owner.ownership.next_offset(*KEY)

    assert asyncio.run(run()) == len(LINES)


def test_a_snapshot_of_a_topic_that_was_made_anew_is_refused(
    tmp_path: Path, state: WorkThread
) -> None:
    async def run() -> None:
        await leave_snapshot(tmp_path, state, "first")
        owner = Owner(tmp_path, state, topic_id="second")
        with pytest.raises(StateMismatch, match=r"id first .* id second.*deleted.*EPOCH"):
            await owner.ownership.restore({KEY})
        assert owner.ownership.next_offset(*KEY) is None

    asyncio.run(run())


def test_a_topic_made_anew_while_the_worker_runs_is_noticed_at_the_next_assignment(
    tmp_path: Path, state: WorkThread
) -> None:
    async def run() -> None:
        owner = Owner(tmp_path, state)
        await owner.ownership.restore({KEY})
        owner.logs.ids = {TOPIC: "second"}
        with pytest.raises(StateMismatch, match="deleted and made again"):
            await owner.ownership.restore({KEY})

    asyncio.run(run())


def test_while_a_snapshot_is_opened_the_next_one_is_read_and_none_counts_as_caught_up(
    tmp_path: Path, state: WorkThread
) -> None:
    keys = [(TOPIC, number) for number in range(3)]
    seen: list[tuple[int, list[bool]]] = []

    async def run() -> list[int | None]:
        owner = Owner(tmp_path, state, partitions=3)
        await owner.ownership.restore(set(keys))
        for number in range(3):
            owner.pipeline.fold_interactions(Slab.from_values(LINES[:8], partition=number))
            await owner.ownership.snapshot((TOPIC, number))
        again = Owner(tmp_path, state, partitions=3)
        ownership, read = again.ownership, again.store.newest_valid

        def newest_valid(kind: str, partition: int) -> Snapshot | None:
            seen.append((partition, [ownership.is_caught_up(*key) for key in keys]))
            return read(kind, partition)

        again.store.newest_valid = newest_valid  # type: ignore[method-assign]
        await ownership.restore(set(keys))
        return [ownership.next_offset(*key) for key in keys]

    assert asyncio.run(run()) == [8, 8, 8]
    assert seen == [(number, [False] * 3) for number in range(3)]


def test_a_snapshot_that_is_refused_leaves_no_read_behind(
    tmp_path: Path, state: WorkThread
) -> None:
    keys = {(TOPIC, 0), (TOPIC, 1)}

    async def run() -> None:
        owner = Owner(tmp_path, state, partitions=2)
        await owner.ownership.restore(keys)
        for number in range(2):
            owner.pipeline.fold_interactions(Slab.from_values(LINES[:8], partition=number))
            await owner.ownership.snapshot((TOPIC, number))
        again = Owner(tmp_path, state, partitions=2, topic_id="second")
        with pytest.raises(StateMismatch):
            await again.ownership.restore(keys)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_a_zombies_snapshot_does_not_win_over_the_new_owners_of_the_same_offset(
    tmp_path: Path, state: WorkThread
) -> None:
    async def run() -> list[int]:
        zombie = Owner(tmp_path, state, generation=3, owes=7)
        await zombie.ownership.restore({KEY})
        zombie.fold()
        owner = Owner(tmp_path, state, generation=4, owes=2)
        await owner.ownership.restore({KEY})
        owner.fold()
        await owner.ownership.snapshot(KEY)
        zombie.generation = 5  # It joins again; what it still holds is of its old assignment.
        await zombie.ownership.release({KEY})
        generations = [(name.next_offset, name.generation) for name in owner.names()]
        assert generations == [(len(LINES), 3), (len(LINES), 4)]
        third = Owner(tmp_path, state, generation=5)
        await third.ownership.restore({KEY})
        return third.restored

    assert asyncio.run(run()) == [0, 1]


def test_an_assignment_that_is_kept_writes_under_the_new_generation(
    tmp_path: Path, state: WorkThread
) -> None:
    async def run() -> list[int]:
        owner = Owner(tmp_path, state, generation=1)
        await owner.ownership.restore({KEY})
        owner.generation = 2
        await owner.ownership.retain({KEY})
        await owner.ownership.restore({KEY})
        owner.fold()
        await owner.ownership.snapshot(KEY)
        return [name.generation for name in owner.names()]

    assert asyncio.run(run()) == [2]


def test_a_group_without_a_generation_still_writes_files_that_are_found(
    tmp_path: Path, state: WorkThread
) -> None:
    async def run() -> int:
        owner = Owner(tmp_path, state, generation=-1)
        await owner.ownership.restore({KEY})
        owner.fold()
        await owner.ownership.snapshot(KEY)
        return len(owner.names())

    assert asyncio.run(run()) == 1


def test_snapshots_and_those_that_were_passed_over_are_counted(
    tmp_path: Path, state: WorkThread
) -> None:
    async def run() -> Owner:
        before = Owner(tmp_path, state)
        await before.ownership.restore({KEY})
        await before.ownership.snapshot(KEY)
        before.fold()
        await before.ownership.snapshot(KEY)
        assert [kind for kind, _ in before.snapshots] == [USERS, USERS]
        older, newer = (tmp_path / name.file for name in before.names())
        newer.write_bytes(b"cut")
        after = Owner(tmp_path, state)
        await after.ownership.restore({KEY})
        assert after.ownership.num_unusable == {USERS: 1, ITEMS: 0}
        older.write_bytes(b"cut")
        last = Owner(tmp_path, state)
        await last.ownership.restore({KEY})
        return last

    assert asyncio.run(run()).ownership.num_unusable == {USERS: 2, ITEMS: 0}


def test_signals_taken_but_perhaps_not_sent_are_in_the_snapshot(
    tmp_path: Path, state: WorkThread
) -> None:
    key = ("item-deltas", 0)

    async def scenario() -> tuple[set[bytes], set[bytes]]:
        first = Owner(tmp_path, state)
        await first.ownership.restore({KEY, key})
        folded = first.pipeline.fold_interactions(Slab.from_values(LINES))
        frames = [frame for _, frame in folded.frames]
        first.pipeline.fold_item_deltas(Slab.from_values(frames, topic=key[0]))
        items = first.pipeline.engine.items[0]
        pacer = SignalPacer(interval_ms=1_000, max_rows_per_s=1, max_batch=3)
        first.ownership.pacers[0] = pacer
        first.pipeline.publish_signals(0, 8, lambda rows: pacer.admit(rows, 0))
        await first.ownership.snapshot(key)

        second = Owner(tmp_path, state, generation=2)
        await second.ownership.restore({key})
        restored = second.pipeline.engine.items[0]
        owed = restored.take_dirty(1_000)
        return set(items.ids.ids(items.id_rows[items.live_rows()])), set(
            restored.ids.ids(restored.id_rows[owed])
        )

    everything, owed = asyncio.run(scenario())
    assert len(everything) > 8
    assert owed == everything


def test_a_snapshot_holds_the_state_at_its_offset_though_folds_go_on(
    tmp_path: Path, state: WorkThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = len(LINES) // 2
    copy_all = snapshot_copies._copy_all

    def fold_then_copy(frozen: Frozen) -> None:
        later = Slab.from_values(LINES[half:], first_offset=half)
        state.executor.submit(owner.pipeline.fold_interactions, later).result()
        copy_all(frozen)

    async def scenario() -> None:
        await owner.ownership.restore({KEY})
        owner.pipeline.fold_interactions(Slab.from_values(LINES[:half]))
        monkeypatch.setattr(snapshot_copies, "_copy_all", fold_then_copy)
        await owner.ownership.snapshot(KEY)
        await other.ownership.restore({KEY})

    owner, other = Owner(tmp_path, state), Owner(tmp_path, state)
    asyncio.run(scenario())
    assert owner.ownership.next_offset(*KEY) == len(LINES)
    assert owner.ownership.durable_offset(*KEY) == half == other.ownership.next_offset(*KEY)
    assert [kind for kind, _ in owner.pauses] == [USERS]
    assert digests(other.pipeline.engine) != digests(owner.pipeline.engine)
    other.pipeline.fold_interactions(Slab.from_values(LINES[half:], first_offset=half))
    assert digests(other.pipeline.engine) == digests(owner.pipeline.engine)


def test_nothing_becomes_durable_after_a_failure(tmp_path: Path, state: WorkThread) -> None:
    async def scenario() -> list[tuple[str, float]]:
        owner = Owner(tmp_path, state)
        await owner.ownership.restore({KEY})
        owner.pipeline.fold_interactions(Slab.from_values(LINES))
        owner.ownership.seal()
        await owner.ownership.snapshot(KEY)
        assert owner.ownership.durable_offset(*KEY) is None
        return owner.snapshots

    assert asyncio.run(scenario()) == []
    assert not list(tmp_path.rglob("*.snapshot")) and not list(tmp_path.rglob("users*"))


def test_a_snapshot_that_waits_behind_a_failing_fold_is_not_taken(
    tmp_path: Path, state: WorkThread
) -> None:
    def fold_half() -> None:
        with owner.ownership.sealing():
            owner.fold()
            raise MemoryError

    async def scenario() -> list[object]:
        await owner.ownership.restore({KEY})
        # Both stand in the state thread's queue before the loop hears of the failure.
        return await asyncio.gather(
            state.run(fold_half), owner.ownership.snapshot(KEY), return_exceptions=True
        )

    owner = Owner(tmp_path, state)
    failure, nothing = asyncio.run(scenario())
    assert isinstance(failure, MemoryError) and nothing is None
    assert owner.snapshots == [] and owner.ownership.durable_offset(*KEY) is None


def test_held_back_row_of_an_evicted_item_is_not_published(
    tmp_path: Path, state: WorkThread
) -> None:
    owner = Owner(tmp_path, state)
    engine = owner.pipeline.engine
    engine.open_users(0)
    engine.open_items(0)
    for _, frame in owner.pipeline.fold_interactions(Slab.from_values(LINES)).frames:
        owner.pipeline.fold_item_deltas(Slab.from_values([frame], topic="item-deltas"))
    items = engine.items[0]
    live = items.live_rows()
    gone, kept = int(live[0]), live[1:]
    items.id_rows[gone] = -1
    records = owner.pipeline.publish_signals(0, 1_000, lambda rows: np.append(rows, gone))
    ids = [items.ids.id(int(row)) for row in items.id_rows[kept]]
    assert sorted(key for key, _ in records) == sorted(ids)


def test_a_partition_that_stays_in_memory_is_told_of_with_its_new_end(
    tmp_path: Path, state: WorkThread
) -> None:
    async def scenario() -> list[tuple[str, int, bool, bool]]:
        owner = Owner(tmp_path, state)
        await owner.ownership.restore({KEY})
        owner.fold()
        before = owner.ownership.assignment
        await owner.ownership.release({KEY})
        await owner.ownership.retain({KEY})
        # Others produced while the group agreed on who has what.
        owner.logs.ends = _ends_at(len(LINES) + 1)  # type: ignore[method-assign]
        await owner.ownership.restore({KEY})
        assert owner.ownership.assignment == before + 2
        return owner.told

    # (kind, partition, ours, caught up): taken up behind its log, given up, kept behind its log.
    assert asyncio.run(scenario()) == [
        (USERS, 0, True, False),
        (USERS, 0, False, True),
        (USERS, 0, True, False),
    ]


def _ends_at(offset: int) -> Callable[..., Awaitable[dict[tuple[str, int], int]]]:
    async def ends(partitions: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, offset)

    return ends


def test_without_a_lease_no_snapshot_is_written_and_with_it_again_one_is(
    tmp_path: Path, state: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> tuple[int, int | None, int]:
        owner = Owner(tmp_path, state)
        await owner.ownership.restore({KEY})
        owner.fold()
        owner.why_over = "paused for too long"
        await owner.ownership.release({KEY})
        refused = len(owner.names()), owner.ownership.durable_offset(*KEY)
        owner.why_over = None
        await owner.ownership.restore({KEY})
        await owner.ownership.snapshot(KEY)
        return *refused, len(owner.names())

    assert asyncio.run(scenario()) == (0, None, 1)
    assert "no snapshot: paused for too long" in caplog.text


def test_a_partition_that_was_added_while_workers_run_is_refused(
    tmp_path: Path, state: WorkThread
) -> None:
    async def scenario() -> None:
        owner = Owner(tmp_path, state)
        with pytest.raises(StateMismatch, match="expected 1 partitions, .* new group id"):
            await owner.ownership.restore({KEY, (TOPIC, 1)})

    asyncio.run(scenario())


def test_a_snapshot_of_another_partition_count_is_refused(
    tmp_path: Path, state: WorkThread
) -> None:
    async def scenario() -> None:
        await leave_snapshot(tmp_path, state, None)
        owner = Owner(tmp_path, state)
        owner.pipeline.engine.num_item_partitions = 2
        with pytest.raises(StateMismatch, match="of 1 user and 2 item .* found one of 1 and 1"):
            await owner.ownership.restore({KEY})

    asyncio.run(scenario())


def test_a_snapshot_of_other_settings_is_refused_with_what_to_do(
    tmp_path: Path, state: WorkThread
) -> None:
    async def scenario() -> None:
        await leave_snapshot(tmp_path, state, None)
        owner = Owner(tmp_path, state, users={"max_history": 20})
        with pytest.raises(StateMismatch, match=r"users\.00000.* \(20,\) .* set HEADWATER_USERS__"):
            await owner.ownership.restore({KEY})

    asyncio.run(scenario())
