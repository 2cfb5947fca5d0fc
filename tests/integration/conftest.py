"""Deployments of workers, ended whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.redis import RedisServer
from tests.integration.workers import Deployment

Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(
    kafka: str, redis_server: Callable[..., RedisServer], tmp_path: Path
) -> Iterator[Deploy]:
    """Give a factory of deployments, each with topics, a group, a data folder and a Redis."""
    made: list[Deployment] = []

    def make(**settings: object) -> Deployment:
        folder = tmp_path / f"deployment-{len(made)}"
        folder.mkdir()
        servers = {"kafka": kafka, "redis_url": settings.pop("redis_url", None)}
        servers["redis_url"] = servers["redis_url"] or redis_server().url
        made.append(Deployment(folder=folder, **{**servers, **settings}))
        return made[-1]

    yield make
    for each in made:
        each.close()
