"""The servers that no setting names: Apache Kafka and Redis from pip, started for one command.

A server that ``HEADWATER_KAFKA`` or ``HEADWATER_REDIS`` names is used and never touched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from local.kafka import KafkaServer
from local.process import LocalServerError
from local.redis import RedisServer
from stream.errors import ServerUnreachable

logger = logging.getLogger(__name__)


class Stack:
    """Apache Kafka and Redis for one command; a context manager that ends what it started.

    Args:
        kafka: Bootstrap servers of a running cluster; None starts one.
        redis: URL of a running server; None starts one.
        data_dir: Folder for Kafka's log.
        say: Told what is being done, for a person.
    """

    def __init__(
        self,
        *,
        kafka: str | None,
        redis: str | None,
        data_dir: Path,
        say: Callable[[str], None],
    ) -> None:
        self._kafka_url = kafka
        self._redis_url = redis
        self._data_dir = data_dir
        self._say = say
        self._kafka: KafkaServer | None = None
        self._redis: RedisServer | None = None

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        if self._kafka is not None:
            return self._kafka.bootstrap
        assert self._kafka_url is not None
        return self._kafka_url

    @property
    def redis(self) -> str:
        """URL of the Redis server."""
        if self._redis is not None:
            return self._redis.url
        assert self._redis_url is not None
        return self._redis_url

    def start(self) -> None:
        """Start what no setting names.

        Raises:
            ServerUnreachable: If a server that had to be started did not start.
        """
        try:
            if self._redis_url is None:
                self._say("starting Redis")
                self._redis = RedisServer()
                self._redis.start()
            if self._kafka_url is None:
                self._say("starting Apache Kafka")
                self._kafka = KafkaServer(self._data_dir / "kafka", say=self._say)
                self._kafka.start()
        except LocalServerError as error:
            self.stop()
            raise ServerUnreachable(str(error)) from error

    def stop(self) -> None:
        """End what was started; safe to call twice."""
        for server in (self._kafka, self._redis):
            if server is not None and server.is_running:
                server.stop()
        self._kafka = None
        self._redis = None

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
