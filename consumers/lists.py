"""Read a list as a client does: one HGETALL, the trending list where the user has none."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from consumers.redis_client import connect_redis
from stream.errors import ServerUnreachable

TRENDING_KEY = "rec:trending"


async def read_list(url: str, user_id: str, *, is_cluster: bool = False) -> dict[str, Any] | None:
    """Return the list that a client would show to a user; None when there is none at all.

    Raises:
        ServerUnreachable: If Redis does not answer.
    """
    client = connect_redis(url, is_cluster=is_cluster)
    try:
        for key in (f"rec:{{{user_id}}}", TRENDING_KEY):
            found = await client.hgetall(key)
            if found:
                return _decoded(key, found)
        return None
    except (RedisError, OSError) as error:
        message = f"expected Redis to answer, it did not ({error}): is HEADWATER_REDIS right?"
        raise ServerUnreachable(message) from error
    finally:
        await client.aclose()


def _decoded(key: str, found: Mapping[Any, Any]) -> dict[str, Any]:
    fields = {name.decode(): value for name, value in found.items()}
    generated_at = int(fields["generated_at"])
    return {
        "key": key,
        "items": json.loads(fields["items"]),
        "version": fields["version"].decode(),
        "generated_at": generated_at,
        "events_to": int(fields["events_to"]),
        "model": fields["model"].decode(),
        "age_ms": max(0, round(time.time() * 1000) - generated_at),
    }
