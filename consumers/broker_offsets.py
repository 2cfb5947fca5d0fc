"""Where partitions begin and end, what a group has committed, asked without joining any group."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumers.aiokafka_private import ask_any_broker, known_partitions
from consumers.security import NO_OPTIONS
from consumers.topic_ids import TopicIdRequest, ids_in
from stream.errors import ServerUnreachable

logger = logging.getLogger(__name__)

# Tries to learn topic ids, and the wait between two: a broker may just be restarting.
_ID_TRIES = 50
_ID_WAIT_S = 0.2
# Bound of the coordinator's answer: aiokafka looks for one for as long as there is none.
_COMMITTED_TIMEOUT_S = 30.0


class BrokerOffsets:
    """Asks a broker where logs end; one connection, kept open.

    Args:
        brokers: Bootstrap servers, comma-separated.
        group: Whose commits :meth:`committed` reads; it is not joined.
        client_options: Security of the aiokafka consumer.
    """

    def __init__(
        self,
        brokers: str,
        *,
        group: str | None = None,
        client_options: Mapping[str, Any] = NO_OPTIONS,
    ) -> None:
        self._brokers = brokers
        self._group = group
        self._client_options = dict(client_options)
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self, topics: Iterable[str] = ()) -> None:
        """Connect, and learn where topics are: aiokafka is slow to when it is asked of each first.

        Args:
            topics: Who will be asked about; others are found, too.

        Raises:
            ServerUnreachable: If no broker answers.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._brokers,
            group_id=self._group,
            enable_auto_commit=False,
            # What an open transaction holds back is no lag: nobody can read it yet.
            isolation_level="read_committed",
            **self._client_options,
        )
        try:
            await consumer.start()
            if names := set(topics):
                await known_partitions(consumer, names)
        except (KafkaError, OSError) as error:
            await consumer.stop()
            message = (
                f"expected Kafka at {self._brokers}, it did not answer ({error}): is it running, "
                "is HEADWATER_KAFKA right?"
            )
            raise ServerUnreachable(message) from error
        except BaseException:  # Cancelled: nobody else could close it.
            await consumer.stop()
            raise
        self._consumer = consumer

    async def ends(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the end offset of each (topic, partition)."""
        assert self._consumer is not None, "start() comes first"
        return await self._ask(self._consumer.end_offsets, partitions)

    async def beginnings(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the first offset that each (topic, partition) still has."""
        assert self._consumer is not None, "start() comes first"
        return await self._ask(self._consumer.beginning_offsets, partitions)

    async def committed(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the offset that the group committed of each (topic, partition); 0 without one.

        Raises:
            ServerUnreachable: No coordinator answered in time.
        """
        assert self._consumer is not None, "start() comes first"
        consumer = self._consumer

        async def ask(wanted: list[TopicPartition]) -> dict[TopicPartition, int]:
            async with asyncio.timeout(_COMMITTED_TIMEOUT_S):
                found = await asyncio.gather(*(consumer.committed(each) for each in wanted))
            return {each: at or 0 for each, at in zip(wanted, found, strict=True)}

        return await self._ask(ask, partitions)

    async def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Return the id of each topic; without those that the cluster gives none.

        Asks again while a topic is not known yet: it may just have been made.

        Raises:
            ServerUnreachable: The broker did not tell, however often it was asked.
        """
        assert self._consumer is not None, "start() comes first"
        names = sorted(topics)
        came: object = None
        for _ in range(_ID_TRIES):
            try:
                found = ids_in(await ask_any_broker(self._consumer, TopicIdRequest(names)))
            except NotImplementedError:
                logger.warning("the brokers know no topic ids: a topic made anew goes unnoticed")
                return {}
            except (KafkaError, OSError) as error:
                came = error
            else:
                if found.keys() == set(names):
                    return {name: topic_id for name, topic_id in found.items() if topic_id}
                came = f"none of {', '.join(sorted(set(names) - found.keys()))}"
            await asyncio.sleep(_ID_WAIT_S)
        message = f"expected topic ids from Kafka at {self._brokers}, got {came!r}"
        raise ServerUnreachable(message)

    async def _ask(
        self,
        question: Callable[[list[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]],
        partitions: Iterable[tuple[str, int]],
    ) -> dict[tuple[str, int], int]:
        wanted = [TopicPartition(topic, partition) for topic, partition in sorted(partitions)]
        try:
            found = await question(wanted)
        except (KafkaError, OSError) as error:
            message = (
                f"expected offsets from Kafka at {self._brokers}, got {error!r}: is it running, "
                "can this machine reach it?"
            )
            raise ServerUnreachable(message) from error
        return {(tp.topic, tp.partition): int(offset) for tp, offset in found.items()}

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None
