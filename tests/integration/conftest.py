"""Deployments of workers, ended whatever happens; kernels compiled once before the first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import pytest

from local.redis import RedisServer
from tests.integration.workers import ROOT, Deployment

Deploy = Callable[..., Deployment]


# Without a cache the first worker compiles for a minute or two on a busy machine.
_COMPILE_BOUND_S = 400


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Leave the first test room to compile."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(_COMPILE_BOUND_S + 200))


@pytest.fixture(scope="session", autouse=True)
def warm_kernels() -> Iterator[None]:
    """Compile every kernel before a bound on a worker's start counts; all share this cache."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(numba.config.CACHE_DIR)}
    subprocess.run(
        [sys.executable, "-c", "from consumers.warm_up import compile_kernels; compile_kernels()"],
        env=environment,
        cwd=ROOT,
        timeout=_COMPILE_BOUND_S,
        check=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", environment["NUMBA_CACHE_DIR"])
        yield


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
