"""The sink against a real Redis Cluster: three primaries, started and joined by the test."""

import asyncio

import numpy as np
import pytest

from consumers.redis_client import check_redis, connect_redis
from consumers.sink import RedisSink
from consumers.sink_keys import list_keys, slot_tags
from consumers.sink_replies import Reply
from state.tombstones import NUM_SLOTS, slot_of
from stream.candidates import SOURCES, RecommendationBatch
from stream.errors import ServerUnreachable
from stream.versions import erase_version
from tests.containers import FOLDER
from tests.redis_cluster import NUM_NODES, joined_primaries

pytestmark = pytest.mark.redis

EXAMPLE = FOLDER / "redis" / "users.acl.example"


def batch_of(users, *, next_offset):
    """Build a batch of one-item lists."""
    return RecommendationBatch(
        partition=0,
        next_offset=next_offset,
        user_ids=tuple(users),
        user_rows=np.arange(len(users), dtype=np.int32),
        events_to_ms=np.zeros(len(users), np.int64),
        now_ms=np.zeros(len(users), np.int64),
        splits=np.arange(len(users) + 1, dtype=np.int64),
        item_ids=(b"item",) * len(users),
        item_rows=np.zeros(len(users), np.int32),
        scores=np.ones(len(users), np.float32),
        ranks=np.ones((len(users), len(SOURCES)), np.uint16),
        heads=np.zeros((len(users), 0), np.float32),
        model="fusion",
        model_sequence=0,
    )


@pytest.fixture
def cluster(redis_server):
    """Give servers and clients of three joined primaries; each owns a third of the slots."""
    with joined_primaries(redis_server) as found:
        yield found


def with_sink(server, use, **options):
    async def run():
        client = connect_redis(server.url, is_cluster=True)
        try:
            return await use(RedisSink(client, epoch=1, backoff_ms=1, **options))
        finally:
            await client.aclose()

    return asyncio.run(run())


def kinds(report):
    return [Reply(int(code)) for code in report.replies]


def test_slots_are_the_servers_own(cluster):
    _, clients = cluster
    pipeline = clients[0].pipeline(transaction=False)
    tags = slot_tags()
    for tag in tags:
        pipeline.execute_command("CLUSTER KEYSLOT", b"erased:{%b}:0" % tag)
    assert pipeline.execute() == list(range(NUM_SLOTS))
    odd = [b"a}b", b"}x", b"{", b"{}", b"a{b}c", "ü".encode()]
    for user in odd:
        for key in list_keys(user):
            assert clients[0].execute_command("CLUSTER KEYSLOT", key) == slot_of(key)


def test_lists_of_all_nodes_are_written_compared_and_erased(cluster):
    servers, clients = cluster
    users = [b"u%d" % number for number in range(60)] + [b"a}b", b"}x", b"{", b"{}"]

    async def use(sink):
        first = await sink.write(batch_of(users, next_offset=5), generated_at_ms=1)
        stale = await sink.write(batch_of(users, next_offset=4), generated_at_ms=1)
        erased = await sink.erase_all([(user, erase_version(epoch=1, offset=9)) for user in users])
        zombie = await sink.write(batch_of(users, next_offset=9), generated_at_ms=1)
        return [set(kinds(report)) for report in (first, stale, erased, zombie)]

    assert with_sink(servers[0], use) == [
        {Reply.ACCEPTED},
        {Reply.STALE},
        {Reply.ACCEPTED},
        {Reply.BLOCKED},
    ]
    assert all(client.dbsize() > 0 for client in clients)
    assert sum(client.dbsize() for client in clients) == len(users)  # Tombstones only.


def test_a_slot_that_moved_is_followed(cluster):
    servers, clients = cluster
    key = list_keys(b"u1")[0]
    slot = slot_of(key)
    owner = slot * NUM_NODES // NUM_SLOTS
    target = (owner + 1) % NUM_NODES
    target_id = clients[target].execute_command("CLUSTER MYID")

    async def use(sink):
        await sink.write(batch_of([b"u2"], next_offset=1), generated_at_ms=1)
        for client in clients:
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
        return kinds(await sink.write(batch_of([b"u1"], next_offset=1), generated_at_ms=1))

    assert with_sink(servers[0], use) == [Reply.ACCEPTED]
    assert clients[target].exists(key)


def test_a_dead_node_fails_its_own_lists_only(cluster):
    servers, _ = cluster
    users = [b"u%d" % number for number in range(30)]
    is_lost = np.array(
        [slot_of(list_keys(user)[0]) * NUM_NODES // NUM_SLOTS == 1 for user in users]
    )
    assert 0 < is_lost.sum() < len(users)

    async def use(sink):
        await sink.write(batch_of(users, next_offset=1), generated_at_ms=1)
        servers[1].kill()
        # Again and again: the first write finds connections that break, later ones find none.
        return [
            (await sink.write(batch_of(users, next_offset=number), generated_at_ms=1)).is_answered
            for number in range(2, 5)
        ]

    for is_answered in with_sink(servers[0], use, max_attempts=2):
        assert is_answered.tolist() == (~is_lost).tolist()


def test_a_user_without_the_rights_of_a_cluster_is_told_them_and_with_them_writes(cluster):
    servers, clients = cluster
    rules = (EXAMPLE.read_text().split("user headwater ")[1]).splitlines()[0].split()
    for client in clients:
        known = [each for each in rules if "setinfo" not in each]
        client.execute_command("ACL", "SETUSER", "headwater", *known)
    url = f"redis://headwater:WORKER-PASSWORD@127.0.0.1:{servers[0].port}/0"

    async def check():
        await check_redis(made := connect_redis(url, is_cluster=True))
        report = await RedisSink(made, epoch=1).write(
            batch_of([b"u1"], next_offset=1), generated_at_ms=1
        )
        await made.aclose()
        return kinds(report)

    with pytest.raises(
        ServerUnreachable, match=r"HEADWATER_SINK__CLUSTER.*\+cluster\|slots \+command"
    ):
        asyncio.run(check())
    for client in clients:
        client.execute_command("ACL", "SETUSER", "headwater", "+cluster|slots", "+command")
    assert asyncio.run(check()) == [Reply.ACCEPTED]


def test_a_plain_client_against_a_cluster_reports_moved(cluster):
    servers, _ = cluster
    users = [b"u%d" % number for number in range(30)]

    async def run():
        client = connect_redis(servers[0].url)
        report = await RedisSink(client, epoch=1, backoff_ms=1).write(
            batch_of(users, next_offset=1), generated_at_ms=1
        )
        await client.aclose()
        return set(kinds(report))

    assert asyncio.run(run()) == {Reply.ACCEPTED, Reply.MOVED}
