"""What waits is taken together, in order per partition, and never more than its bound."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.inbox import Inbox
from stream.slab import Slab


def slab(partition: int, begin: int, count: int = 1) -> Slab:
    values = [b"%d/%d" % (partition, begin + index) for index in range(count)]
    return Slab.from_values(values, partition=partition, first_offset=begin)


def values_of(slabs: list[Slab]) -> list[bytes | None]:
    return [each.value(index) for each in slabs for index in range(len(each))]


def test_waiting_slabs_of_a_partition_are_joined() -> None:
    async def scenario() -> list[Slab]:
        inbox = Inbox(max_bytes=1_000)
        for each in (slab(0, 0), slab(1, 5), slab(0, 1, 3), slab(1, 6)):
            await inbox.put(each)
        return await inbox.take()

    taken = asyncio.run(scenario())
    assert [(each.partition, each.begin, each.end) for each in taken] == [(0, 0, 4), (1, 5, 7)]
    assert values_of(taken) == [b"0/0", b"0/1", b"0/2", b"0/3", b"1/5", b"1/6"]


def test_slabs_with_a_gap_or_an_overlap_stay_apart_and_in_order() -> None:
    async def scenario() -> list[Slab]:
        inbox = Inbox(max_bytes=1_000)
        for each in (slab(0, 0, 2), slab(0, 4), slab(0, 1, 4)):
            await inbox.put(each)
        return await inbox.take()

    taken = asyncio.run(scenario())
    assert [(each.begin, each.end) for each in taken] == [(0, 2), (4, 5), (1, 5)]


def test_forgotten_partition_leaves_the_others() -> None:
    async def scenario() -> list[Slab]:
        inbox = Inbox(max_bytes=1_000)
        await inbox.put(slab(0, 0))
        await inbox.put(slab(1, 0))
        inbox.forget(0)
        assert inbox.num_bytes == slab(1, 0).buffer.nbytes
        return await inbox.take()

    assert [each.partition for each in asyncio.run(scenario())] == [1]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    max_bytes=st.integers(1, 60),
    turns=st.integers(1, 5),
)
def test_everything_arrives_in_order_and_the_bound_holds(
    sizes: list[int], max_bytes: int, turns: int
) -> None:
    async def scenario() -> None:
        inbox = Inbox(max_bytes=max_bytes)
        begins = [sum(sizes[:index]) for index in range(len(sizes))]
        all_slabs = [slab(0, begin, size) for begin, size in zip(begins, sizes, strict=True)]

        async def put_all() -> None:
            for each in all_slabs:
                await inbox.put(each)
                largest = max(each.buffer.nbytes for each in all_slabs)
                assert inbox.num_bytes <= max(max_bytes, largest)

        putting = asyncio.create_task(put_all())
        seen: list[bytes | None] = []
        while len(seen) < sum(sizes):
            for _ in range(turns):
                await asyncio.sleep(0)
            seen += values_of(await inbox.take())
        await putting
        assert seen == values_of(all_slabs)

    asyncio.run(asyncio.wait_for(scenario(), 30))
