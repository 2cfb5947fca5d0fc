"""A bound on what waits for Kafka, in bytes: for threads, and for an event loop.

Neither Kafka library has one (kafka-python 3 buffers without end, aiokafka bounds single batches).
Who finds no room waits, which slows the caller to what Kafka takes; not for ever.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from headwater_client.errors import BufferFull, InvalidAddress
from headwater_client.records import MAX_RECORD_BYTES


def _full(max_bytes: int, timeout_ms: float) -> BufferFull:
    return BufferFull(
        f"expected room in the buffer of {max_bytes:,} bytes within {timeout_ms:g} ms, there was "
        f"none: Kafka is away or slower than the events; this record was not sent"
    )


def _checked(max_bytes: int) -> int:
    if max_bytes < MAX_RECORD_BYTES:
        message = (
            f"max_buffered_bytes: expected at least {MAX_RECORD_BYTES:,}, the size of the largest "
            f"item, got {max_bytes:,}"
        )
        raise InvalidAddress(message)
    return max_bytes


class ByteBuffer:
    """Counts bytes that threads put in and take out.

    Args:
        max_bytes: The bound.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = _checked(max_bytes)
        self._used = 0
        self._changed = threading.Condition()

    def put(self, num_bytes: int, timeout_ms: float) -> None:
        """Wait for room and take it.

        Raises:
            BufferFull: There was none within the bound.
        """
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._used + num_bytes <= self._max_bytes, timeout_ms / 1_000
            ):
                raise _full(self._max_bytes, timeout_ms)
            self._used += num_bytes

    def take(self, num_bytes: int) -> None:
        """Give room back."""
        with self._changed:
            self._used -= num_bytes
            self._changed.notify_all()

    def wait_empty(self, timeout_ms: float) -> bool:
        """Wait until nothing is inside; tell whether that came within the bound."""
        with self._changed:
            return self._changed.wait_for(lambda: self._used == 0, timeout_ms / 1_000)


class AsyncByteBuffer:
    """Counts bytes that tasks of one event loop put in and take out; first come, first served.

    Args:
        max_bytes: The bound.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = _checked(max_bytes)
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    async def put(self, num_bytes: int, timeout_ms: float) -> None:
        """Wait for room and take it.

        Raises:
            BufferFull: There was none within the bound.
        """
        if not self._waiting and self._used + num_bytes <= self._max_bytes:
            self._enter(num_bytes)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((num_bytes, turn))
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # Room came in the same instant as the end of the wait.
                self.take(num_bytes)
            turn.cancel()
            self._admit()
            if isinstance(error, TimeoutError):
                raise _full(self._max_bytes, timeout_ms) from None
            raise

    def take(self, num_bytes: int) -> None:
        """Give room back."""
        self._used -= num_bytes
        self._admit()
        if self._used == 0:
            self._is_empty.set()

    async def wait_empty(self, timeout_ms: float) -> bool:
        """Wait until nothing is inside; tell whether that came within the bound."""
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                await self._is_empty.wait()
        except TimeoutError:
            return False
        return True

    def _enter(self, num_bytes: int) -> None:
        self._used += num_bytes
        self._is_empty.clear()

    def _admit(self) -> None:
        while self._waiting:
            num_bytes, turn = self._waiting[0]
            if not turn.done():
                if self._used + num_bytes > self._max_bytes:
                    return
                self._enter(num_bytes)
                turn.set_result(None)
            self._waiting.popleft()
