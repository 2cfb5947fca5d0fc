"""Produce records to Kafka: the simulator's and wire logs', paced, acknowledged, counted.

Partition = murmur2(key) mod partitions, as Kafka's Java clients do; idempotent, ``acks=all``.
Every record handed over is either acknowledged or failed: ``produced = acknowledged + failed``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from consumers.aiokafka_private import abort_producer
from consumers.pacing import Pace
from consumers.produce_batches import BatchedRun
from consumers.produce_report import ProduceReport, Record, TopicCount
from consumers.security import NO_OPTIONS, why_refused
from stream.errors import ServerRefused, ServerUnreachable

__all__ = ["ProduceReport", "Record", "TopicCount", "produce_interactions"]

# Bytes of one batch: half of what a broker takes by default in one request (1 MiB).
_MAX_BATCH_BYTES = 512 * 1024
_PROGRESS_S = 0.25


async def produce_interactions(
    source: Iterable[Sequence[Record]],
    *,
    brokers: str,
    topic: str,
    items_topic: str = "items",
    rate: float | None = None,
    speed: float | None = None,
    on_progress: Callable[[ProduceReport], None] | None = None,
    stop: asyncio.Event,
    start_index: int = 0,
    compression: str | None = None,
    max_outage_s: float = 120.0,
    client_options: Mapping[str, Any] = NO_OPTIONS,
) -> ProduceReport:
    """Produce a source's records in order until it ends, ``stop`` is set, or a batch fails.

    Steps: 1. take the next block of the source, on a thread; 2. wait until its records are due;
    3. append them to one batch per partition; 4. send the batches, their acknowledgements bounded
    in number; 5. at the end, wait for all that are in flight.

    Args:
        source: Blocks of records (:meth:`local.simulator.Simulator.blocks`, :func:`wire_log`);
            an empty block gives ``stop`` a chance while a pipe is silent.
        brokers: Bootstrap servers, comma-separated.
        topic: Kafka topic of records whose logical topic is ``interactions``.
        items_topic: Kafka topic of those whose logical topic is ``items``.
        rate: Records per second; None for no such pace.
        speed: Times real time by the records' own times; None for no such pace.
        on_progress: Called a few times a second, also while nothing is due, and once at the end;
            what it raises ends the run.
        stop: Set by the caller to end: what is in flight is waited for.
        start_index: Index of the source's first record of ``topic`` (a resumed log), for
            ``next_index``.
        compression: ``gzip``, ``snappy``, ``lz4``, ``zstd`` or None.
        max_outage_s: How long records may wait without any acknowledgement before the run ends
            and counts them as failed; a shorter outage loses and doubles nothing.
        client_options: Security and bounds of the aiokafka producer.

    Raises:
        ServerUnreachable: No broker answered at the start.
        ConfigurationError: A topic does not exist.
        ValueError: Both ``rate`` and ``speed`` are given, or one of them is not above 0.
    """
    pace = Pace(rate=rate, speed=speed)
    producer = await _start_producer(brokers, compression, client_options)
    run = BatchedRun(
        producer,
        topics={"interactions": topic, "items": items_topic},
        counted=topic,
        next_index=start_index,
        max_outage_s=max_outage_s,
    )
    try:
        await _run(run, source, pace, stop, on_progress)
    finally:
        await (abort_producer(producer) if run.error else producer.stop())
    report = run.report(pace.behind_s)
    if on_progress is not None:
        on_progress(report)
    return report


async def _start_producer(
    brokers: str, compression: str | None, client_options: Mapping[str, Any]
) -> AIOKafkaProducer:
    options = {
        "enable_idempotence": True,
        "acks": "all",
        "max_batch_size": _MAX_BATCH_BYTES,
        "compression_type": compression,
        **client_options,
    }
    producer = AIOKafkaProducer(bootstrap_servers=brokers, **options)
    try:
        await producer.start()
    except (KafkaError, OSError) as error:
        await producer.stop()
        if reason := await why_refused(brokers, client_options):
            raise ServerRefused(reason) from error
        message = (
            f"expected Kafka at {brokers}, it did not answer ({error}): is it running, is "
            "HEADWATER_KAFKA right?"
        )
        raise ServerUnreachable(message) from error
    return producer


async def _run(
    run: BatchedRun,
    source: Iterable[Sequence[Record]],
    pace: Pace,
    stop: asyncio.Event,
    on_progress: Callable[[ProduceReport], None] | None,
) -> None:
    blocks = iter(source)
    next_progress = time.monotonic() + _PROGRESS_S
    while not stop.is_set() and not run.error:
        block = await asyncio.to_thread(_next_block, blocks)  # 1
        if block is None:
            break
        begin = 0
        while not stop.is_set() and not run.error:
            if on_progress is not None and time.monotonic() >= next_progress:
                on_progress(run.report(pace.behind_s))
                next_progress = time.monotonic() + _PROGRESS_S
            if begin >= len(block):
                break
            end = await pace.wait_for_due(block, begin, stop)  # 2
            for record in block[begin:end]:
                await run.append(record)  # 3
            begin = end
            await run.send_all()  # 4
    await run.drain()  # 5


def _next_block(blocks: Iterator[Sequence[Record]]) -> Sequence[Record] | None:
    return next(blocks, None)
