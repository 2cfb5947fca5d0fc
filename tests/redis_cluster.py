"""A real Redis Cluster of three primaries on loopback, joined by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis import Redis

from local.ports import free_port
from local.redis import RedisServer
from state.tombstones import NUM_SLOTS

NUM_NODES = 3
_JOIN_BOUND_S = 60.0


@contextmanager
def joined_primaries(
    start: Callable[..., RedisServer],
) -> Iterator[tuple[list[RedisServer], list[Redis]]]:
    """Start nodes that own a third of the slots each; give servers and a plain client of each."""
    # Named, for the server's port + 10,000 lies where outgoing connections take theirs.
    buses = [free_port() for _ in range(NUM_NODES)]
    servers = [start(properties={"cluster-enabled": "yes", "cluster-port": str(p)}) for p in buses]
    clients = [Redis.from_url(server.url) for server in servers]
    borders = [NUM_SLOTS * node // NUM_NODES for node in range(NUM_NODES + 1)]
    for node, client in enumerate(clients):
        client.execute_command("CLUSTER ADDSLOTSRANGE", borders[node], borders[node + 1] - 1)
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", node + 1)
    for server, bus in zip(servers[1:], buses[1:], strict=True):
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", server.port, bus)
    deadline = time.monotonic() + _JOIN_BOUND_S
    while not all(_is_whole(client) for client in clients):
        assert time.monotonic() < deadline, f"the cluster did not form within {_JOIN_BOUND_S} s"
        time.sleep(0.05)
    yield servers, clients
    for client in clients:
        client.close()


def _is_whole(client: Redis) -> bool:
    # redis-py gives a dictionary or the raw text, depending on its version's parsers.
    info = client.execute_command("CLUSTER INFO")
    if isinstance(info, bytes):
        info = dict(line.split(":") for line in info.decode().split())
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == NUM_NODES
