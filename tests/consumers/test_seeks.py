"""Which seek counts for which assignment: a rebalance may overtake the one before it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState

from consumers.aiokafka_private import SlabSource, assignment_of
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
