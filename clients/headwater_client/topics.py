"""Topics that Kafka has, for EventProducer: asked for before the first record, never made.

Left to itself, the library asks ten times a second until its time is over, logs each answer, and a
broker that makes topics by being asked makes this one, with too few partitions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any

from headwater_client.errors import KafkaUnreachable
from headwater_client.kafka_errors import TOPIC_GRACE_S, TOPIC_RETRY_S, no_topic, unreachable
from headwater_client.kafka_python import KafkaAdminClient, KafkaError, connected

_UNKNOWN, _FORBIDDEN, _INVALID = 3, 29, 17  # Kafka's error codes.
_WHY = {_FORBIDDEN: "no right to it", _INVALID: "no name that a topic may have"}


class KnownTopics:
    """Looks a topic up once, over a connection of its own that is closed at once.

    Who asks for a topic while it is looked up waits for that answer; other topics wait for nothing.

    Args:
        address: Bootstrap servers, for messages.
        options: Of the producer; what only producers know is left out.
        timeout_ms: Bound of a lookup.
    """

    def __init__(self, address: str, options: Mapping[str, Any], *, timeout_ms: int) -> None:
        self._address = address
        self._timeout_ms = timeout_ms
        known = KafkaAdminClient.DEFAULT_CONFIG.keys() - {"kafka_client"}
        self._options = {name: value for name, value in options.items() if name in known}
        self._options["bootstrap_timeout_ms"] = timeout_ms
        self._options["request_timeout_ms"] = timeout_ms
        # By topic, of which a producer has two.
        self._locks: dict[str, threading.Lock] = {}
        self._found: set[str] = set()
        # When it was last looked for in vain, and why: who asked before that has the same answer.
        self._failed: dict[str, tuple[float, Callable[[], KafkaUnreachable]]] = {}

    def check(self, topic: str) -> None:
        """Return where the topic is there.

        Raises:
            KafkaUnreachable: It is not, or Kafka did not say within the bound.
        """
        if topic in self._found:
            return
        asked_at = time.monotonic()
        with self._locks.setdefault(topic, threading.Lock()):
            if topic in self._found:
                return
            failed_at, failure = self._failed.get(topic, (asked_at, None))
            if failure is not None and failed_at > asked_at:
                raise failure()
            try:
                code = self._look_for(topic)
            except KafkaError as error:
                act = f"know the topic {topic!r} within {self._timeout_ms:g} ms"
                failure = partial(unreachable, self._address, act=act, error=error)
                self._failed[topic] = (time.monotonic(), failure)
                raise failure() from error
            if code in (_UNKNOWN, *_WHY):
                failure = partial(no_topic, self._address, topic, _WHY.get(code, "none"))
                self._failed[topic] = (time.monotonic(), failure)
                raise failure()
            self._found.add(topic)

    def _look_for(self, topic: str) -> int:
        """Return Kafka's error code for a topic, 0 where there is none."""
        with closing(connected(KafkaAdminClient, self._options)) as admin:
            deadline = time.monotonic() + min(TOPIC_GRACE_S, self._timeout_ms / 1_000)
            while True:
                (found,) = admin.describe_topics([topic])
                code = int(found["error_code"])
                if code != _UNKNOWN or time.monotonic() >= deadline:
                    return code
                time.sleep(TOPIC_RETRY_S)
