import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from consumers.refresh import RefreshLoop, Retrieved
from consumers.sink_replies import Reply, WriteReport
from stream.candidates import SOURCES, RecommendationBatch
from stream.dirty_users import PASSIVE, DirtyUsers
from stream.errors import HeadwaterError
from stream.events import Action
from stream.freshness import FreshnessHistograms, FreshnessLedger
from stream.refresh_queue import RefreshQueue


class Rig:
    """A loop on real threads, with a state, a ranker and a sink that tests may bend."""

    def __init__(self, *, max_batch=4, max_users=100, replies=None):
        self.queue = RefreshQueue(
            max_users=max_users, interval_ms=0, max_batch=max_batch, max_wait_ms=0
        )
        self.ledger = FreshnessLedger(max_events=1_000)
        self.freshness = FreshnessHistograms()
        self.next_offset = 10
        self.gone = set()
        self.replies = replies or []  # One entry per write; ACCEPTED when used up.
        self.written = []  # (ids, next_offset) per accepted write.
        self.num_retrieved = 0
        self.wall_ms = 1_000
        self.times = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.threads = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self.loop = RefreshLoop(
            queue=self.queue,
            ledger=self.ledger,
            freshness=self.freshness,
            retrieve=self.retrieve,
            score=self.score,
            write=self.write,
            state_executor=self.threads[0],
            scorer_executor=self.threads[1],
            monotonic_ms=lambda: self.wall_ms,
            wall_ms=lambda: self.wall_ms,
            backoff_ms=1,
            max_backoff_ms=2,
            max_invalid_batches=3,
            on_batch=self.times.append,
        )

    def mark(self, *rows, partition=0):
        for row in rows:
            self.ledger.append(
                partition,
                user_rows=np.array([row], np.int32),
                offsets=np.array([self.next_offset - 1]),
                times_ms=np.array([self.wall_ms - 40]),
                actions=np.array([Action.LIKE], np.uint8),
            )
        self.loop.mark(
            DirtyUsers(
                partition=partition,
                user_rows=np.array(rows, np.int32),
                user_ids=[b"u%d" % row for row in rows],
                levels=np.full(len(rows), PASSIVE, np.int8),
            )
        )

    def retrieve(self, batch):
        self.num_retrieved += 1
        is_gone = np.array([user_id in self.gone for user_id in batch.user_ids])
        kept = [row for row, lost in zip(batch.user_rows, is_gone, strict=True) if not lost]
        work = (batch.partition, self.next_offset, kept) if kept else None
        return Retrieved(work=work, is_gone=is_gone)

    def score(self, work):
        partition, next_offset, kept = work
        size = len(kept)
        return RecommendationBatch(
            partition=partition,
            next_offset=next_offset,
            user_ids=tuple(b"u%d" % row for row in kept),
            user_rows=np.array(kept, np.int32),
            events_to_ms=np.zeros(size, np.int64),
            now_ms=np.zeros(size, np.int64),
            splits=np.zeros(size + 1, np.int64),
            item_ids=(),
            item_rows=np.empty(0, np.int32),
            scores=np.empty(0, np.float32),
            ranks=np.empty((0, len(SOURCES)), np.uint16),
            heads=np.empty((0, 0), np.float32),
            model="fusion",
            model_sequence=0,
        )

    async def write(self, batch, *, generated_at_ms):
        await self.gate.wait()
        reply = self.replies.pop(0) if self.replies else Reply.ACCEPTED
        if reply is Reply.ACCEPTED:
            self.written.append((batch.user_ids, batch.next_offset))
        return WriteReport.of([reply] * len(batch))

    def run_alone(self):
        """Run the loop until it ends by itself."""
        try:
            asyncio.run(asyncio.wait_for(self.loop.run(), 10))
        finally:
            for thread in self.threads:
                thread.shutdown()

    def run(self, test):
        """Run ``await test(self)`` while the loop runs; return what the test returns."""

        async def both():
            task = asyncio.create_task(self.loop.run())
            try:
                return await test(self)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        try:
            return asyncio.run(both())
        finally:
            for thread in self.threads:
                thread.shutdown()


def test_a_marked_user_gets_a_list_and_the_event_its_age():
    rig = Rig()

    async def test(rig):
        rig.mark(1)
        assert await rig.loop.drain(5_000)

    rig.run(test)
    assert rig.written == [((b"u1",), 10)]
    assert rig.freshness.by_action[Action.LIKE].max_ms == 40
    assert len(rig.ledger) == 0
    assert rig.loop.num_lists == 1
    assert [times.num_users for times in rig.times] == [1]


