"""The methods that both producers have: one per kind of event, and two for items.

What a call gives back is the producer's own: a :class:`~headwater_client.deliveries.Delivery`, or
something to await. Arguments are checked in the call itself, before anything waits.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar, Unpack

from headwater_client.errors import InvalidAddress
from headwater_client.records import (
    Context,
    OutgoingRecord,
    check_time,
    interaction_record,
    item_record,
    make_interaction,
    removal_record,
)
from headwater_client.wire import Interaction, Item

Sent = TypeVar("Sent")

# What Kafka takes (org.apache.kafka.common.internals.Topic), but for "." and "..".
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


def wall_ms() -> int:
    """Return the time, ms since 1970 UTC."""
    return time.time_ns() // 1_000_000


class EventMethods(ABC, Generic[Sent]):
    """Makes records of calls and hands them to ``_dispatch``.

    Every method raises :class:`~headwater_client.errors.InvalidEvent` for what Headwater would
    reject. Keyword arguments that all events share are in
    :class:`~headwater_client.records.Context`: ``event_id``, ``ts``, ``request_id``, ``position``,
    ``device``.
    """

    def __init__(self, *, topic: str, items_topic: str, now_ms: Callable[[], int]) -> None:
        for argument, name in (("topic", topic), ("items_topic", items_topic)):
            if not isinstance(name, str) or not name:
                got = "an empty text" if name == "" else type(name).__name__
                message = f"{argument}: expected the name of a topic, got {got}"
                raise InvalidAddress(message)
            if not _TOPIC_NAME.fullmatch(name) or name in (".", ".."):
                message = (
                    f"{argument}: expected a name that a topic of Kafka may have (1 to 249 of the "
                    f"letters a to z and A to Z, digits, '.', '_' and '-'), got {name[:260]!r}"
                )
                raise InvalidAddress(message)
        self._topic = topic
        self._items_topic = items_topic
        self._now_ms = now_ms

    @abstractmethod
    def _dispatch(self, record: OutgoingRecord) -> Sent:
        """Send one record."""

    def send(self, event: Interaction) -> Sent:
        """Send an event that was made elsewhere; sent again, it counts once."""
        check_time(event, self._now_ms())
        return self._dispatch(interaction_record(event, self._topic))

    def watch(
        self,
        user_id: str,
        item_id: str,
        *,
        watch_ms: int,
        duration_ms: int,
        **context: Unpack[Context],
    ) -> Sent:
        """Say that a user watched an item for ``watch_ms`` of its ``duration_ms``."""
        made = make_interaction(
            "watch",
            self._now_ms(),
            context,
            user_id=user_id,
            item_id=item_id,
            watch_ms=watch_ms,
            duration_ms=duration_ms,
        )
        return self.send(made)

    def like(self, user_id: str, item_id: str, **context: Unpack[Context]) -> Sent:
        """Say that a user likes an item."""
        return self.send(
            make_interaction("like", self._now_ms(), context, user_id=user_id, item_id=item_id)
        )

    def unlike(self, user_id: str, item_id: str, **context: Unpack[Context]) -> Sent:
        """Take a like back."""
        return self.send(
            make_interaction("unlike", self._now_ms(), context, user_id=user_id, item_id=item_id)
        )

    def comment(self, user_id: str, item_id: str, **context: Unpack[Context]) -> Sent:
        """Say that a user commented on an item."""
        return self.send(
            make_interaction("comment", self._now_ms(), context, user_id=user_id, item_id=item_id)
        )

    def share(self, user_id: str, item_id: str, **context: Unpack[Context]) -> Sent:
        """Say that a user shared an item."""
        return self.send(
            make_interaction("share", self._now_ms(), context, user_id=user_id, item_id=item_id)
        )

    def follow(self, user_id: str, item_id: str, **context: Unpack[Context]) -> Sent:
        """Say that a user followed the author of an item, from that item."""
        return self.send(
            make_interaction("follow", self._now_ms(), context, user_id=user_id, item_id=item_id)
        )

    def not_interested(self, user_id: str, item_id: str, **context: Unpack[Context]) -> Sent:
        """Say that a user does not want to see an item or its like."""
        return self.send(
            make_interaction(
                "not_interested", self._now_ms(), context, user_id=user_id, item_id=item_id
            )
        )

    def erase(self, user_id: str, **context: Unpack[Context]) -> Sent:
        """Forget all that is known of a user; later events start anew."""
        return self.send(make_interaction("erase", self._now_ms(), context, user_id=user_id))

    def announce(self, item: Item) -> Sent:
        """Say what an item is: author, age, tags, embedding. Announced again, it is replaced."""
        return self._dispatch(item_record(item, self._items_topic))

    def remove(self, item_id: str) -> Sent:
        """Withdraw an item: it is recommended to nobody from now on."""
        return self._dispatch(removal_record(item_id, self._items_topic))
