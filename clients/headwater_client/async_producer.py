"""AsyncEventProducer: sends events to Headwater from asyncio programs (aiokafka).

The same promise as :class:`~headwater_client.producer.EventProducer`: at least once and in order
per user, and the ``event_id`` makes that once. Absent on purpose: fire and forget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from headwater_client.async_topics import AsyncKnownTopics
from headwater_client.buffers import AsyncByteBuffer
from headwater_client.deliveries import Failures, Outcome, Receipt
from headwater_client.errors import (
    DeliveryFailed,
    InvalidAddress,
    KafkaUnreachable,
    ProducerClosed,
    WrongEventLoop,
)
from headwater_client.event_methods import EventMethods, wall_ms
from headwater_client.kafka_errors import unreachable
from headwater_client.kafka_options import NO_OPTIONS, check_numbers, joined, servers_of
from headwater_client.partitioning import partition_of
from headwater_client.records import OutgoingRecord


def _partition(key: bytes, partitions: list[int], available: list[int]) -> int:
    return partition_of(key, partitions)


class AsyncEventProducer(EventMethods[Coroutine[Any, Any, Receipt]]):
    """Sends events and items to Kafka; ``await producer.like(...)`` returns once Kafka has it.

    Used from one event loop, by any number of tasks; make one and keep it. To send many at once,
    gather the calls: they travel together. An async context manager: leaving it waits for every
    confirmation, and raises what failed and nobody looked at. A call that is cancelled while the
    record is on its way does not take it back.

    Args:
        kafka: Bootstrap servers, ``host:port``, several with commas.
        topic: The topic of events.
        items_topic: The topic of items.
        linger_ms: How long a record may wait for others to travel with.
        delivery_timeout_ms: Bound of Kafka's confirmation; after it the call fails.
        max_buffered_bytes: Bound of what waits for Kafka; who finds no room waits too.
        buffer_timeout_ms: How long to wait for room, and for Kafka to know the topic at its first
            record; where it says that there is none, that is raised after a second.
        connect_timeout_ms: Bound of :meth:`start`.
        client_options: Further options of ``AIOKafkaProducer``: security, ``client_id``, ...
        now_ms: Clock of events without ``ts``, and of what lies in the future.

    Raises:
        InvalidAddress: An argument cannot work.
    """

    def __init__(
        self,
        kafka: str,
        *,
        topic: str = "interactions",
        items_topic: str = "items",
        linger_ms: int = 5,
        delivery_timeout_ms: int = 30_000,
        max_buffered_bytes: int = 64 * 1024 * 1024,
        buffer_timeout_ms: int = 10_000,
        connect_timeout_ms: int = 10_000,
        client_options: Mapping[str, Any] = NO_OPTIONS,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        super().__init__(topic=topic, items_topic=items_topic, now_ms=now_ms)
        check_numbers(
            linger_ms=linger_ms,
            delivery_timeout_ms=delivery_timeout_ms,
            max_buffered_bytes=max_buffered_bytes,
            buffer_timeout_ms=buffer_timeout_ms,
            connect_timeout_ms=connect_timeout_ms,
        )
        self._address = kafka
        self._buffer_timeout_ms = buffer_timeout_ms
        self._connect_timeout_ms = connect_timeout_ms
        self._drain_timeout_ms = 2 * delivery_timeout_ms
        self._buffer = AsyncByteBuffer(max_buffered_bytes)
        self._topics = AsyncKnownTopics(kafka, timeout_ms=buffer_timeout_ms)
        self._failures = Failures()
        options: dict[str, Any] = {
            "bootstrap_servers": servers_of(kafka),
            "acks": "all",
            # An idempotent aiokafka producer retries for ever; this one ends within the bound. A
            # retry may write a record twice; its event_id makes that once. aiokafka sends one
            # request per partition at a time, which keeps a user's events in order.
            "enable_idempotence": False,
            "linger_ms": linger_ms,
            # A batch expires after this time, a request in flight takes as long once more.
            "request_timeout_ms": max(1, delivery_timeout_ms // 2),
            "max_batch_size": 256 * 1024,
            "partitioner": _partition,
        }
        self._options = joined(options, client_options)
        self._kafka: AIOKafkaProducer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> Self:
        """Connect, unless that is done; leaving ``async with`` undoes it.

        Raises:
            KafkaUnreachable: Kafka did not answer within ``connect_timeout_ms``.
            InvalidAddress: An argument cannot work.
        """
        if self._kafka is not None:
            self._check_loop()
            return self
        try:
            producer = AIOKafkaProducer(**self._options)
        except (TypeError, ValueError) as error:
            message = f"expected Kafka's address and options to work, they do not: {error}"
            raise InvalidAddress(message) from error
        try:
            async with asyncio.timeout(self._connect_timeout_ms / 1_000):
                await producer.start()
        except (KafkaError, TimeoutError) as error:
            await producer.stop()
            raise unreachable(
                self._address, act=f"answer within {self._connect_timeout_ms:g} ms", error=error
            ) from error
        except BaseException:  # Cancelled: nobody else could close it.
            await producer.stop()
            raise
        self._kafka, self._loop = producer, asyncio.get_running_loop()
        return self

    def _check_loop(self) -> None:
        """Refuse to wait in an event loop for what happens in another one, perhaps never."""
        if self._kafka is not None and self._loop is not asyncio.get_running_loop():
            message = (
                "expected the event loop that the producer was started in, got another one: make "
                "a producer in each, and close it there"
            )
            raise WrongEventLoop(message)

    async def flush(self, timeout_ms: float | None = None) -> None:
        """Wait until Kafka has confirmed, or refused, all that was sent before.

        Args:
            timeout_ms: Bound; None takes that after which every call has succeeded or failed.

        Raises:
            DeliveryFailed: Records failed, and nobody has seen it yet.
            KafkaUnreachable: It is still open what becomes of some.
        """
        self._check_loop()
        bound_ms = self._drain_timeout_ms if timeout_ms is None else timeout_ms
        is_drained = await self._buffer.wait_empty(bound_ms)
        self._failures.report()
        if not is_drained:
            raise unreachable(self._address, act=f"confirm all records within {bound_ms:g} ms")

    async def close(self) -> None:
        """Flush and disconnect; safe to call twice.

        Raises:
            DeliveryFailed: Records failed, and nobody has seen it yet.
            KafkaUnreachable: It is still open what becomes of some.
        """
        self._check_loop()
        producer, self._kafka = self._kafka, None
        if producer is None:
            return
        try:
            await self.flush()
        finally:
            self._topics.close()
            try:
                async with asyncio.timeout(self._drain_timeout_ms / 1_000):
                    await producer.stop()
            except TimeoutError as error:
                raise unreachable(
                    self._address, act="let the producer disconnect", error=error
                ) from error

    async def _dispatch(self, record: OutgoingRecord) -> Receipt:
        if self._kafka is None:
            message = (
                "expected a started producer, it is not started or closed: use `async with "
                "AsyncEventProducer(...)`, or await start()"
            )
            raise ProducerClosed(message)
        self._check_loop()
        await self._topics.check(self._kafka, record.topic)
        await self._buffer.put(record.num_bytes, self._buffer_timeout_ms)
        outcome = Outcome(record.record_id)
        try:
            # The wait for room may have seen the producer close.
            producer = self._kafka
            if producer is None:
                message = "expected an open producer, it was closed while this record waited"
                raise ProducerClosed(message)
            future = await producer.send(record.topic, value=record.value, key=record.key)
        except KafkaError as error:
            self._buffer.take(record.num_bytes)
            raise unreachable(
                self._address, act=f"take records of {record.topic!r}", error=error
            ) from error
        except BaseException:
            self._buffer.take(record.num_bytes)
            raise

        def on_done(done: asyncio.Future[Any]) -> None:
            outcome.error = asyncio.CancelledError() if done.cancelled() else done.exception()
            if outcome.error is not None:
                self._failures.add(outcome)
            self._buffer.take(record.num_bytes)

        future.add_done_callback(on_done)
        outcome.is_seen = True
        try:
            # Shielded: who stops waiting does not take the record back.
            metadata = await asyncio.shield(future)
        except KafkaError as error:
            outcome.error = error
            raise outcome.failure() from error
        except asyncio.CancelledError:
            outcome.is_seen = False
            raise
        return Receipt(
            record_id=record.record_id,
            topic=metadata.topic,
            partition=metadata.partition,
            offset=metadata.offset,
        )

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        except (DeliveryFailed, KafkaUnreachable) as failure:
            if error is None:
                raise
            # What broke the block comes first; the rest goes with it.
            error.add_note(str(failure))
