"""Scenario 20: minutes of load with one random fault after the other."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable

from tests.chaos.load import Mix
from tests.chaos.scenarios import LONG, Figures, scenario
from tests.chaos.world import RESTART_S, Slot, World
from tests.integration.workers import until


def _kill(world: World, slot: Slot) -> None:
    world.kill_and_restart(slot)


def _stop_and_start(world: World, slot: Slot) -> None:
    slot.is_expected_to_end = True
    worker = slot.worker
    # One that ended by itself a moment ago is being started anew: a signal ends Python then.
    assert worker.stop() == 0 or not worker.health, worker.log[-1500:]
    world.launch(slot).wait_ready()


def _sleep(world: World, slot: Slot) -> None:
    slot.worker.send(signal.SIGSTOP)
    time.sleep(world.random.uniform(0.5, 8.0))
    slot.worker.send(signal.SIGCONT)


def _broker(world: World, slot: Slot) -> None:
    world.kafka.kill()
    time.sleep(RESTART_S)
    world.kafka.start()


def _redis(world: World, slot: Slot) -> None:
    with world.redis_away():
        world.redis.kill()
        time.sleep(world.random.uniform(0.2, 3.0))
        world.redis.start()


_FAULTS: dict[str, Callable[[World, Slot], None]] = {
    "kill": _kill,
    "stop": _stop_and_start,
    "sleep": _sleep,
    "broker": _broker,
    "redis": _redis,
}


def _soak(world: World, seconds: float) -> Figures:
    slots = world.start_workers(2)
    world.start_load(150, mix=Mix(erases=0.005, bad=0.005, misrouted=0.01, duplicates=0.05))
    world.wait_durable(200)
    played: Counter[str] = Counter()
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        name = world.random.choice(sorted(_FAULTS))
        # The first worker is left alone where that can be, so that its memory can be followed.
        _FAULTS[name](world, slots[1])
        world.heal()
        played[name] += 1
        time.sleep(world.random.uniform(1.0, 5.0))
        until(lambda: slots[1].worker.health, "the second worker is back")
        world.wait_durable(50)
    return {
        "minutes": round(seconds / 60, 1),
        "faults": sum(played.values()),
        "memory_mb_per_minute": world.offsets.memory_slope(slots[0].worker.pid),
    }


@scenario(20, "soak, random faults")
def soak(world: World) -> Figures:
    return _soak(world, 180.0)


@scenario(20, "soak, random faults, 1 h", tier=LONG)
def long_soak(world: World) -> Figures:
    return _soak(world, 3_600.0)
