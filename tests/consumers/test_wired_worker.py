"""The protocol of a whole worker, wired as in production: what waits for what, what is owed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.loops import make_loops
from consumers.signal_publisher import SignalPacer
from consumers.sink_replies import Reply, WriteReport
from state.snapshot import Piece
from stream.versions import erase_version
from tests.chaos.oracle_records import partition_of
from tests.consumers.test_group_session import lists_of
from tests.consumers.wired_workers import TOPICS, FakeBroker, WiredWorker, a_while, until, wired
from tests.wire_logs import event

KEY = (TOPICS.interactions, 0)
AT_HOME = [f"u{n}" for n in range(40) if partition_of(f"u{n}".encode(), 2) == 0]
ELSEWHERE = next(f"u{n}" for n in range(40) if partition_of(f"u{n}".encode(), 2) == 1)
# Of one user two items in a row, so that there are rows for items.
VALUES = [event(n, user_id=AT_HOME[n % 3], item_id=f"i{n % 5}") for n in range(12)]
USERS = {user.encode() for user in AT_HOME[:3]}


@asynccontextmanager
async def folding(one: WiredWorker, held: Sequence[int] = (0,)) -> AsyncIterator[None]:
    """Hold partitions of interactions, and fold what comes."""
    users = {(TOPICS.interactions, number) for number in held}
    await one.ownership.restore({*users, (TOPICS.item_deltas, 0)})
    task = asyncio.create_task(one.worker.handlers.run())
    try:
        yield
    finally:
        task.cancel()
        await one.worker.frames.stop()


def play(folder: Path, scenario: Callable[[WiredWorker, FakeBroker], Awaitable[None]]) -> None:
    broker = FakeBroker()
    with wired(folder, broker) as one:
        asyncio.run(scenario(one, broker))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (TOPICS.item_deltas, event(99, user_id=AT_HOME[0])),
        (TOPICS.dead_letters, b"{"),
        (TOPICS.interactions, event(99, user_id=ELSEWHERE)),
    ],
    ids=["frame", "dead letter", "copy"],
)
def test_no_snapshot_holds_an_offset_before_all_that_came_of_it_is_acknowledged(
    tmp_path: Path, topic: str, value: bytes
) -> None:
    async def scenario(one: WiredWorker, broker: FakeBroker) -> None:
        async with folding(one):
            broker.shut.add(topic)
            await one.give([*VALUES, value])
            await until(lambda: broker.num_open[topic], f"something waits in {topic}")
            saving = asyncio.create_task(one.ownership.snapshot(KEY))
            await a_while()
            assert one.ownership.next_offset(*KEY) == len(VALUES) + 1
            assert not saving.done() and not one.files()
            assert one.ownership.durable_offset(*KEY) is None
            broker.open(topic)
            await saving
            assert one.ownership.durable_offset(*KEY) == len(VALUES) + 1
            assert len(one.files()) == 1

    play(tmp_path, scenario)


def test_nothing_is_durable_before_its_file_is_there(tmp_path: Path) -> None:
    async def scenario(one: WiredWorker, _: FakeBroker) -> None:
        files, is_asked, goes_on = one.ownership._store._files, asyncio.Event(), threading.Event()
        write, loop = files.write, asyncio.get_running_loop()

        def write_slowly(name: str, pieces: Sequence[Piece]) -> int:
            loop.call_soon_threadsafe(is_asked.set)
            goes_on.wait(30)
            return write(name, pieces)

        files.write = write_slowly  # type: ignore[method-assign]
        async with folding(one):
            await one.give(VALUES)
            await until(lambda: one.ownership.next_offset(*KEY) == len(VALUES), "all is folded")
            saving = asyncio.create_task(one.ownership.snapshot(KEY))
            await is_asked.wait()
            assert one.ownership.durable_offset(*KEY) is None
            goes_on.set()
            await saving
            assert one.ownership.durable_offset(*KEY) == len(VALUES)

    play(tmp_path, scenario)


def test_users_are_owed_a_list_before_anything_of_their_events_is_sent(tmp_path: Path) -> None:
    async def scenario(one: WiredWorker, broker: FakeBroker) -> None:
        async with folding(one):
            broker.shut.add(TOPICS.dead_letters)
            await one.give([b"{", *VALUES])
            await until(lambda: broker.num_open[TOPICS.dead_letters], "a reject is sent")
            assert one.owed() == USERS
            broker.open(TOPICS.dead_letters)

    play(tmp_path, scenario)


def test_lists_and_erasures_that_are_owed_outlive_a_crash(tmp_path: Path) -> None:
    #   Redis is away: nobody gets a list, and the log's end is durable when the worker dies.
    gone = AT_HOME[3]
    log = [*VALUES, event(50, user_id=gone), event(51, type="erase", user_id=gone)]
    broker = FakeBroker()
    broker.logs[KEY] = len(log)

    async def before() -> None:
        async with folding(one):
            await one.give(log)
            await until(lambda: one.ownership.next_offset(*KEY) == len(log), "all is folded")
            await one.ownership.snapshot(KEY)
            assert one.ownership.durable_offset(*KEY) == len(log)
            assert one.owed() == USERS and len(one.worker.erasures) == 1

    async def after() -> None:
        tell = other.ownership._tell

        def told(partitions: set[tuple[str, int]]) -> None:
            assert not other.due(), "before all partitions are restored"
            tell(partitions)

        other.ownership._tell = told  # type: ignore[method-assign]
        async with folding(other):
            assert other.worker.frames.acknowledged(0) == len(log)
            assert other.owed() == USERS == other.due()
            assert other.worker.erasures._waiting == {
                gone.encode(): erase_version(epoch=0, offset=len(log) - 1)
            }

    with wired(tmp_path, broker) as one:
        asyncio.run(before())
    with wired(tmp_path, broker) as other:
        asyncio.run(after())


def test_no_list_is_made_before_the_log_is_caught_up(tmp_path: Path) -> None:
    #   log:  [0--folded--6)[--not yet--12), and after a rebalance it has grown to 18
    async def scenario(one: WiredWorker, broker: FakeBroker) -> None:
        broker.logs[KEY] = 12
        async with folding(one):
            await one.give(VALUES[:6])
            await until(lambda: one.owed() == USERS, "half is folded")
            assert not one.due()
            await one.give(VALUES[6:], begin=6)
            await until(lambda: one.ownership.next_offset(*KEY) == 12, "all is folded")
            await until(one.due, "they are due")
            broker.logs[KEY] = 18
            await one.ownership.release({KEY})
            await one.ownership.retain({KEY})
            await one.ownership.restore({KEY})
            later = [event(n, user_id=AT_HOME[n % 3 + 3]) for n in range(12, 18)]
            await one.give(later[:3], begin=12)
            await until(lambda: len(one.owed()) == 6, "half of it is folded")
            assert not one.due()
            await one.give(later[3:], begin=15)
            await until(one.due, "they are due again")

    play(tmp_path, scenario)


def test_what_a_partition_was_owed_leaves_with_it_and_its_slabs_are_not_folded(
    tmp_path: Path,
) -> None:
    other, items = (TOPICS.interactions, 1), (TOPICS.item_deltas, 0)

    async def scenario(one: WiredWorker, _: FakeBroker) -> None:
        worker: Any = one.worker
        async with folding(one, held=(0, 1)):
            await one.give(VALUES)
            await until(lambda: one.owed() == USERS, "all is folded")
            worker.ownership.pacers[0] = SignalPacer(interval_ms=1_000, max_rows_per_s=10)
            await one.ownership.release({KEY, items})
            # One that was fetched before, and comes to the handlers only now.
            await one.give([event(70, user_id=AT_HOME[0])], begin=len(VALUES))
            await a_while()
            assert one.ownership.next_offset(*KEY) == len(VALUES)
            assert one.ownership.durable_offset(*KEY) == len(VALUES)
            assert not one.due(), "of a partition that is given up"
            await one.ownership.retain({other})
            assert 0 not in worker.engine.users and not len(worker.ledger)
            assert not one.ownership.pacers, "their rows mean other items when it comes back"
            assert not len(worker.queue) and not worker.queue.num_known
            await one.ownership.restore({other})
            assert one.ownership.assigned == {other}

    play(tmp_path, scenario)


def test_no_list_is_made_of_a_partition_that_was_given_up_during_its_last_fold(
    tmp_path: Path,
) -> None:
    async def scenario(one: WiredWorker, _: FakeBroker) -> None:
        goes_on = threading.Event()
        async with folding(one):
            one.worker.state.executor.submit(goes_on.wait, 30)
            await one.give(VALUES)
            await a_while()  # The fold stands in the state thread's queue.
            releasing = asyncio.create_task(one.ownership.release({KEY}))
            await a_while()
            goes_on.set()
            await releasing
            assert one.ownership.durable_offset(*KEY) == len(VALUES)
            assert one.owed() == USERS and not one.due()
            await one.ownership.retain({KEY})
            await one.ownership.restore({KEY})
            assert one.due() == USERS

    play(tmp_path, scenario)


def test_a_fold_that_fails_leaves_nothing_durable_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    async def scenario(one: WiredWorker, _: FakeBroker) -> None:
        async with folding(one):
            assert one.worker.why_over() is None
            await one.give(VALUES[:6])
            await until(lambda: one.ownership.next_offset(*KEY) == 6, "half is folded")
            monkeypatch.setattr(one.worker.pipeline, "fold_interactions", fail)
            await one.give(VALUES[6:], begin=6)
            await until(one.worker.why_over, "it is sealed")
            await one.ownership.release({KEY})
            assert not one.files() and one.ownership.durable_offset(*KEY) is None

    play(tmp_path, scenario)


def test_a_start_doubts_the_lists_of_all_its_first_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis lost its last writes while nobody ran; the second partition takes longer to restore."""
    monkeypatch.setattr("consumers.loops._LOST_KEYS_TICK_S", 0.0)
    monkeypatch.setattr("consumers.lost_lists._PAUSE_S", 0.0)
    other_key = (TOPICS.interactions, 1)

    async def before(one: WiredWorker, _: FakeBroker) -> None:
        async with folding(one, held=(0, 1)):
            await one.give(VALUES)
            await one.give([event(60, user_id=ELSEWHERE)], partition=1)
            for key, count in ((KEY, len(VALUES)), (other_key, 1)):
                await until(lambda: one.ownership.next_offset(*key) == count, "all is folded")  # noqa: B023
                rows = one.worker.engine.users[key[1]].tables.users.live_rows()
                one.worker.ledger.answer(key[1], rows, np.full(len(rows), count), now_ms=0)
                await one.ownership.snapshot(key)

    async def after(one: WiredWorker, _: FakeBroker) -> None:
        sink, load = one.worker.sink, one.ownership._load

        async def probe() -> None:
            sink.num_script_loads = 1

        async def find_missing(keys: Sequence[bytes]) -> NDArray[np.bool_]:
            return np.zeros(len(keys), np.bool_)

        async def load_slowly(key: tuple[str, int], *rest: Any) -> None:
            if key == other_key:
                await a_while()
            await load(key, *rest)

        for part, name, changed in (
            (sink, "probe", probe),
            (sink, "find_missing", find_missing),
            (one.ownership, "_load", load_slowly),
        ):
            monkeypatch.setattr(part, name, changed)
        loops = make_loops(one.worker, one.settings, wall_ms=lambda: 1, monotonic_ms=lambda: 1)
        looks = asyncio.create_task(loops._losses.run())
        due: set[bytes] = set()
        async with folding(one, held=(0, 1)):
            await until(
                lambda: due.update(one.due()) or due == {*USERS, ELSEWHERE.encode()},
                "everybody gets a list",
            )
        looks.cancel()

    play(tmp_path, before)
    play(tmp_path, after)


def test_a_worker_says_that_redis_has_lists_of_another_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("consumers.told_write._LONG_S", 0.0)

    async def older(commands: Sequence[object]) -> WriteReport:
        return WriteReport.of([Reply.STALE] * len(commands))

    async def scenario(one: WiredWorker, _: FakeBroker) -> None:
        monkeypatch.setattr(one.worker.sink, "_send", older)
        report = await one.worker.leased_write(lists_of(2), generated_at_ms=1)
        assert report.counts == {"stale": 2}

    play(tmp_path, scenario)
    assert "Raise HEADWATER_EPOCH" in caplog.text
