"""Scenarios 10 to 13: Redis is down, slow, full, empty, or takes no writes."""

from __future__ import annotations

import shutil
import time

from redis import Redis

from tests.chaos.scenarios import QUICK, Figures, scenario
from tests.chaos.world import World
from tests.integration.workers import until


@scenario(10, "redis down", tier=QUICK, rests_on_redis=False)
def redis_down(world: World) -> Figures:
    """Kill Redis under load and start it on its data; state goes on meanwhile."""
    world.start_workers(2)
    world.start_load(250)
    world.wait_durable(300)
    down_s = world.random.uniform(4.0, 8.0)
    begin_s = time.monotonic()
    with world.redis_away():
        world.redis.kill()
        time.sleep(down_s)
        world.wait_applied(200)
        world.redis.start()
    world.note_recovery(begin_s, {0, 1, 2}, since_s=world.healed_s)
    back_s = time.monotonic() - world.healed_s
    world.wait_durable(100)
    return {"down_s": round(down_s, 1), "written_again_s": round(back_s, 2)}


@scenario(10, "redis restarted empty", rests_on_redis=False)
def redis_empty(world: World) -> Figures:
    """Kill Redis and lose its data: every user gets a list again, also who does nothing."""
    world.start_workers(2)
    load = world.start_load(250)
    world.wait_durable(500)
    load.stop()
    world.deployment.drain()
    redis = world.deployment.redis
    until(lambda: redis.exists("rec:trending"), "there is a list for strangers")
    with world.redis_away():
        keys = set(redis.scan_iter("rec:*"))
        world.redis.kill()
        shutil.rmtree(world.deployment.folder / "redis")
        world.redis.start()
    begin_s = time.monotonic()
    until(lambda: set(redis.scan_iter("rec:*")) >= keys, "every list is back")
    return {"lists": len(keys), "rebuilt_s": round(time.monotonic() - begin_s, 2)}


def _refusing(world: World, *, refuse: dict[str, str], accept: dict[str, str]) -> float:
    """Let Redis take no writes for a while under load; return s until lists are written again."""
    world.start_workers(2)
    world.start_load(250)
    world.wait_durable(300)
    with Redis.from_url(world.redis.url) as admin:
        for name, value in refuse.items():
            admin.config_set(name, value)
        world.wait_applied(500)
        for name, value in accept.items():
            admin.config_set(name, value)
    world.heal()
    until(lambda: world.lists.first_write_after(world.healed_s, {0, 1, 2}), "written again")
    back_s = time.monotonic() - world.healed_s
    world.wait_durable(100)
    return round(back_s, 2)


@scenario(12, "redis full, noeviction")
def redis_full(world: World) -> Figures:
    back_s = _refusing(
        world,
        refuse={"maxmemory-policy": "noeviction", "maxmemory": "1"},
        accept={"maxmemory": "0"},
    )
    return {"written_again_s": back_s}


@scenario(13, "redis takes no writes")
def redis_read_only(world: World) -> Figures:
    """A server that wants a replica before it writes answers NOREPLICAS: reads go on."""
    back_s = _refusing(
        world, refuse={"min-replicas-to-write": "1"}, accept={"min-replicas-to-write": "0"}
    )
    return {"written_again_s": back_s}
