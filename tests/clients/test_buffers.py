"""Both buffers: never above the bound, nobody waits for ever, nothing is counted twice."""

from __future__ import annotations

import asyncio
import threading

import pytest

from headwater_client.buffers import AsyncByteBuffer, ByteBuffer
from headwater_client.errors import BufferFull, InvalidAddress
from headwater_client.records import MAX_RECORD_BYTES as ROOM


def test_a_bound_below_the_largest_record_is_refused() -> None:
    for kind in (ByteBuffer, AsyncByteBuffer):
        with pytest.raises(InvalidAddress, match="max_buffered_bytes"):
            kind(ROOM - 1)


def test_a_thread_waits_for_room_and_not_longer() -> None:
    buffer = ByteBuffer(ROOM)
    buffer.put(ROOM, 0)
    with pytest.raises(BufferFull, match="within 1 ms"):
        buffer.put(1, 1)
    assert not buffer.wait_empty(1)
    waiter = threading.Thread(target=buffer.put, args=(ROOM, 60_000))
    waiter.start()
    buffer.take(ROOM)
    waiter.join(60)
    assert not waiter.is_alive() and not buffer.wait_empty(0)
    buffer.take(ROOM)
    assert buffer.wait_empty(0)


def test_tasks_enter_in_the_order_in_which_they_came() -> None:
    async def run() -> list[int]:
        buffer, entered = AsyncByteBuffer(ROOM), []

        async def enter(number: int, num_bytes: int) -> None:
            await buffer.put(num_bytes, 60_000)
            entered.append(number)

        await buffer.put(ROOM, 0)
        tasks = [asyncio.create_task(enter(0, ROOM)), asyncio.create_task(enter(1, 1))]
        await asyncio.sleep(0)
        buffer.take(1)  # Room for the second one, but the first one came first.
        await asyncio.sleep(0)
        assert entered == []
        buffer.take(ROOM - 1)
        await tasks[0]
        buffer.take(ROOM)
        await tasks[1]
        assert not await buffer.wait_empty(0)
        buffer.take(1)
        assert await buffer.wait_empty(1_000)
        return entered

    assert asyncio.run(run()) == [0, 1]


def test_who_stops_waiting_leaves_no_trace() -> None:
    async def run() -> None:
        buffer = AsyncByteBuffer(ROOM)
        await buffer.put(ROOM, 0)
        with pytest.raises(BufferFull, match="within 1 ms"):
            await buffer.put(1, 1)
        late = asyncio.create_task(buffer.put(ROOM, 60_000))
        behind = asyncio.create_task(buffer.put(1, 60_000))
        await asyncio.sleep(0)
        # Room and the end of the wait in one instant: what was given is given back.
        buffer.take(ROOM)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        await behind
        buffer.take(1)
        assert await buffer.wait_empty(1_000)

    asyncio.run(run())
