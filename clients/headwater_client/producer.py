"""EventProducer: sends events to Headwater from ordinary, threaded programs (kafka-python).

At least once and in order per user; the ``event_id`` makes that once. Absent on purpose: fire and
forget. A record is confirmed by every in-sync replica, or its failure is raised somewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from headwater_client.buffers import ByteBuffer
from headwater_client.deliveries import Delivery, Failures, Outcome, Receipt
from headwater_client.errors import (
    DeliveryFailed,
    InvalidAddress,
    KafkaUnreachable,
    ProducerClosed,
)
from headwater_client.event_methods import EventMethods, wall_ms
from headwater_client.kafka_errors import unreachable
from headwater_client.kafka_options import NO_OPTIONS, check_numbers, joined, servers_of
from headwater_client.kafka_python import KafkaError, KafkaProducer, Partitioner, connected
from headwater_client.partitioning import partition_of
from headwater_client.records import OutgoingRecord
from headwater_client.topics import KnownTopics


class _UserPartitioner(Partitioner):
    def partition(
        self,
        topic: str,
        key: object,
        serialized_key: bytes,
        value: object,
        serialized_value: object,
        cluster: Any,
    ) -> int:
        return partition_of(serialized_key, cluster.partitions_for_topic(topic))


def _options(
    *, linger_ms: int, delivery_timeout_ms: int, buffer_timeout_ms: int, connect_timeout_ms: int
) -> dict[str, Any]:
    """Return what our promises rest on, as options of kafka-python's producer."""
    return {
        "bootstrap_timeout_ms": connect_timeout_ms,
        "acks": "all",
        # A retry may write a record twice; its event_id makes that once. One request at a
        # time keeps a user's events in order.
        "enable_idempotence": False,
        "max_in_flight_requests_per_connection": 1,
        "linger_ms": linger_ms,
        "delivery_timeout_ms": delivery_timeout_ms,
        "request_timeout_ms": max(1, (delivery_timeout_ms - linger_ms) // 2),
        "max_block_ms": buffer_timeout_ms,
        # Not half a minute: what is sent after an outage has its own time limit.
        "reconnect_backoff_max_ms": 1_000,
        # A broker that makes topics would make this one with too few partitions.
        "allow_auto_create_topics": False,
        "partitioner": _UserPartitioner(),
    }


class EventProducer(EventMethods[Delivery]):
    """Sends events and items to Kafka; every call gives a :class:`Delivery` back.

    Safe to use from any number of threads; make one and keep it. A context manager: leaving it
    waits for every confirmation, and raises what failed and nobody looked at.

    Args:
        kafka: Bootstrap servers, ``host:port``, several with commas.
        topic: The topic of events.
        items_topic: The topic of items.
        linger_ms: How long a record may wait for others to travel with.
        delivery_timeout_ms: Bound of Kafka's confirmation; after it the delivery fails.
        max_buffered_bytes: Bound of what waits for Kafka; who finds no room waits too.
        buffer_timeout_ms: How long to wait for room, and for Kafka to know the topic at its first
            record; where it says that there is none, that is raised after a second.
        connect_timeout_ms: Bound of connecting, here.
        client_options: Further options of ``kafka.KafkaProducer``: security, ``client_id``, ...
        now_ms: Clock of events without ``ts``, and of what lies in the future.

    Raises:
        KafkaUnreachable: Kafka did not answer within ``connect_timeout_ms``.
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
        self._is_closed = True
        check_numbers(
            linger_ms=linger_ms,
            delivery_timeout_ms=delivery_timeout_ms,
            max_buffered_bytes=max_buffered_bytes,
            buffer_timeout_ms=buffer_timeout_ms,
            connect_timeout_ms=connect_timeout_ms,
        )
        self._address = kafka
        self._buffer_timeout_ms = buffer_timeout_ms
        # A request in flight when the bound passes is waited for: half of the bound once more.
        self._drain_timeout_ms = 2 * delivery_timeout_ms
        self._buffer = ByteBuffer(max_buffered_bytes)
        self._failures = Failures()
        ours = _options(
            linger_ms=linger_ms,
            delivery_timeout_ms=delivery_timeout_ms,
            buffer_timeout_ms=buffer_timeout_ms,
            connect_timeout_ms=connect_timeout_ms,
        )
        ours["bootstrap_servers"] = servers_of(kafka)
        options = joined(ours, client_options)
        self._kafka = self._connect(options, connect_timeout_ms)
        self._topics = KnownTopics(kafka, options, timeout_ms=buffer_timeout_ms)
        self._is_closed = False

    def _connect(self, options: dict[str, Any], timeout_ms: float) -> KafkaProducer:
        try:
            return connected(KafkaProducer, options)
        except KafkaError as error:
            act = f"answer within {timeout_ms:g} ms"
            raise unreachable(self._address, act=act, error=error) from error
        except (AssertionError, ValueError) as error:
            message = f"expected Kafka's address and options to work, they do not: {error}"
            raise InvalidAddress(message) from error

    def flush(self, timeout_ms: float | None = None) -> None:
        """Wait until Kafka has confirmed, or refused, all that was sent before.

        Args:
            timeout_ms: Bound; None takes that after which every delivery has succeeded or failed.

        Raises:
            DeliveryFailed: Records failed, and nobody has seen it yet.
            KafkaUnreachable: It is still open what becomes of some.
        """
        bound_ms = self._drain_timeout_ms if timeout_ms is None else timeout_ms
        is_drained = self._buffer.wait_empty(bound_ms)
        self._failures.report()
        if not is_drained:
            raise unreachable(self._address, act=f"confirm all records within {bound_ms:g} ms")

    def close(self) -> None:
        """Flush and disconnect; safe to call twice.

        Raises:
            DeliveryFailed: Records failed, and nobody has seen it yet.
            KafkaUnreachable: It is still open what becomes of some.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self.flush()
        finally:
            try:
                self._kafka.close(timeout=self._drain_timeout_ms / 1_000)
            except KafkaError as error:
                raise unreachable(
                    self._address, act="let the producer disconnect", error=error
                ) from error

    def _dispatch(self, record: OutgoingRecord) -> Delivery:
        if self._is_closed:
            message = "expected an open producer, it is closed: make one and keep it open"
            raise ProducerClosed(message)
        self._topics.check(record.topic)
        self._buffer.put(record.num_bytes, self._buffer_timeout_ms)
        outcome = Outcome(record.record_id)
        delivery = Delivery(outcome)
        try:
            future = self._kafka.send(record.topic, value=record.value, key=record.key)
        except KafkaError as error:
            self._buffer.take(record.num_bytes)
            act = f"know the topic {record.topic!r} within {self._buffer_timeout_ms:g} ms"
            raise unreachable(self._address, act=act, error=error) from error
        except BaseException:
            self._buffer.take(record.num_bytes)
            raise

        # On the producer's own thread. The buffer comes last: who waits for it to be empty finds
        # every delivery done.
        def on_sent(metadata: Any) -> None:
            receipt = Receipt(
                record_id=record.record_id,
                topic=metadata.topic,
                partition=metadata.partition,
                offset=metadata.offset,
            )
            delivery.set_result(receipt)
            self._buffer.take(record.num_bytes)

        def on_failed(error: BaseException) -> None:
            outcome.error = error
            self._failures.add(outcome)
            delivery.set_exception(outcome.failure())
            self._buffer.take(record.num_bytes)

        future.add_callback(on_sent)
        future.add_errback(on_failed)
        return delivery

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except (DeliveryFailed, KafkaUnreachable) as failure:
            if error is None:
                raise
            # What broke the block comes first; the rest goes with it.
            error.add_note(str(failure))

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        if not getattr(self, "_is_closed", True):
            message = "an EventProducer was not closed: records that waited may be lost"
            warn(message, ResourceWarning, source=self, stacklevel=2)
