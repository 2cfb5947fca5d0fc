"""The refresh loop on a real Redis that dies and comes back empty."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from redis import Redis

from consumers.redis_client import connect_redis
from consumers.refresh import RefreshLoop, Retrieved
from consumers.sink import RedisSink
from stream.candidates import SOURCES, RecommendationBatch
from stream.dirty_users import PASSIVE, DirtyUsers
from stream.freshness import FreshnessHistograms, FreshnessLedger
from stream.refresh_queue import RefreshQueue
from tests.list_versions import parse_version

pytestmark = pytest.mark.redis

NUM_USERS = 50


def lists_of(work):
    next_offset, rows = work
    size = len(rows)
    return RecommendationBatch(
        partition=0,
        next_offset=next_offset,
        user_ids=tuple(b"u%d" % row for row in rows),
        user_rows=np.array(rows, np.int32),
        events_to_ms=np.zeros(size, np.int64),
        now_ms=np.zeros(size, np.int64),
        splits=np.arange(size + 1, dtype=np.int64),
        item_ids=(b"item",) * size,
        item_rows=np.zeros(size, np.int32),
        scores=np.ones(size, np.float32),
        ranks=np.ones((size, len(SOURCES)), np.uint16),
        heads=np.empty((size, 0), np.float32),
        model="fusion",
        model_sequence=0,
    )


def test_after_an_outage_every_touched_user_has_a_list_of_the_newest_event(redis_server):
    server = redis_server()
    applied = [0]
    queue = RefreshQueue(max_users=NUM_USERS, interval_ms=0, max_batch=8, max_wait_ms=0)
    ledger = FreshnessLedger(max_events=10_000)
    threads = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    def touch(loop):
        """Apply one event per user."""
        rows = np.arange(NUM_USERS, dtype=np.int32)
        offsets = np.arange(applied[0], applied[0] + NUM_USERS, dtype=np.int64)
        applied[0] += NUM_USERS
        ledger.append(
            0,
            user_rows=rows,
            offsets=offsets,
            times_ms=np.zeros(NUM_USERS, np.int64),
            actions=np.zeros(NUM_USERS, np.uint8),
        )
        loop.mark(
            DirtyUsers(
                partition=0,
                user_rows=rows,
                user_ids=[b"u%d" % row for row in rows],
                levels=np.full(NUM_USERS, PASSIVE, np.int8),
            )
        )

    async def run():
        client = connect_redis(server.url, timeout_ms=200)
        sink = RedisSink(client, epoch=1, backoff_ms=1, max_attempts=2)
        loop = RefreshLoop(
            queue=queue,
            ledger=ledger,
            freshness=FreshnessHistograms(),
            retrieve=lambda batch: Retrieved(
                work=(applied[0], batch.user_rows.tolist()),
                is_gone=np.zeros(len(batch), np.bool_),
            ),
            score=lists_of,
            write=sink.write,
            state_executor=threads[0],
            scorer_executor=threads[1],
            monotonic_ms=lambda: 0,
            wall_ms=lambda: 1_000,
            backoff_ms=1,
            max_backoff_ms=5,
        )
        task = asyncio.create_task(loop.run())
        touch(loop)
        assert await loop.drain(20_000)
        server.kill()
        touch(loop)
        assert not await loop.drain(100)
        assert len(ledger) == NUM_USERS
        touch(loop)
        server.start()
        assert await loop.drain(20_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.aclose()

    try:
        asyncio.run(run())
    finally:
        for thread in threads:
            thread.shutdown()
    assert len(ledger) == 0
    with Redis.from_url(server.url) as client:
        for user in range(NUM_USERS):
            version = parse_version(client.hget(f"rec:{{u{user}}}", "version").decode())
            assert version.next_offset >= 2 * NUM_USERS + user + 1
