"""Read lists as a client does: one HGETALL; the trending list where a user has none."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from consumers.redis_client import REDIS_ERRORS, connect_redis, redis_failure
from consumers.security import NO_OPTIONS
from stream.errors import HeadwaterError

TRENDING_KEY = "rec:trending"

# Longer than a server that works ever takes.
_READ_TIMEOUT_MS = 5_000


async def read_list(
    url: str,
    user_id: str,
    *,
    is_cluster: bool = False,
    client_options: Mapping[str, Any] = NO_OPTIONS,
) -> dict[str, Any] | None:
    """Return the list that a client would show to a user; None when there is none at all.

    Raises:
        ServerUnreachable: If Redis does not answer.
        HeadwaterError: Something else stands under the key.
    """
    keys = (f"rec:{{{user_id}}}", TRENDING_KEY)
    return await _read_first(url, keys, is_cluster=is_cluster, client_options=client_options)


async def read_similar(
    url: str,
    item_id: str,
    *,
    is_cluster: bool = False,
    client_options: Mapping[str, Any] = NO_OPTIONS,
) -> dict[str, Any] | None:
    """Return the items that go together with an item; None when nothing is known yet.

    Raises:
        ServerUnreachable: If Redis does not answer.
        HeadwaterError: Something else stands under the key.
    """
    keys = (f"sim:{{{item_id}}}",)
    return await _read_first(url, keys, is_cluster=is_cluster, client_options=client_options)


async def _read_first(
    url: str, keys: Sequence[str], *, is_cluster: bool, client_options: Mapping[str, Any]
) -> dict[str, Any] | None:
    client = connect_redis(
        url,
        is_cluster=is_cluster,
        read_timeout_ms=_READ_TIMEOUT_MS,
        client_options=client_options,
    )
    try:
        for key in keys:
            found = await client.hgetall(key)
            if found:
                return decode_list(key, found)
        return None
    except REDIS_ERRORS as error:
        raise redis_failure(error) from error
    finally:
        await client.aclose()


def decode_list(key: str, found: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the fields of a list's hash as plain values, with its age.

    Raises:
        HeadwaterError: It is no list of ours: another program wrote there.
    """
    try:
        return _decoded(key, {name.decode(): value for name, value in found.items()})
    except (KeyError, ValueError) as error:
        cause = f"no field {error}" if isinstance(error, KeyError) else str(error)
        message = (
            f"expected a list of Headwater's under {key!r}, something else stands there: {cause}; "
            "does another program write to this key?"
        )
        raise HeadwaterError(message) from error


def _decoded(key: str, fields: Mapping[str, Any]) -> dict[str, Any]:
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


def place_in_list(listed: Mapping[str, Any] | None, item_id: str) -> dict[str, Any] | None:
    """Say where an item stands in a list that was read (1 = first, None = it does not)."""
    if listed is None:
        return None
    ids = [each["id"] for each in listed["items"]]
    return {
        "place": ids.index(item_id) + 1 if item_id in ids else None,
        "size": len(ids),
        "model": listed["model"],
        "age_ms": listed["age_ms"],
    }
