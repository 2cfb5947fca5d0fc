"""What is said of Redis' errors; connections are tested where they are used."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis

from consumers.doctor_redis import look_at_redis
from consumers.lists import read_list
from consumers.redis_client import connect_redis
from consumers.security import redis_options
from stream.errors import ConfigurationError, ServerUnreachable
from stream.settings import RedisSecuritySettings, Settings


@pytest.mark.redis
def test_what_redis_refuses_is_no_silence(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.set("rec:{ann}", "not a hash")
        with pytest.raises(ServerUnreachable, match=r"it refuses \(WRONGTYPE .* another program"):
            asyncio.run(read_list(redis_url, "ann"))
        client.delete("rec:{ann}")


@pytest.mark.parametrize("is_cluster", [False, True])
@pytest.mark.parametrize(
    "url",
    ["redis://ann:s3cret[@h:1/0", "redis://h:1/0?timout=s3cret", "redis://ann:s3/cret@h:1/0"],
)
def test_a_url_that_is_none_is_said_in_a_line_without_its_password(
    url: str, is_cluster: bool
) -> None:
    with pytest.raises(ConfigurationError, match="HEADWATER_REDIS: expected a URL") as caught:
        connect_redis(
            url, is_cluster=is_cluster, client_options=redis_options(RedisSecuritySettings(), url)
        )
    assert "s3" not in str(caught.value)


def test_a_database_of_a_cluster_is_refused_in_a_line() -> None:
    with pytest.raises(ConfigurationError, match="HEADWATER_REDIS: .* cluster mode"):
        connect_redis("redis://h:1/3", is_cluster=True)


@pytest.mark.parametrize("url", ["redis://ann:s3cret[@h:1/0", "redis://h:1/0?timout=5"])
def test_doctor_says_of_a_url_that_is_none_to_correct_it(url: str) -> None:
    (found,) = asyncio.run(look_at_redis(Settings(), url, timeout_s=1.0))
    assert (found.status, found.advice) == ("fail", "correct it") and "s3" not in found.text
