"""kafka-python, imported without its complaints about itself.

Version 3.0 reads its protocol's schemas with a call that Python deprecates; an application that
turns warnings into errors could not import it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import KafkaAdminClient
    from kafka.errors import KafkaError
    from kafka.partitioner import Partitioner

__all__ = [
    "KafkaAdminClient",
    "KafkaConsumer",
    "KafkaError",
    "KafkaProducer",
    "Partitioner",
    "TopicPartition",
    "connected",
]

Client = TypeVar("Client")


def connected(make: Callable[..., Client], options: Mapping[str, Any]) -> Client:
    """Make a client; of one that cannot be made kafka-python would leave the sockets open."""
    inner: list[Any] = []

    def make_inner(**named: Any) -> Any:
        inner.append(KafkaProducer.DEFAULT_CONFIG["kafka_client"](**named))
        return inner[-1]

    try:
        return make(**{"kafka_client": make_inner, **options})
    except BaseException:
        for each in inner:
            each.close()
        raise
