"""Lists per second into Redis: encode, compare-and-set by version, every reply checked.

Starts a Redis server of its own (``local.redis``) unless HEADWATER_REDIS names one, pins it and the
client to different cores where there are two, and writes seeded batches of lists of 50 items from
one process over a few pipelined connections. Every list replaces an older one, as in service.
Prints one JSON line: ``lists_per_s`` (median of the rounds), bytes per list, CPU per list.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import statistics
import sys
import time

import numpy as np

from consumers.redis_client import connect_redis
from consumers.sink import RedisSink
from local.redis import RedisServer
from stream.candidates import SOURCES, RecommendationBatch
from stream.list_json import encode_lists

NUM_USERS = 20_480
NUM_ITEMS = 50
BATCH = 256
TASKS = 4
ROUNDS = 7


def batches(rng: np.random.Generator) -> list[RecommendationBatch]:
    """Return batches of slates that cover every user once; two or three sources per item."""
    catalogue = [b"item-%06d" % row for row in range(10_000)]
    result = []
    for begin in range(0, NUM_USERS, BATCH):
        total = BATCH * NUM_ITEMS
        rows = rng.integers(0, len(catalogue), total).astype(np.int32)
        scores = np.sort(rng.random((BATCH, NUM_ITEMS), np.float32), axis=1)[:, ::-1].ravel()
        ranks = rng.integers(1, 300, (total, len(SOURCES))).astype(np.uint16)
        ranks[rng.random(ranks.shape) > 0.35] = 0
        result.append(
            RecommendationBatch(
                partition=0,
                next_offset=0,
                user_ids=tuple(b"user-%06d" % user for user in range(begin, begin + BATCH)),
                user_rows=np.arange(begin, begin + BATCH, dtype=np.int32),
                events_to_ms=np.full(BATCH, 1_700_000_000_000, np.int64),
                now_ms=np.full(BATCH, 1_700_000_000_000, np.int64),
                splits=np.arange(BATCH + 1, dtype=np.int64) * NUM_ITEMS,
                item_ids=tuple(catalogue[row] for row in rows),
                item_rows=rows,
                scores=scores,
                ranks=ranks,
                heads=np.zeros((total, 0), np.float32),
                model="fusion",
                model_sequence=0,
            )
        )
    return result


async def write_round(
    sink: RedisSink, work: list[RecommendationBatch], generated_at_ms: int
) -> float:
    """Write every batch once; return seconds. Ends the run when a list was not accepted."""
    queue = iter(work)

    async def drain() -> None:
        for batch in queue:
            report = await sink.write(batch, generated_at_ms=generated_at_ms)
            if report.counts != {"accepted": len(batch)}:
                sys.exit(f"expected {len(batch)} accepted lists, got {report.counts}")

    begin = time.perf_counter()
    await asyncio.gather(*(drain() for _ in range(TASKS)))
    return time.perf_counter() - begin


async def measure(url: str) -> dict[str, object]:
    """Warm up, run the rounds, return the figures."""
    work = batches(np.random.default_rng(7))
    client = connect_redis(url)
    sink = RedisSink(client, epoch=1, max_pipeline=BATCH, max_pipelines=3)
    await write_round(sink, work, 1)
    gc.collect()
    seconds = []
    cpu = time.process_time()
    for number in range(ROUNDS):
        seconds.append(await write_round(sink, work, 2 + number))
    cpu = time.process_time() - cpu
    await client.aclose()
    begin = time.perf_counter()
    texts = [encode_lists(batch)[0] for batch in work]
    encode_s = time.perf_counter() - begin
    return {
        "lists_per_s": round(NUM_USERS / statistics.median(seconds)),
        "lists_per_s_min": round(NUM_USERS / max(seconds)),
        "lists_per_s_max": round(NUM_USERS / min(seconds)),
        "items_per_list": NUM_ITEMS,
        "bytes_per_list": round(sum(len(text) for part in texts for text in part) / NUM_USERS),
        "client_cpu_us_per_list": round(cpu / ROUNDS / NUM_USERS * 1e6, 2),
        "encode_us_per_list": round(encode_s / NUM_USERS * 1e6, 2),
        "rounds": ROUNDS,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Run against HEADWATER_REDIS, or a server of our own pinned to another core."""
    named = os.environ.get("HEADWATER_REDIS")
    if named:
        print(json.dumps(asyncio.run(measure(named))))
        return
    with RedisServer() as server:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if len(cores) > 1:
            os.sched_setaffinity(server.pid, cores[1:])
            os.sched_setaffinity(0, cores[:1])
        print(json.dumps(asyncio.run(measure(server.url))))


if __name__ == "__main__":
    main()
