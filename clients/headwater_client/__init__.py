"""The client of Headwater: send events to Kafka, read recommendation lists from Redis.

``EventProducer`` and ``RecommendationReader`` for ordinary programs, ``AsyncEventProducer`` and
``AsyncRecommendationReader`` for asyncio; ``headwater_client.testing`` is a pytest plugin. Nothing
here needs the engine. Each name is imported when it is first used: a program that only reads lists
loads no Kafka library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater_client.async_producer import AsyncEventProducer
    from headwater_client.async_reader import AsyncRecommendationReader
    from headwater_client.deliveries import Delivery, Receipt
    from headwater_client.errors import (
        BufferFull,
        DeliveryFailed,
        EngineFailed,
        HeadwaterClientError,
        InvalidAddress,
        InvalidEvent,
        KafkaUnreachable,
        ProducerClosed,
        RedisUnreachable,
        UnreadableList,
        WrongEventLoop,
    )
    from headwater_client.lists import Recommendations, RecommendedItem
    from headwater_client.producer import EventProducer
    from headwater_client.reader import RecommendationReader
    from headwater_client.security import kafka_security, redis_security
    from headwater_client.wire import Interaction, Item

__all__ = [
    "AsyncEventProducer",
    "AsyncRecommendationReader",
    "BufferFull",
    "Delivery",
    "DeliveryFailed",
    "EngineFailed",
    "EventProducer",
    "HeadwaterClientError",
    "Interaction",
    "InvalidAddress",
    "InvalidEvent",
    "Item",
    "KafkaUnreachable",
    "ProducerClosed",
    "Receipt",
    "RecommendationReader",
    "Recommendations",
    "RecommendedItem",
    "RedisUnreachable",
    "UnreadableList",
    "WrongEventLoop",
    "kafka_security",
    "redis_security",
]

_MODULES = {
    "AsyncEventProducer": "async_producer",
    "AsyncRecommendationReader": "async_reader",
    "Delivery": "deliveries",
    "EventProducer": "producer",
    "Interaction": "wire",
    "Item": "wire",
    "Receipt": "deliveries",
    "RecommendationReader": "reader",
    "Recommendations": "lists",
    "RecommendedItem": "lists",
    "kafka_security": "security",
    "redis_security": "security",
}


# Type checkers see the imports above, and complain about names that are not there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
