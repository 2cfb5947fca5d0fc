"""What tests ask of Apache Kafka beside the code under test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


def run(scenario: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(scenario, 120)

    return asyncio.run(bounded())


async def produce(kafka: str, topic: str, values: Sequence[bytes], **options: Any) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka, **options) as producer:
        for value in values:
            await producer.send(topic, value, key=value)


def numbers(begin: int, end: int) -> list[bytes]:
    return [b"%06d" % number for number in range(begin, end)]


async def committed(kafka: str, group: str) -> dict[int, int]:
    """Return partition → offset committed to the group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return {tp.partition: found.offset for tp, found in offsets.items() if found.offset >= 0}


async def members(kafka: str, group: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    (described,) = answer.groups
    return len(described[5])


async def recreate(kafka: str, topic: str) -> None:
    """Delete a topic and make one of the same name with one partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()

    async def made() -> bool:  # The name is free only once the broker has dropped the old one.
        reply = await admin.create_topics([NewTopic(topic, 1, 1)])
        return not reply.topic_errors[0][1]

    try:
        await admin.delete_topics([topic])
        await until(made)
    finally:
        await admin.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110  (a broker sends no event)
        await asyncio.sleep(0.02)
