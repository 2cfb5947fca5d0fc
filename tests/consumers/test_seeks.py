"""Which seek counts for which assignment: a rebalance may overtake the one before it."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import IllegalGenerationError
from faust.types import TP

from consumers.aiokafka_private import SlabSource, assignment_of, read_late_failures
from consumers.faust_private import SlabThread
from consumers.records import RecordsWalk
from tests.consumers.batches import Record, record_batch


def test_a_seek_of_an_earlier_assignment_does_not_count_for_the_next() -> None:
    """A late seek, then an assignment that begins at the committed offset: not the state's."""
    source = SlabSource(topics={"t"}, walk=RecordsWalk(max_batch_bytes=1 << 16))
    tp, assignments = TopicPartition("t", 0), [object(), object()]
    source.assignment = lambda: assignments[0]
    source.sought({tp: 0})
    data = record_batch([Record(delta=0)])
    del assignments[0]
    records = source.records(tp, data, None, 0)
    assert list(records) == [] and records.next_fetch_offset == 0
    source.sought({tp: 0})
    assert len(list(source.records(tp, data, None, 0))) == 1


def test_every_assignment_is_an_object_of_its_own() -> None:
    async def assign_twice() -> list[object]:
        state = SubscriptionState()
        consumer = SimpleNamespace(_subscription=state)
        assert assignment_of(consumer) is None
        state.subscribe({"t"})
        seen = []
        for _ in range(2):
            state.begin_reassignment()
            assert assignment_of(consumer) is None, "nothing is assigned between two assignments"
            state.assign_from_subscribed({TopicPartition("t", 0)})
            seen.append(assignment_of(consumer))
        return seen

    first, second = asyncio.run(assign_twice())
    assert first is not second and None not in (first, second)


@pytest.mark.parametrize("is_moved", [True, False])
def test_a_slow_seek_to_a_state_that_was_given_up_leaves_the_newer_one_alone(
    is_moved: bool,
) -> None:
    """One at 820 waits for the broker while the state is loaded again at 799, and sought there."""
    tp, sought, at, state_of = TopicPartition("t", 0), list[Any](), list[int](), [0]

    async def play() -> None:
        state, is_asked, is_slow = SubscriptionState(), asyncio.Event(), asyncio.Event()
        state.subscribe({"t"})
        state.assign_from_subscribed({tp})

        async def beginnings(asked: list[TopicPartition]) -> dict[TopicPartition, int]:
            return dict.fromkeys(asked, 0)

        async def ends(asked: list[TopicPartition]) -> dict[TopicPartition, int]:
            if not is_asked.is_set():
                is_asked.set()
                await is_slow.wait()
            return dict.fromkeys(asked, 1_000)

        consumer = SimpleNamespace(
            _subscription=state,
            assignment=lambda: {tp},
            beginning_offsets=beginnings,
            end_offsets=ends,
            seek=lambda _, offset: at.append(offset),
        )
        thread = SimpleNamespace(
            _ensure_consumer=lambda: consumer,
            consumer=SimpleNamespace(
                check_seek=lambda *_: None, state_assignment=lambda: state_of[0]
            ),
            source=SimpleNamespace(sought=sought.append),
        )
        late = asyncio.create_task(SlabThread._seek(cast(Any, thread), {TP("t", 0): 820}, 0))
        await is_asked.wait()
        if is_moved:
            state_of[0] += 2  # Released, and restored.
            newer = await SlabThread._seek(cast(Any, thread), {TP("t", 0): 799}, 2)
            assert newer == {TP("t", 0): 799}
        is_slow.set()
        assert await late == ({} if is_moved else {TP("t", 0): 820})

    asyncio.run(play())
    wanted = 799 if is_moved else 820
    assert at == [wanted] and sought == [{tp: wanted}]


def test_a_commit_that_fails_after_nobody_waits_for_it_says_nothing() -> None:
    said: list[object] = []

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: said.append(told))
        goes_on, ended = asyncio.Event(), asyncio.Event()

        async def do_commit(assignment: object, offsets: object) -> None:
            await goes_on.wait()
            ended.set()
            raise IllegalGenerationError

        coordinator = SimpleNamespace(_do_commit_offsets=do_commit)
        read_late_failures(cast(Any, SimpleNamespace(_coordinator=coordinator)))

        async def commit() -> None:  # As aiokafka does.
            await asyncio.shield(coordinator._do_commit_offsets(None, {}))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(commit(), 0.01)
        goes_on.set()
        await ended.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        with pytest.raises(IllegalGenerationError):
            await commit()

    asyncio.run(play())
    assert said == []
