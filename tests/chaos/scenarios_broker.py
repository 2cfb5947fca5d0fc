"""Scenarios 1 to 3: the broker restarts, is killed, is away."""

from __future__ import annotations

import time

from tests.chaos.scenarios import LONG, QUICK, Figures, scenario
from tests.chaos.world import RESTART_S, World

ALL = {0, 1, 2}


def _broker_down(world: World, *, down_s: float = RESTART_S, gracefully: bool = False) -> None:
    """Take the broker away under load and bring it back; what it hit must be written again."""
    begin_s = time.monotonic()
    if gracefully:
        world.kafka.stop()
    else:
        world.kafka.kill()
    time.sleep(down_s)
    world.kafka.start()
    world.heal()
    world.note_recovery(begin_s, ALL, since_s=world.healed_s)


@scenario(1, "broker restart", settings={"WORKER__SESSION_TIMEOUT_S": 6})
def broker_restarts(world: World) -> Figures:
    world.start_workers(2)
    load = world.start_load(200)
    world.wait_durable(400)
    for _ in range(2):
        _broker_down(world, gracefully=True)
        world.wait_durable(200)
    return {"restarts": 2, "refused": len(load.refused)}


@scenario(2, "broker kill -9 under load", tier=QUICK)
def broker_killed(world: World) -> Figures:
    world.start_workers(2)
    load = world.start_load(250)
    world.wait_durable(500)
    for _ in range(2):
        time.sleep(world.random.uniform(0.2, 1.0))
        _broker_down(world)
        world.wait_durable(200)
    return {"kills": 2, "refused": len(load.refused)}


def _stays_down(world: World, down_s: float) -> Figures:
    """Start a worker while the broker is away; workers that give up are started again."""
    world.start_workers(1)
    load = world.start_load(200)
    world.wait_durable(300)
    begin_s = time.monotonic()
    world.kafka.kill()
    late = world.add_slot()
    time.sleep(down_s)
    world.kafka.start()
    world.heal()
    world.note_recovery(begin_s, ALL, since_s=world.healed_s)
    world.wait_durable(300)
    ends = sum(len(slot.exits) for slot in world.slots)
    return {
        "down_s": down_s,
        "workers_ended_with_reason": ends,
        "started_meanwhile_ended": len(late.exits),
        "refused": len(load.refused),
    }


@scenario(3, "broker down 60 s")
def broker_down(world: World) -> Figures:
    return _stays_down(world, 60.0)


@scenario(3, "broker down 5 min", tier=LONG)
def broker_down_long(world: World) -> Figures:
    return _stays_down(world, 300.0)
