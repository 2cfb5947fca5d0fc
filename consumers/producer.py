"""ReliableProducer: one idempotent Kafka producer whose sends are awaited and bounded.

``enable_idempotence`` and ``acks=all`` always: a retry inside aiokafka cannot duplicate or reorder.
An idempotent aiokafka producer retries for ever; the bound here ends that, and the worker with it
(DESIGN law 9). Absent on purpose: fire and forget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from consumers.aiokafka_private import abort_producer
from consumers.security import NO_OPTIONS
from stream.errors import ServerUnreachable

# Below the brokers' default message.max.bytes (1,048,588), with room for a batch's header.
MAX_BATCH_BYTES = 1_000_000
# A broker that answers takes what is buffered at once; one that is away must not hold up a stop.
_FLUSH_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One record to send.

    Attributes:
        value: Bytes; None is a tombstone of a compacted topic.
        key: Bytes, or None.
        partition: Where to; None leaves it to the key (murmur2).
        headers: Name and value pairs.
    """

    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class ReliableProducer:
    """Sends records and returns when the broker has acknowledged all of them.

    Used from one event loop, by any number of tasks.

    Args:
        bootstrap_servers: Kafka.
        delivery_timeout_ms: Bound of one :meth:`send_all`, and of starting and stopping.
        max_in_flight: Records handed to aiokafka before their acknowledgements are awaited.
        linger_ms: How long aiokafka may wait for more records of a batch.
        client_options: Security options of the aiokafka producer, ``client_id``, ...
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        delivery_timeout_ms: int = 30_000,
        max_in_flight: int = 4_096,
        linger_ms: int = 0,
        client_options: Mapping[str, Any] = NO_OPTIONS,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._timeout_s = delivery_timeout_ms / 1_000
        self._max_in_flight = max_in_flight
        self._linger_ms = linger_ms
        self._client_options = dict(client_options)
        self._producer: AIOKafkaProducer | None = None

    @property
    def aiokafka(self) -> AIOKafkaProducer:
        """The started producer, for who forms batches of his own."""
        assert self._producer is not None, "call start() first"
        return self._producer

    async def start(self) -> None:
        """Connect and get a producer id.

        Raises:
            ServerUnreachable: Kafka did not answer within the bound.
        """
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            enable_idempotence=True,
            acks="all",
            linger_ms=self._linger_ms,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_BATCH_BYTES + 4_096,
            **self._client_options,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await producer.start()
        except (KafkaError, TimeoutError) as error:
            await producer.stop()
            act = "connect a producer"
            raise self._unreachable(act, error) from error
        except BaseException:  # Cancelled: nobody else could close it.
            await producer.stop()
            raise
        self._producer = producer

    async def stop(self) -> None:
        """Send what is buffered, within seconds, and close; safe to call at any time."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(min(_FLUSH_S, self._timeout_s)):
                await producer.flush()
        except TimeoutError:
            # The broker is away: what was not acknowledged was not called sent by anyone.
            await abort_producer(producer)
        else:
            await producer.stop()

    async def send_all(self, topic: str, records: Iterable[Outgoing]) -> int:
        """Send records in order and wait for every acknowledgement; return how many.

        Raises:
            ServerUnreachable: Not all were acknowledged within the bound; some may have been.
        """
        producer = self.aiokafka
        iterator = iter(records)
        count = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                while chunk := list(islice(iterator, self._max_in_flight)):
                    futures = [
                        await producer.send(
                            topic,
                            record.value,
                            key=record.key,
                            partition=record.partition,
                            headers=list(record.headers),
                        )
                        for record in chunk
                    ]
                    await asyncio.gather(*futures)
                    count += len(chunk)
        except (KafkaError, TimeoutError) as error:
            act = f"acknowledge records of {topic}"
            raise self._unreachable(act, error) from error
        return count

    def _unreachable(self, act: str, error: BaseException) -> ServerUnreachable:
        return ServerUnreachable(
            f"expected Kafka at {self._bootstrap_servers} to {act} within {self._timeout_s:g} s, "
            f"got {type(error).__name__}: {error}; is the broker up and the topic there?"
        )
