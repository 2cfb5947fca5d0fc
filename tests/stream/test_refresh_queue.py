import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream.dirty_users import EXPLICIT, PASSIVE, DirtyUsers
from stream.refresh_queue import RefreshQueue


def users(rows, level=PASSIVE, partition=0):
    levels = [level] * len(rows) if isinstance(level, int) else level
    return DirtyUsers(
        partition=partition,
        user_rows=np.array(rows, np.int32),
        user_ids=[b"p%d-%d" % (partition, row) for row in rows],
        levels=np.array(levels, np.int8),
    )


def queue(**options):
    settings_ = {"max_users": 100, "interval_ms": 100, "max_batch": 4, "max_wait_ms": 10}
    return RefreshQueue(**{**settings_, "passive_delay_ms": 1_000, **options})


def finish(queue_, batch, now_ms, done=True, gone=False):
    size = len(batch)
    queue_.finish(batch, is_done=np.full(size, done), is_gone=np.full(size, gone), now_ms=now_ms)


def test_a_batch_waits_until_it_is_full_or_has_waited():
    q = queue()
    q.offer(users([1, 2, 3]), 0)
    assert q.take(9) is None
    assert q.next_due_ms(9) == 10
    assert q.take(10).user_rows.tolist() == [1, 2, 3]
    q.offer(users([4, 5, 6, 7, 8]), 20)
    assert q.next_due_ms(20) == 20
    batch = q.take(20)
    assert batch.user_rows.tolist() == [4, 5, 6, 7]
    assert batch.user_ids == (b"p0-4", b"p0-5", b"p0-6", b"p0-7")


def test_a_user_waits_once_however_often_dirty():
    q = queue()
    for now_ms in range(5):
        q.offer(users([1]), now_ms)
    assert len(q) == 1
    assert q.num_coalesced == 4
    assert len(q.take(10)) == 1
    assert q.take(20) is None


def test_explicit_actions_go_before_passive_watches():
    q = queue()
    q.offer(users([1, 2, 3, 4], PASSIVE), 0)
    q.offer(users([5, 6], EXPLICIT), 3)
    assert q.take(3).user_rows.tolist() == [5, 6, 1, 2]


def test_a_waiting_watcher_who_likes_becomes_urgent():
    q = queue()
    q.offer(users([1, 2, 3, 4, 5], PASSIVE), 0)
    q.offer(users([5], EXPLICIT), 1)
    assert q.take(1).user_rows.tolist() == [5, 1, 2, 3]
    assert len(q) == 1


def test_a_passive_watch_does_not_starve_behind_explicit_actions():
    q = queue(passive_delay_ms=50)
    q.offer(users([1], PASSIVE), 0)
    q.offer(users([2, 3, 4, 5], EXPLICIT), 51)
    assert q.take(51).user_rows.tolist() == [1, 2, 3, 4]


def test_a_user_is_refreshed_once_per_interval():
    """[taken at 10 ---- dirty at 50 ---- ready again at 110)."""
    q = queue()
    q.offer(users([1]), 0)
    batch = q.take(10)
    finish(q, batch, 15)
    q.offer(users([1]), 50)
    assert q.take(109) is None
    assert q.next_due_ms(60) == 110
    assert q.take(110).user_rows.tolist() == [1]


def test_a_user_dirty_while_in_flight_is_refreshed_again():
    q = queue()
    q.offer(users([1]), 0)
    batch = q.take(10)
    q.offer(users([1], EXPLICIT), 12)
    finish(q, batch, 15)
    assert q.take(109) is None
    assert q.take(110).user_rows.tolist() == [1]


def test_a_user_is_dirty_until_nothing_more_is_to_be_written():
    q = queue()
    q.offer(users([1, 2]), 0)
    assert q.num_dirty == 2
    batch = q.take(10)
    assert len(q) == 0 and q.num_dirty == 2  # Their lists are not written yet.
    q.offer(users([1], EXPLICIT), 12)
    finish(q, batch, 15)
    assert len(q) == 0 and q.num_dirty == 1  # One gets another list after the interval.
    again = q.take(110)
    assert q.num_dirty == 1
    finish(q, again, 115)
    assert q.num_dirty == 0 and q.num_known == 1


def test_a_refreshed_user_is_forgotten_after_the_interval():
    q = queue()
    q.offer(users([1]), 0)
    finish(q, q.take(10), 15)
    assert q.num_known == 1
    q.take(110)
    assert q.num_known == 0
    assert q.next_due_ms(110) is None


def test_what_was_not_written_comes_first_again():
    q = queue()
    q.offer(users([1, 2, 3, 4, 5, 6]), 0)
    batch = q.take(1)
    q.finish(batch, is_done=np.array([True, False, True, False]), now_ms=2)
    assert q.take(10).user_rows.tolist() == [2, 4, 5, 6]


def test_a_row_that_means_another_user_is_forgotten_unless_dirty():
    q = queue()
    q.offer(users([1, 2]), 0)
    batch = q.take(10)
    q.offer(
        DirtyUsers(
            partition=0,
            user_rows=np.array([2], np.int32),
            user_ids=[b"new owner"],
            levels=np.array([PASSIVE], np.int8),
        ),
        11,
    )
    finish(q, batch, 12, done=False, gone=True)
    assert q.num_known == 1
    assert q.take(21).user_ids == (b"new owner",)


def test_passive_newcomers_are_shed_first_then_passive_waiters():
    q = queue(max_users=4, max_wait_ms=0)
    q.offer(users([1, 2, 3], [PASSIVE, EXPLICIT, PASSIVE]), 0)
    assert q.offer(users([4, 5, 6], PASSIVE), 1) == 2
    assert q.offer(users([7, 8], EXPLICIT), 2) == 2
    assert q.num_shed == 4
    assert len(q) == 4
    assert q.take(2).user_rows.tolist() == [2, 7, 8, 1]


