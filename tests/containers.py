"""Kafka and Redis in containers, from the images and with the settings of docker/compose.yaml.

Used where Docker runs; see ``conftest.py``. docs/containers.md says what of it has been run.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.kafka_probe import is_coordinator_ready
from local.ports import free_port
from local.process import LocalServerError

FOLDER = Path(__file__).resolve().parents[1] / "docker"
COMPOSE = FOLDER / "compose.yaml"
_START_S = 120.0
_POLL_S = 0.2


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Put values for ``${NAME:-default}`` as Compose does.

    >>> interpolate("${A:-a}/${B:-b}", {"B": "x"})
    'a/x'
    """
    return re.sub(
        r"\$\{(\w+):-([^}]*)\}", lambda found: environment.get(found[1]) or found[2], text
    )


def read_yaml(path: Path, environment: Mapping[str, str] | None = None) -> Any:
    """Read a YAML file, its variables put in: from ``environment``, else the process'."""
    from ruamel.yaml import YAML

    given = os.environ if environment is None else environment
    return YAML(typ="safe", pure=True).load(interpolate(path.read_text(), given))


def image_of(service: str) -> str:
    """Return the image of a service of compose.yaml."""
    return str(read_yaml(COMPOSE)["services"][service]["image"])


def kafka_settings(port: int) -> dict[str, str]:
    """Return the environment of the Kafka container: compose.yaml's, published at ``port``."""
    found = read_yaml(COMPOSE, {"KAFKA_PORT": str(port)})["services"]["kafka"]["environment"]
    return {
        **found,
        # As local.kafka: a dead worker's partitions move within seconds.
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "2000",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "1",
    }


@contextmanager
def kafka_container() -> Iterator[str]:
    """Run Apache Kafka in a container; give its bootstrap servers."""
    from testcontainers.core.container import DockerContainer

    # The broker names its address to clients, so the port is chosen before it starts.
    port = free_port()
    container = DockerContainer(image_of("kafka")).with_bind_ports(9092, port)
    container.with_kwargs(hostname="kafka")
    for name, value in kafka_settings(port).items():
        container.with_env(name, value)
    with container:
        deadline = time.monotonic() + _START_S
        while not is_coordinator_ready("127.0.0.1", port):
            if time.monotonic() > deadline:
                out, err = container.get_logs()
                tail = (out + err)[-2000:].decode(errors="replace")
                message = (
                    f"expected Kafka in a container on port {port}, it does not answer: {tail}"
                )
                raise LocalServerError(message)
            time.sleep(_POLL_S)
        yield f"127.0.0.1:{port}"


@contextmanager
def redis_container() -> Iterator[str]:
    """Run Redis in a container; give its URL."""
    from testcontainers.community.redis import RedisContainer

    with RedisContainer(image_of("redis")) as container:
        port = container.get_exposed_port(6379)
        yield f"redis://{container.get_container_host_ip()}:{port}/0"
