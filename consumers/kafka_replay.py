"""Replay a Kafka topic in this process: read it once, to the end it has now, without a group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from consumers.broker_offsets import BrokerOffsets
from consumers.configuration import make_engine, make_pipeline
from consumers.reader import BroadcastReader
from consumers.security import kafka_options
from consumers.topics import count_partitions
from stream.engine import Engine
from stream.errors import ConfigurationError
from stream.replay import Replay
from stream.settings import Settings
from stream.slab import Slab


async def replay_topic(
    settings: Settings,
    brokers: str,
    topic: str,
    num_partitions: int | None = None,
    *,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Engine:
    """Fold every record of a topic of interactions; its partitions are the engine's.

    Args:
        settings: Bounds and rules of the tables.
        brokers: Bootstrap servers.
        topic: Topic of interactions; a misrouted record is folded where it belongs.
        num_partitions: That it is expected to have; None takes those that it has.
        on_progress: Called with the records folded so far.

    Raises:
        ServerUnreachable: If no broker answers.
        ConfigurationError: If the topic does not exist, or has other partitions.
    """
    options = kafka_options(settings.kafka_security)
    partitions = await count_partitions(brokers, topic, client_options=options)
    if num_partitions not in (None, partitions):
        message = (
            f"--partitions: expected {partitions}, those of the topic {topic}, got "
            f"{num_partitions}: leave it out, or replay a file of its records"
        )
        raise ConfigurationError(message)
    engine = make_engine(settings, partitions=partitions)
    engine.topic_id = await _topic_id(brokers, topic, options)
    interval_ms = round(settings.signals.interval_s * 1000)
    replay = Replay(make_pipeline(settings, engine), signals_interval_ms=interval_ms)

    num_folded = 0

    async def on_slab(slab: Slab) -> None:
        nonlocal num_folded
        replay.fold_slab(slab)
        num_folded += len(slab)
        on_progress(num_folded)

    reader = BroadcastReader(brokers=brokers, topics=[topic], on_slab=on_slab, connection=options)
    await reader.start()
    try:
        await reader.catch_up()
    finally:
        await reader.stop()
    replay.finish()
    return engine


async def _topic_id(brokers: str, topic: str, options: Mapping[str, Any]) -> str | None:
    offsets = BrokerOffsets(brokers, client_options=options)
    await offsets.start([topic])
    try:
        return (await offsets.topic_ids([topic])).get(topic)
    finally:
        await offsets.stop()
