"""Scenarios 10 to 13: the line to Redis is bad, Redis is read-only, or another one, or strict."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from local.redis import RedisServer
from tests.chaos.fault_proxy import BLACK_HOLE, Fault, FaultProxy
from tests.chaos.judgement import settle
from tests.chaos.scenarios import Figures, scenario
from tests.chaos.world import ROOT, World
from tests.integration.workers import until

_USERS = ROOT / "docker" / "redis" / "users.acl.example"
_RATE = 150.0
# How long each fault lasts; what it does is done within the first second or two.
_AWAY_S = 6.0


def _replies(world: World, kind: str) -> int:
    """Return how many of the living workers' writes had this reply."""
    total = 0
    for slot in world.slots:
        if slot.worker.process.poll() is None:
            with urllib.request.urlopen(f"{slot.worker.health}/metrics", timeout=30) as answer:
                text = answer.read().decode()
            found = re.findall(rf'headwater_sink_replies_total\{{kind="{kind}"\}} (\S+)', text)
            total += int(float(found[0])) if found else 0
    return total


def _wait_for(world: World, kind: str) -> None:
    before = _replies(world, kind)
    until(lambda: _replies(world, kind) > before, f"a write is answered with {kind}")


@contextmanager
def _proxied(world: World) -> Iterator[FaultProxy]:
    """Start two workers that reach Redis by a proxy, under load; end healed, proxy and all.

    Settling needs the workers' Redis: it is done while the proxy is still there.
    """
    with FaultProxy(world.redis.port, seed=world.seed) as proxy:
        world.start_workers(2, REDIS=proxy.redis_url)
        world.start_load(_RATE)
        world.wait_durable(300)
        yield proxy
        if not world.verdicts.is_settled:
            settle(world, world.verdicts)


@scenario(10, "redis refuses, resets, cuts its answers")
def redis_unsteady(world: World) -> Figures:
    """The line, not the server: connections are refused, reset, cut amid replies."""
    with _proxied(world) as proxy:
        proxy.set(Fault(cut_after_bytes=(1, 2_000)))
        time.sleep(_AWAY_S)
        cuts = proxy.num_cut
        proxy.set(Fault(reset=True))
        resets = proxy.reset_all()
        _wait_for(world, "unreachable")
        proxy.set(Fault(refuse=True))
        _wait_for(world, "unreachable")
        proxy.heal()
        world.heal()
    return {"cuts": cuts, "resets": resets}


@scenario(11, "redis slow")
def redis_slow(world: World) -> Figures:
    """Half a second each way, then twenty kilobytes per second, then nothing at all."""
    with _proxied(world) as proxy:
        proxy.set(Fault(delay_ms=400, jitter_ms=200))
        world.wait_applied(int(_RATE * _AWAY_S / 2))
        proxy.set(Fault(bytes_per_s=20_000))
        world.wait_applied(int(_RATE * _AWAY_S))
        proxy.set(BLACK_HOLE)
        _wait_for(world, "unreachable")
        proxy.heal()
        world.heal()
    return {"delay_ms": 400, "bytes_per_s": 20_000}


def _catch_up_s(world: World) -> float | None:
    found = world.verdicts.catch_up_s
    return None if found is None else round(found, 1)


def _replica(world: World, folder: Path, *, of_port: int) -> RedisServer:
    """Start a replica and wait until it has everything."""
    replica = RedisServer(folder, properties={"replicaof": f"127.0.0.1 {of_port}"})
    replica.start()
    with Redis.from_url(replica.url) as client:
        until(
            lambda: client.info("replication")["master_link_status"] == "up", "the replica follows"
        )
    return replica


@scenario(13, "redis fail-over, planned")
def redis_failover(world: World) -> Figures:
    """The replica is promoted in step; clients of the old one meet READONLY, then are led over."""
    with _proxied(world) as proxy:
        replica = _replica(world, world.deployment.folder / "replica", of_port=world.redis.port)
        try:
            world.deployment.redis.execute_command("FAILOVER TO 127.0.0.1", replica.port)
            _wait_for(world, "readonly")
            refused = _replies(world, "readonly")
            proxy.redirect(replica.port)
            world.heal()
            settle(world, world.verdicts)  # The old one follows by now: reads there are of both.
            return {"refused": refused, "catch_up_s": _catch_up_s(world)}
        finally:
            world.deployment.stop_all()
            replica.kill()


@scenario(
    13, "redis fail-over that loses the last writes", rests_on_redis=False, may_lose_lists=True
)
def redis_failover_lost(world: World) -> Figures:
    """The replica lags, the primary dies, the replica is promoted: acknowledged lists are gone."""
    folder = world.deployment.folder / "replica"
    with FaultProxy(world.redis.port) as line, FaultProxy(world.redis.port) as proxy:
        world.start_workers(2, REDIS=proxy.redis_url)
        load = world.start_load(_RATE)
        world.wait_durable(300)
        replica = _replica(world, folder, of_port=line.port)
        try:
            line.set(BLACK_HOLE)
            world.wait_applied(int(_RATE * 3))
            load.stop()
            world.deployment.drain()
            until(
                lambda: (
                    not any(
                        slot.worker.stats()["freshness_ms"]["outstanding"] for slot in world.slots
                    )
                ),
                "every event has a list",
            )
            world.redis.kill()
            with Redis.from_url(replica.url) as client:
                client.replicaof("NO", "ONE")
            proxy.redirect(replica.port)
            world.heal()
            world.deployment.redis = Redis.from_url(replica.url)
            settle(world, world.verdicts)
            return {"catch_up_s": _catch_up_s(world)}
        finally:
            world.deployment.stop_all()
            replica.kill()


@scenario(13, "redis read-only for a while")
def redis_read_only(world: World) -> Figures:
    """The server itself becomes a replica of nobody that answers, and a primary again."""
    world.start_workers(2)
    world.start_load(_RATE)
    world.wait_durable(300)
    world.deployment.redis.replicaof("127.0.0.1", 1)
    _wait_for(world, "readonly")
    world.wait_applied(int(_RATE * _AWAY_S))
    refused = _replies(world, "readonly")
    world.deployment.redis.replicaof("NO", "ONE")
    world.heal()
    return {"refused": refused}


@scenario(13, "redis with users that may do no more than they must", rests_on_redis=False)
def redis_least_privilege(world: World) -> Figures:
    """Workers run as the documented user; Redis denies nothing, also after it came back empty."""
    admin = world.deployment.redis
    text = _USERS.read_text()
    major, minor = map(int, admin.info("server")["redis_version"].split(".")[:2])
    if (major, minor) < (7, 2):
        text = text.replace(" +client|setinfo", "")  # Not known before.
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["user"] and words[1] != "default":
            admin.execute_command("ACL", "SETUSER", *words[1:])
    url = f"redis://headwater:WORKER-PASSWORD@127.0.0.1:{world.redis.port}/0"
    world.start_workers(2, REDIS=url)
    world.start_load(_RATE)
    world.wait_durable(300)
    admin.flushall()
    world.wait_applied(int(_RATE * _AWAY_S))
    denied = [entry for entry in admin.acl_log() if "setinfo" not in str(entry)]
    assert not denied, f"redis denied {denied[:3]}"
    reader = f"redis://reader:READER-PASSWORD@127.0.0.1:{world.redis.port}/0"
    user = next(iter(world.lists.newest))
    found = world.deployment.run("recs", user, "--json", REDIS=reader)
    assert found.returncode == 0, found.stderr
    world.heal()
    return {"denied": len(denied)}
