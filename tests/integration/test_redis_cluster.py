"""A worker on a real Redis Cluster: lists on every node, a slot that moves, one that dies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import RedisCluster

from consumers.sink_keys import list_keys
from local.redis import RedisServer
from state.tombstones import NUM_SLOTS, slot_of
from tests.integration.answers import newest_applied
from tests.integration.conftest import Deploy
from tests.integration.workers import until
from tests.list_versions import parse_version
from tests.redis_cluster import NUM_NODES, joined_primaries
from tests.wire_logs import wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

LOG = wire_log(900, seed=4, num_users=40, num_items=60)


def test_every_list_is_newest_after_a_slot_moved_and_a_node_came_back_empty(
    deploy: Deploy, redis_server: Callable[..., RedisServer]
) -> None:
    with joined_primaries(redis_server) as (servers, nodes):
        deployment = deploy(redis_url=servers[0].url, SINK__CLUSTER=1)
        deployment.worker()
        lists = RedisCluster.from_url(servers[0].url)

        def behind() -> list[str]:
            records = deployment.records(deployment.interactions, deployment.partitions)
            found = []
            for user_id, (offset, is_erased) in newest_applied(records).items():
                version = lists.hget(list_keys(user_id.encode())[0], "version")
                is_new = version and parse_version(version.decode()).next_offset > offset
                if not is_erased and not is_new:
                    found.append(user_id)
            return found

        def caught_up(lines: list[bytes]) -> None:
            deployment.produce(lines)
            deployment.drain()
            until(lambda: not behind(), "every list reflects its user's newest event")

        caught_up(LOG[:300])
        assert all(node.dbsize() for node in nodes)

        # A slot without keys moves: clients that knew its owner meet MOVED.
        slot = slot_of(list_keys(b"moved")[0])
        target = (slot * NUM_NODES // NUM_SLOTS + 1) % NUM_NODES
        name = nodes[target].execute_command("CLUSTER MYID")
        for node in nodes:
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", name)
        moved = [line.replace(b'"user_id": "u1"', b'"user_id": "moved"') for line in LOG[300:600]]
        caught_up(moved)

        # A node loses all it had: everybody whose list stood there gets it again.
        nodes[1].flushall()
        caught_up(LOG[600:])
        assert nodes[1].dbsize()
        lists.close()
        deployment.stop_all()
