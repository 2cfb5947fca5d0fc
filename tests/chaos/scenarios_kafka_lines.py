"""Scenarios 2 and 5: the line between a worker and Kafka is bad; the broker itself is well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from local.kafka import KafkaServer
from local.ports import free_port
from tests.chaos.fault_proxy import BLACK_HOLE, Fault, FaultProxy, proxied_listener
from tests.chaos.judgement import settle
from tests.chaos.scenarios import Figures, scenario
from tests.chaos.world import World
from tests.integration.workers import until

_RATE = 150.0
# How long each fault lasts: longer than a session of 4 s only where that is the point.
_AWAY_S = 3.0
_PAST_SESSION_S = 8.0


@contextmanager
def _proxied(world: World) -> Iterator[FaultProxy]:
    """Give the scenario's broker a second listener, reached by a proxy alone; settle at the end.

    The load and the probes go past it.
    """
    behind = free_port()
    with FaultProxy(behind, seed=world.seed) as proxy:
        world.kafka.stop()
        listeners = proxied_listener(
            port=world.kafka.port,
            behind_port=behind,
            proxy_port=proxy.port,
            controller_port=free_port(),
        )
        folder, port = world.kafka.data_dir, world.kafka.port
        world.kafka = KafkaServer(folder, port=port, properties=listeners)
        try:
            world.kafka.start()
            yield proxy
            proxy.heal()
            world.heal()
            settle(world, world.verdicts)
        finally:
            world.deployment.close()
            world.kafka.kill()


@scenario(2, "kafka's line is cut, reset, refused, slow", broker={})
def kafka_unsteady(world: World) -> Figures:
    """The line, not the broker: connections are cut amid answers, reset, refused, slow."""
    with _proxied(world) as proxy:
        world.start_workers(2, KAFKA=proxy.bootstrap)
        world.start_load(_RATE)
        world.wait_durable(300)
        for direction in ("answers", "requests"):
            proxy.set(Fault(cut_after_bytes=(1, 20_000), cut_direction=direction))  # type: ignore[arg-type]
            time.sleep(_AWAY_S)
        cuts = proxy.num_cut
        proxy.set(Fault(reset=True))
        resets = proxy.reset_all()
        time.sleep(_AWAY_S)
        proxy.set(Fault(refuse=True))
        resets += proxy.reset_all()
        time.sleep(_AWAY_S)
        proxy.set(Fault(delay_ms=300, jitter_ms=200))
        world.wait_applied(int(_RATE * _AWAY_S))
        proxy.set(Fault(bytes_per_s=50_000))
        world.wait_applied(int(_RATE * _AWAY_S))
        proxy.set(BLACK_HOLE)
        time.sleep(_AWAY_S)
        proxy.heal()
        world.heal()
        world.wait_durable(300)
    return {"cuts": cuts, "resets": resets}


@scenario(5, "worker cut off from kafka past its session", broker={})
def cut_off(world: World) -> Figures:
    """One of two hears nothing of Kafka while Redis is there; the other takes over; both go on."""
    with _proxied(world) as proxy:
        (stays,) = world.start_workers(1)
        (lonely,) = world.start_workers(1, KAFKA=proxy.bootstrap)
        until(lambda: world.partitions_of(lonely), "both hold partitions")
        world.start_load(_RATE)
        world.wait_durable(300)
        held = world.partitions_of(lonely)
        begin_s = time.monotonic()
        proxy.set(BLACK_HOLE)
        world.note_recovery(begin_s, held, since_s=begin_s + _PAST_SESSION_S / 2)
        until(lambda: world.partitions_of(stays) == {0, 1, 2}, "the other took over")
        proxy.heal()
        world.heal()
        # What it had sent before comes now, from a writer that nobody listens to; only then
        # does the end of item-deltas say how far a state has come.
        time.sleep(_PAST_SESSION_S)
        until(lambda: world.partitions_of(lonely) or lonely.exits, "it works again or exits")
        world.wait_durable(300)
    return {"ended": len(lonely.exits)}
