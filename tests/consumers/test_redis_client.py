"""What is said of Redis' errors; connections are tested where they are used."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis

from consumers.lists import read_list
from stream.errors import ServerUnreachable


@pytest.mark.redis
def test_what_redis_refuses_is_no_silence(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.set("rec:{ann}", "not a hash")
        with pytest.raises(ServerUnreachable, match=r"it refuses \(WRONGTYPE .* another program"):
            asyncio.run(read_list(redis_url, "ann"))
        client.delete("rec:{ann}")