def test_an_event_newer_than_the_list_stays_unanswered():
    rig = Rig()

    async def test(rig):
        rig.mark(1)
        rig.next_offset = 9  # The copy was taken before the event's fold.
        assert await rig.loop.drain(5_000)

    rig.run(test)
    assert len(rig.ledger) == 1


def test_what_redis_did_not_take_is_written_later():
    rig = Rig(replies=[Reply.UNREACHABLE, Reply.OOM])

    async def test(rig):
        rig.mark(1, 2)
        assert await rig.loop.drain(5_000)

    rig.run(test)
    assert rig.written == [((b"u1", b"u2"), 10)]
    assert not rig.loop.is_paused
    assert len(rig.ledger) == 0


@pytest.mark.parametrize("reply", [Reply.SAME, Reply.STALE, Reply.BLOCKED])
def test_a_newer_list_in_redis_answers_as_well(reply):
    rig = Rig(replies=[reply])

    async def test(rig):
        rig.mark(1)
        assert await rig.loop.drain(5_000)

    rig.run(test)
    assert rig.written == []
    assert len(rig.ledger) == 0


def test_a_user_who_is_gone_is_forgotten():
    rig = Rig()
    rig.gone = {b"u2"}

    async def test(rig):
        rig.mark(1, 2)
        rig.mark(3, 2)
        assert await rig.loop.drain(5_000)

    rig.run(test)
    assert [ids for ids, _ in rig.written] == [(b"u1", b"u3")]
    assert len(rig.ledger) == 0
    assert rig.queue.num_known == 0


def test_a_slow_sink_stops_retrieval_and_the_queue_sheds():
    rig = Rig(max_batch=1, max_users=6)

    async def test(rig):
        rig.gate.clear()
        rig.mark(*range(20))
        assert not await rig.loop.drain(50)
        assert rig.num_retrieved <= 5  # One per stage and per hand-over.
        assert rig.queue.num_shed == 14
        rig.gate.set()
        assert await rig.loop.drain(5_000)

    rig.run(test)
    assert len(rig.written) == 6
    assert len(rig.ledger) == 14  # Shed users' events still age.


def test_scores_that_are_no_numbers_end_the_loop():
    rig = Rig(replies=[Reply.INVALID] * 3)

    rig.mark(1)
    with pytest.raises(HeadwaterError, match="finite scores"):
        rig.run_alone()
    assert rig.written == []


def test_a_bug_in_retrieval_ends_the_loop():
    rig = Rig()

    def broken(batch):
        raise ZeroDivisionError

    rig.loop._retrieve = broken

    rig.mark(1)
    with pytest.raises(ZeroDivisionError):
        rig.run_alone()


def test_a_partition_that_catches_up_is_not_refreshed():
    rig = Rig()

    async def test(rig):
        rig.queue.hold(0)
        rig.mark(1)
        rig.mark(2, partition=1)
        assert await rig.loop.drain(5_000)
        assert [ids for ids, _ in rig.written] == [(b"u2",)]
        rig.loop.release(0)
        assert await rig.loop.drain(5_000)

    rig.run(test)
    assert [ids for ids, _ in rig.written] == [(b"u2",), (b"u1",)]


def test_a_dropped_partition_takes_its_events_along():
    rig = Rig()

    async def test(rig):
        rig.queue.hold(0)
        rig.mark(1)
        rig.loop.drop(0)
        assert await rig.loop.drain(5_000)

    rig.run(test)
    assert (len(rig.ledger), rig.queue.num_known, rig.written) == (0, 0, [])


def test_what_a_batch_of_a_partitions_last_life_finds_gone_is_not_gone_from_its_next():
    #   taken: u1 ---- dropped, assigned again, u1 acts ---- the batch comes back: all gone
    rig = Rig()
    moved, back, settled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def retrieve(batch):
        rig.num_retrieved += 1
        if rig.num_retrieved > 1:
            return rig.retrieve(batch)
        rig.loop_of_test.call_soon_threadsafe(moved.set)
        asyncio.run_coroutine_threadsafe(back.wait(), rig.loop_of_test).result()
        return None  # It found the partition gone; by now it is back.

    async def test(rig):
        rig.loop_of_test = asyncio.get_running_loop()
        rig.loop._retrieve = retrieve
        rig.loop._on_batch = lambda times: settled.set()
        rig.mark(1)
        await moved.wait()
        rig.loop.drop(0)
        rig.ledger.append(
            0,
            user_rows=np.array([1], np.int32),
            offsets=np.array([rig.next_offset + 5]),
            times_ms=np.array([rig.wall_ms]),
            actions=np.array([Action.LIKE], np.uint8),
        )
        back.set()
        await asyncio.wait_for(settled.wait(), 30)
        return rig.ledger.user_rows(0).tolist()

    assert rig.run(test) == [1]
