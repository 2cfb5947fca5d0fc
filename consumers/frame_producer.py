"""FrameProducer: item-delta frames to their partitions, in order, without a hole.

A receiver ends its worker when a frame starts above its watermark (DESIGN law 3), so a frame must
never overtake one before it, not even when that one fails. Each destination therefore has an
outbox and one batch in flight: the next batch leaves only after the one before was acknowledged.
aiokafka keeps one batch per partition in flight anyhow, so order costs no throughput. A small batch
lingers: no list waits for frames, and each batch is a request, a fetch and a fold. After a
failure nothing more is sent to anyone and every call raises: the worker ends and replays from its
snapshot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from aiokafka.errors import KafkaError

from consumers.crash_points import crash_point
from consumers.frame_origins import source_headers
from consumers.producer import ReliableProducer
from stream.errors import HeadwaterError, ServerUnreachable

_OUTAGES = (KafkaError, TimeoutError)


@dataclass(slots=True)
class _Sent:
    """One call of ``send``: done when none of its frames is open."""

    to: int
    num_open: int


@dataclass(slots=True)
class _Frame:
    value: bytes
    source_partition: int
    sent: _Sent


class FrameProducer:
    """Sends frames and knows up to which source offset all of them are durable.

    Args:
        producer: Idempotent producer of its own (not shared: it forms its own batches); started
            by its owner.
        topic: Topic of item deltas.
        linger_ms: A batch waits so long for more frames, unless ``linger_bytes`` wait already.
        linger_bytes: See ``linger_ms``.
        max_pending_bytes: Bound of all outboxes together; :meth:`send` waits for room.
        delivery_timeout_ms: Bound for one batch.
        source_id: Returns the id of the topic that frames are made from, where it has one.
    """

    def __init__(
        self,
        producer: ReliableProducer,
        *,
        topic: str,
        linger_ms: int = 50,
        linger_bytes: int = 16_384,
        max_pending_bytes: int = 32 * 1024 * 1024,
        delivery_timeout_ms: int = 30_000,
        source_id: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._source_id = source_id
        self._producer = producer
        self._topic = topic
        self._linger_s = linger_ms / 1_000
        self._linger_bytes = linger_bytes
        self._max_pending_bytes = max_pending_bytes
        self._timeout_s = delivery_timeout_ms / 1_000
        self._outboxes: dict[int, deque[_Frame]] = {}
        self._senders: dict[int, asyncio.Task[None]] = {}
        self._open: dict[int, deque[_Sent]] = {}
        self._acknowledged: dict[int, int] = {}
        self._pending_bytes = 0
        self._failure: Exception | None = None
        self._moved = asyncio.Event()
        self.num_frames = 0
        self.num_bytes = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes handed over and not acknowledged."""
        return self._pending_bytes

    @property
    def failure(self) -> Exception | None:
        """Why nothing is sent any more; None while all is well."""
        return self._failure

    def begin(self, source_partition: int, offset: int) -> None:
        """Start a source partition at its restored next offset: all below is durable.

        Frames that the partition had open before (another life of it) no longer count for it.
        """
        self._open[source_partition] = deque()
        self._acknowledged[source_partition] = offset
        self._stir()

    def acknowledged(self, source_partition: int) -> int:
        """Return the offset below which every derived row is acknowledged; 0 before any."""
        return self._acknowledged.get(source_partition, 0)

    async def send(
        self, frames: Sequence[tuple[int, bytes]], *, source_partition: int, to: int
    ) -> None:
        """Queue the frames of one fold; returns before they are acknowledged.

        Args:
            frames: (destination partition, encoded frame), in order per destination.
            source_partition: Partition of ``interactions`` that the rows came from.
            to: The frames cover source offsets below this; also given where there are no frames.

        Raises:
            ServerUnreachable: A frame, now or earlier, was not acknowledged within the bound.
        """
        self._check()
        sent = _Sent(to=to, num_open=len(frames))
        self._open.setdefault(source_partition, deque()).append(sent)
        for destination, value in frames:
            while (
                self._pending_bytes and self._pending_bytes + len(value) > self._max_pending_bytes
            ):
                await self._wait()
            self._pending_bytes += len(value)
            self._outboxes.setdefault(destination, deque()).append(
                _Frame(value, source_partition, sent)
            )
            if destination not in self._senders:
                self._senders[destination] = asyncio.create_task(
                    self._drain(destination), name=f"frames-{destination}"
                )
        self._advance(source_partition)

    async def wait_acknowledged(self, source_partition: int, offset: int) -> None:
        """Wait until every row derived below ``offset`` is acknowledged (before a snapshot).

        Raises:
            ServerUnreachable: A frame was not acknowledged within the bound.
        """
        self._check()
        while self.acknowledged(source_partition) < offset:
            await self._wait()

    def give_up(self, failure: Exception) -> None:
        """Tell everybody who waits that no more rows come: whoever sends them has failed."""
        self._failure = self._failure or failure
        self._stir()

    async def watch(self) -> None:
        """Wait for a failure and raise it: for a task whose end is the worker's end."""
        while True:
            await self._wait()

    async def stop(self) -> None:
        """Give up what is queued; the owner stops the producer afterwards."""
        senders = list(self._senders.values())
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)

    async def _drain(self, destination: int) -> None:
        """Send one destination's outbox, a batch at a time, until it is empty."""
        outbox = self._outboxes[destination]
        try:
            while outbox and self._failure is None:
                if sum(len(frame.value) for frame in islice(outbox, 64)) < self._linger_bytes:
                    await asyncio.sleep(self._linger_s)
                await self._send_batch(destination, outbox)
        except Exception as error:
            # A task of its own would die unheard: whatever it was, every caller must hear it.
            kind = ServerUnreachable if isinstance(error, _OUTAGES) else HeadwaterError
            self._failure = kind(
                f"expected {self._topic}/{destination} to acknowledge frames within "
                f"{self._timeout_s:g} s, got {type(error).__name__}: {error}; the worker ends and "
                "goes on from its snapshot"
            )
            self._failure.__cause__ = error
        finally:
            del self._senders[destination]
            self._stir()

    async def _send_batch(self, destination: int, outbox: deque[_Frame]) -> None:
        kafka = self._producer.aiokafka
        batch = kafka.create_batch()
        frames: list[_Frame] = []
        headers = source_headers(self._source_id())
        while outbox:
            value = outbox[0].value
            if batch.append(key=None, value=value, timestamp=None, headers=headers) is None:
                break
            frames.append(outbox.popleft())
        if not frames:
            size = len(outbox[0].value)
            msg = f"expected a frame that fits a record batch, got {size} bytes: lower max_bytes"
            self._failure = HeadwaterError(msg)
            return
        async with asyncio.timeout(self._timeout_s):
            future = await kafka.send_batch(batch, self._topic, partition=destination)
            await future
        crash_point("after-acknowledged")
        for frame in frames:
            frame.sent.num_open -= 1
            self._pending_bytes -= len(frame.value)
            self.num_bytes += len(frame.value)
        self.num_frames += len(frames)
        for source_partition in {frame.source_partition for frame in frames}:
            self._advance(source_partition)
        self._stir()

    def _advance(self, source_partition: int) -> None:
        """Raise a source's acknowledged offset over every call whose frames are all through."""
        calls = self._open.get(source_partition)
        while calls and not calls[0].num_open:
            self._acknowledged[source_partition] = calls.popleft().to
            self._stir()

    def _stir(self) -> None:
        """Wake everybody who waits for room or for an acknowledgement."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def _wait(self) -> None:
        await self._moved.wait()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
