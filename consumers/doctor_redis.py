"""Redis for ``doctor``: whether it answers, takes writes, and what it does when it is full."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from consumers.addresses import speaks_kafka, why_silent
from consumers.findings import Finding
from consumers.redis_client import connect_redis, redis_failure
from consumers.security import redis_options
from stream.errors import ConfigurationError, ServerRefused
from stream.settings import Settings

# Scripts, HSET with several fields, PEXPIRE: all older; nothing below was tested.
_OLDEST = (6, 0)
_PORT = 6379
_GIB = 2**30


async def look_at_redis(settings: Settings, url: str | None, *, timeout_s: float) -> list[Finding]:
    """Return the findings about Redis."""
    if url is None:
        advice = (
            "set HEADWATER_REDIS=redis://host:port/0; `headwater up` starts a server of its own"
        )
        return [
            Finding(check="redis.reachable", status="fail", text="no address is set", advice=advice)
        ]
    try:
        info = await _read_info(settings, url, timeout_s)
    except NoPermissionError:
        advice = "ask as a user who may INFO, as `operator` of docker/redis/users.acl.example does"
        text = "it answers; its role, memory and mode are not known: this user may not ask INFO"
        return [Finding(check="redis.reachable", status="warn", text=text, advice=advice)]
    except ConfigurationError as error:
        return [
            Finding(check="redis.reachable", status="fail", text=str(error), advice="correct it")
        ]
    except (RedisError, OSError) as error:
        if isinstance(failure := redis_failure(error), ServerRefused):
            advice = "ask whoever keeps this Redis for its certificate, user and password"
            return [
                Finding(check="redis.security", status="fail", text=str(failure), advice=advice)
            ]
        if isinstance(error, ResponseError):
            text, advice = f"Redis refuses ({error})", "correct the database's number in the URL"
            if "db index" not in str(error).lower():
                advice = "look at what it says: it answers, so the address is right"
            return [Finding(check="redis.reachable", status="fail", text=text, advice=advice)]
        reason = await _why_silent(url, error, timeout_s)
        return [
            Finding(
                check="redis.reachable",
                status="fail",
                text=f"Redis does not answer ({reason})",
                advice="start it, or set HEADWATER_REDIS to where it listens (user and password "
                "are part of the URL)",
            )
        ]
    return judge_redis(info, is_cluster=settings.sink.cluster)


async def _why_silent(url: str, error: Exception, timeout_s: float) -> str:
    """Say what is wrong at the URL's host and port; of the URL nothing else is shown."""
    said = str(error) or type(error).__name__
    parts = urlsplit(url)
    if not parts.hostname:
        return said  # A socket of this machine.
    reason = await why_silent(parts.hostname, parts.port or _PORT, timeout_s=timeout_s)
    if "Redis" in reason:
        return said  # It answers, but does not let us in.
    if "listens there" in reason and await speaks_kafka(
        parts.hostname, parts.port or _PORT, timeout_s=timeout_s
    ):
        return f"{parts.hostname}:{parts.port or _PORT}: a Kafka broker answers there"
    return f"{reason}; {said}" if "listens there" in reason else reason


async def _read_info(settings: Settings, url: str, timeout_s: float) -> dict[str, Any]:
    """Return INFO of the node that the URL names; a cluster is asked by one of its nodes."""
    timeout_ms = round(timeout_s * 1000)
    client = connect_redis(
        url,
        timeout_ms=timeout_ms,
        read_timeout_ms=timeout_ms,
        client_options=redis_options(settings.redis_security, url),
    )
    try:
        async with asyncio.timeout(timeout_s):
            info: dict[str, Any] = await client.info()
            return info
    finally:
        await client.aclose()


def judge_redis(info: Mapping[str, Any], *, is_cluster: bool) -> list[Finding]:
    """Return what INFO tells: version, role, memory and eviction, persistence, cluster mode."""
    name = str(info.get("server_name", "redis"))
    version = str(info.get(f"{name}_version", info.get("redis_version", "0")))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    is_old = name == "redis" and numbers < _OLDEST
    findings = [
        Finding(check="redis.reachable", status="ok", text=f"{name} answers"),
        Finding(
            check="redis.version",
            status="warn" if is_old else "ok",
            text=f"{name} {version}",
            advice="nothing below 6.0 was tested; upgrade it" if is_old else "",
        ),
    ]
    return [
        *findings,
        *_judge_writes(info, is_cluster),
        _judge_memory(info),
        _judge_persistence(info),
    ]


def _judge_writes(info: Mapping[str, Any], is_cluster: bool) -> list[Finding]:
    findings = []
    if info.get("role") == "slave":
        findings.append(
            Finding(
                check="redis.role",
                status="fail",
                text="this is a replica: it refuses writes",
                advice=f"name the primary in HEADWATER_REDIS ({info.get('master_host')}:"
                f"{info.get('master_port')})",
            )
        )
    has_cluster = bool(info.get("cluster_enabled"))
    if has_cluster != is_cluster:
        wanted = str(has_cluster).lower()
        findings.append(
            Finding(
                check="redis.cluster",
                status="fail",
                text=f"the server {'is' if has_cluster else 'is not'} a Redis Cluster, the "
                f"settings say it {'is' if is_cluster else 'is not'}",
                advice=f"set HEADWATER_SINK__CLUSTER={wanted}",
            )
        )
    return findings


def _judge_memory(info: Mapping[str, Any]) -> Finding:
    """Say what happens when memory ends: refused writes, or the eviction of old lists."""
    bound, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = str(info.get("maxmemory_policy", "unknown"))
    check = "redis.memory"
    if not bound:
        text = f"no maxmemory, {used / _GIB:.2f} GiB used: lists leave by their TTL alone"
        return Finding(check=check, status="ok", text=text)
    text = f"maxmemory {bound / _GIB:.2f} GiB, {used / _GIB:.2f} GiB used, policy {policy}"
    if policy != "noeviction":
        return Finding(check=check, status="ok", text=text)
    is_near = used >= 0.9 * bound
    return Finding(
        check=check,
        status="fail" if is_near else "warn",
        text=f"{text}: {'nearly full' if is_near else 'once full'}, it refuses new lists",
        advice="let the lists of users who are away leave instead: CONFIG SET maxmemory-policy "
        "volatile-lru (and in redis.conf), or raise maxmemory",
    )


def _judge_persistence(info: Mapping[str, Any]) -> Finding:
    """Say whether what was written stays: lists are a view, rebuilt where they are lost."""
    check = "redis.persistence"
    is_append_only = bool(int(info.get("aof_enabled", 0)))
    broken = [
        name
        for name in ("rdb_last_bgsave_status", "aof_last_write_status")
        if info.get(name, "ok") != "ok"
    ]
    if broken:
        return Finding(
            check=check,
            status="fail",
            text=f"the last save failed ({', '.join(broken)}): Redis may refuse writes",
            advice="make room on its disk, or turn persistence off: lists are rebuilt from state",
        )
    how = "append-only file" if is_append_only else "snapshots or none"
    text = f"persistence: {how}; not needed, a lost list is made anew"
    return Finding(check=check, status="ok", text=text)
