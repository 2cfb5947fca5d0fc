"""Topics that Kafka has, for AsyncEventProducer: asked for before the first record, never made.

Left to itself, aiokafka asks ten times a second until its time is over, logs each answer, and a
broker that makes topics by being asked makes this one, with too few partitions. Here all topics are
asked for, which makes none.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from headwater_client.errors import ProducerClosed
from headwater_client.kafka_errors import TOPIC_GRACE_S, TOPIC_RETRY_S, no_topic, unreachable

# aiokafka logs each time that no broker answers.
_AWAY_RETRY_S = 0.5


class AsyncKnownTopics:
    """Looks a topic up once; who asks meanwhile waits for the same answer.

    Args:
        address: Bootstrap servers, for messages.
        timeout_ms: Bound of a lookup.
    """

    def __init__(self, address: str, *, timeout_ms: int) -> None:
        self._address = address
        self._timeout_ms = timeout_ms
        self._lookups: dict[str, asyncio.Task[bool]] = {}

    async def check(self, producer: AIOKafkaProducer, topic: str) -> None:
        """Return where the topic is there.

        Raises:
            KafkaUnreachable: It is not, or Kafka did not say within the bound.
            ProducerClosed: The producer was closed meanwhile.
        """
        lookup = self._lookups.get(topic)
        if lookup is None:
            lookup = asyncio.create_task(self._look_for(producer, topic))
            self._lookups[topic] = lookup
            lookup.add_done_callback(partial(self._on_done, topic))
        try:
            # Shielded: one who stops waiting ends nobody else's wait.
            is_there = await asyncio.shield(lookup)
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if not lookup.cancelled() or (asking is not None and asking.cancelling()):
                raise
            message = "expected an open producer, it was closed while this record waited"
            raise ProducerClosed(message) from None
        except (KafkaError, TimeoutError) as error:
            act = f"know the topic {topic!r} within {self._timeout_ms:g} ms"
            raise unreachable(self._address, act=act, error=error) from error
        if not is_there:
            raise no_topic(self._address, topic)

    def close(self) -> None:
        """Stop looking."""
        for lookup in self._lookups.values():
            lookup.cancel()

    def _on_done(self, topic: str, lookup: asyncio.Task[bool]) -> None:
        """Let the next one ask anew, unless the topic is there."""
        if lookup.cancelled() or lookup.exception() is not None or not lookup.result():
            del self._lookups[topic]

    async def _look_for(self, producer: AIOKafkaProducer, topic: str) -> bool:
        deadline = None  # It begins with Kafka's first answer: until then, it may be restarting.
        ends = time.monotonic() + self._timeout_ms / 1_000
        async with asyncio.timeout(self._timeout_ms / 1_000):
            while True:
                try:
                    cluster = await producer.client.fetch_all_metadata()
                except KafkaError:
                    if time.monotonic() + _AWAY_RETRY_S >= ends:
                        raise
                    await asyncio.sleep(_AWAY_RETRY_S)
                    continue
                if cluster.partitions_for_topic(topic) is not None:
                    return True
                deadline = deadline or min(time.monotonic() + TOPIC_GRACE_S, ends - TOPIC_RETRY_S)
                if time.monotonic() >= deadline:
                    return False
                await asyncio.sleep(TOPIC_RETRY_S)
