"""The client's exceptions, one file, one tree.

```
HeadwaterClientError
├── InvalidEvent        an event or item that Headwater would reject; nothing was sent
├── InvalidAddress      an address or argument that cannot work
├── BufferFull          Kafka takes records more slowly than they come; this one was not sent
├── DeliveryFailed      Kafka did not confirm records; send them again with the same event_id
├── KafkaUnreachable    Kafka did not answer within its bound, or has no such topic
├── ProducerClosed      a call on a producer that was closed, or not started yet
├── RedisUnreachable    Redis did not answer within its bound
├── UnreadableList      what stands in Redis is no list of Headwater's
├── WrongEventLoop      an async producer or reader was used in another event loop than before
└── EngineFailed        in tests: a Headwater process did not start, answer or end well
```
Every message says what was expected, what came and what to do; none repeats a password or an id
that was refused.
"""

from __future__ import annotations


class HeadwaterClientError(Exception):
    """Root of every error that the client raises on purpose."""


class InvalidEvent(HeadwaterClientError, ValueError):
    """An event or item that Headwater would reject; nothing was sent."""


class InvalidAddress(HeadwaterClientError, ValueError):
    """An address or argument that cannot work."""


class BufferFull(HeadwaterClientError):
    """The buffer had no room within its bound; this record was not sent."""


class DeliveryFailed(HeadwaterClientError):
    """Kafka did not confirm records within the bound.

    A record may have arrived all the same: send it again with the same ``event_id``, and it counts
    once.

    Attributes:
        record_ids: ``event_id`` of each event, ``item_id`` of each item; the first ones where
            there are many.
        num_failed: How many there are.
    """

    def __init__(self, message: str, record_ids: tuple[str, ...], num_failed: int) -> None:
        super().__init__(message)
        self.record_ids = record_ids
        self.num_failed = num_failed


class KafkaUnreachable(HeadwaterClientError):
    """Kafka did not answer within its bound, or has no such topic."""


class ProducerClosed(HeadwaterClientError):
    """A producer was used after ``close``, or before ``start``."""


class RedisUnreachable(HeadwaterClientError):
    """Redis did not answer within its bound."""


class UnreadableList(HeadwaterClientError):
    """What stands in Redis under a list's key is no list of Headwater's."""


class WrongEventLoop(HeadwaterClientError):
    """An async producer or reader was used in another event loop than before."""


class EngineFailed(HeadwaterClientError):
    """A Headwater process that a test started did not start, answer or end well."""