def test_explicit_users_are_shed_only_when_nobody_passive_waits():
    q = queue(max_users=2, max_wait_ms=0)
    assert q.offer(users([1, 2, 3], EXPLICIT), 0) == 1
    assert q.offer(users([4], EXPLICIT), 0) == 1
    assert q.take(0).user_rows.tolist() == [1, 2]


def test_batches_hold_one_partition_and_the_most_urgent_goes_first():
    q = queue(max_wait_ms=0)
    q.offer(users([1], PASSIVE, partition=0), 0)
    q.offer(users([1], EXPLICIT, partition=1), 5)
    first, second = q.take(5), q.take(5)
    assert [first.partition, second.partition] == [1, 0]


def test_a_dropped_partition_leaves_nothing_behind():
    q = queue(max_wait_ms=0)
    q.offer(users([1, 2, 3], partition=0), 0)
    q.offer(users([9], partition=1), 0)
    batch = q.take(0)
    q.offer(users([1], partition=0), 1)
    assert q.drop(0) == 3
    q.offer(users([5, 6], partition=0), 2)  # The same places, other users.
    finish(q, batch, 3)
    assert q.num_in_flight == 0
    assert len(q) == 3
    assert q.take(5).user_rows.tolist() == [9]
    assert q.take(5).user_rows.tolist() == [5, 6]


def test_a_held_partition_waits_and_keeps_its_users():
    q = queue(max_wait_ms=0)
    q.hold(0)
    q.offer(users([1], partition=0), 0)
    assert q.take(5) is None
    assert q.next_due_ms(5) is None
    q.release(0)
    assert q.take(5).user_rows.tolist() == [1]


def test_a_flush_takes_everybody_at_once():
    q = queue()
    q.offer(users([1]), 0)
    finish(q, q.take(10), 11)
    q.offer(users([1, 2]), 12)
    assert q.take(12, flush=True).user_rows.tolist() == [2, 1]
    assert q.take(12, flush=True) is None


def test_void_entries_stay_bounded():
    q = queue(max_users=10, max_wait_ms=0, interval_ms=0)
    for now_ms in range(1_500):
        q.offer(users([1], PASSIVE), now_ms)
        q.offer(users([1], EXPLICIT), now_ms)
        finish(q, q.take(now_ms), now_ms)
        q.take(now_ms + 1)
    assert sum(len(entries) for entries in q._lanes[0].entries) < 2_000


class QueueMachine(RuleBasedStateMachine):
    """The queue against a dictionary per user: nobody is lost, nobody is taken too often."""

    @initialize()
    def start(self):
        self.queue = queue(max_users=8, max_batch=3)
        self.now_ms = 0
        self.dirty = set()
        self.flying = []
        self.taken_ms = {}

    @rule(step=st.integers(0, 150))
    def advance(self, step):
        self.now_ms += step

    @rule(
        partition=st.integers(0, 1),
        rows=st.sets(st.integers(0, 9), max_size=6),
        level=st.sampled_from([PASSIVE, EXPLICIT]),
    )
    def offer(self, partition, rows, level):
        shed = self.queue.offer(users(sorted(rows), level, partition), self.now_ms)
        self.dirty |= {(partition, row) for row in rows}
        if shed:  # Whoever was shed is known only to the queue: ask it.
            self.dirty = {key for key in self.dirty if self._knows(key)}

    @rule(flush=st.booleans())
    def take(self, flush):
        batch = self.queue.take(self.now_ms, flush=flush)
        if flush:  # It ends every interval.
            self.taken_ms.clear()
        if batch is None:
            return
        keys = [(batch.partition, row) for row in batch.user_rows.tolist()]
        assert 0 < len(keys) <= 3
        assert len(set(keys)) == len(keys)
        for key in keys:
            assert key in self.dirty
            assert self.now_ms >= self.taken_ms.get(key, -1_000) + 100
        self.dirty -= set(keys)
        self.flying.append((batch, keys))

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def finish(self, data):
        batch, keys = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        is_done = np.array(
            data.draw(st.lists(st.booleans(), min_size=len(keys), max_size=len(keys)))
        )
        self.queue.finish(batch, is_done=is_done, now_ms=self.now_ms)
        for key, done in zip(keys, is_done, strict=True):
            if done:
                self.taken_ms[key] = batch.taken_ms
            else:
                self.dirty.add(key)

    @rule(partition=st.integers(0, 1))
    def drop(self, partition):
        self.queue.drop(partition)
        self.dirty = {key for key in self.dirty if key[0] != partition}
        self.flying = [(b, k) for b, k in self.flying if b.partition != partition]
        self.taken_ms = {key: ms for key, ms in self.taken_ms.items() if key[0] != partition}

    @invariant()
    def bounds_hold_and_nobody_is_lost(self):
        if not hasattr(self, "queue"):
            return
        assert self.queue.num_known <= 8
        assert self.queue.num_in_flight == sum(len(batch) for batch, _ in self.flying)
        assert all(self._knows(key) for key in self.dirty)
        flying = {key for _, keys in self.flying for key in keys}
        assert self.queue.num_dirty == len(self.dirty | flying)

    def _knows(self, key):
        lane = self.queue._lanes.get(key[0])
        if lane is None:
            return False
        slot = int(lane.slots_of(np.array([key[1]], np.int32))[0])
        return slot >= 0 and (
            self.queue._slots.states[slot] == 1 or int(self.queue._slots.dirty_levels[slot]) >= 0
        )


QueueMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestQueueMachine = QueueMachine.TestCase
