"""End offsets of partitions, asked of the broker without joining any group."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream.errors import ServerUnreachable


class BrokerOffsets:
    """Asks a broker where logs end; one connection, kept open.

    Args:
        brokers: Bootstrap servers, comma-separated.
    """

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            ServerUnreachable: If no broker answers.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._brokers,
            enable_auto_commit=False,
            # What an open transaction holds back is no lag: nobody can read it yet.
            isolation_level="read_committed",
        )
        try:
            await consumer.start()
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

    async def _ask(
        self,
        question: Callable[[list[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]],
        partitions: Iterable[tuple[str, int]],
    ) -> dict[tuple[str, int], int]:
        wanted = [TopicPartition(topic, partition) for topic, partition in sorted(partitions)]
        try:
            found = await question(wanted)
        except (KafkaError, OSError) as error:
            message = f"expected offsets from Kafka at {self._brokers}, got {error!r}"
            raise ServerUnreachable(message) from error
        return {(tp.topic, tp.partition): int(offset) for tp, offset in found.items()}

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None
