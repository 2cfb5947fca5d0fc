"""Users refreshed per second on one core: retrieval, gathering, scoring, reranking, naming.

10 K live items, histories of 50, all seven sources, 300 candidates, slates of 50, micro-batches of
64 users, event time moving on with every one, as in a worker. Pins itself to one core and keeps
BLAS and torch to one thread. Prints one JSON line with ``fusion.users_per_s`` and
``network.users_per_s`` (medians of the rounds; a round goes once over all users) and, per ranker,
microseconds per user of each step and of CPU time, for a machine that has other work.

Run: ``python benchmarks/bench_refresh.py [--items 10000] [--rounds 7] [--ranker fusion|network]``.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from refresh_world import NOW_MS, RefreshWorld, make_users, make_world

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.fusion import FusionRanker
from models.network import NetworkConfig, RankingNetwork
from models.ranking import Ranker
from models.scorer import TorchScorer
from models.weights import NetworkWeights
from stream.candidates import SOURCES, UserBatch
from stream.ranking_inputs import gather
from stream.rerank import RerankLimits, rerank
from stream.slates import recommendations
from stream.sources import RetrievalLimits, SharedListCache, retrieve

HISTORY = 50
BATCH = 64
NUM_BATCHES = 16
STEPS = ("retrieve", "gather", "score", "rerank", "name")


def refresh_all(
    world: RefreshWorld, batches: list[UserBatch], ranker: Ranker, shared: SharedListCache
) -> tuple[dict[str, float], int]:
    """Make every user's list once; return CPU seconds per step and the number of candidates."""
    catalogue, retrieval, reranking = world.catalogue, RetrievalLimits(), RerankLimits()
    seconds = dict.fromkeys(STEPS, 0.0)
    num_candidates = 0
    for users in batches:
        marks = [time.thread_time()]
        candidates = retrieve(users, catalogue, limits=retrieval, shared=shared)
        marks.append(time.thread_time())
        inputs = gather(users, candidates, catalogue)
        marks.append(time.thread_time())
        scores = ranker.score(inputs)
        marks.append(time.thread_time())
        slates = rerank(users, candidates, scores, catalogue, limits=reranking)
        marks.append(time.thread_time())
        made = recommendations(
            users,
            candidates,
            scores,
            slates,
            catalogue,
            model=ranker.name,
            model_sequence=ranker.sequence,
        )
        marks.append(time.thread_time())
        assert len(made.item_ids) == len(users) * reranking.slate_size
        num_candidates += len(candidates)
        for step, begin, end in zip(STEPS, marks, marks[1:], strict=False):
            seconds[step] += end - begin
    return seconds, num_candidates


def measure(
    world: RefreshWorld, batches: list[UserBatch], ranker: Ranker, rounds: int
) -> dict[str, object]:
    """Time the rounds; event time moves on, so that shared lists are made anew every second."""
    shared = SharedListCache()
    refresh_all(world, batches, ranker, shared)
    num_users = BATCH * len(batches)
    rates, cpu, steps = [], [], dict.fromkeys(STEPS, float("inf"))
    num_candidates = 0
    for _ in range(rounds):
        batches = [later(users) for users in batches]
        gc.collect()
        begin, begin_cpu = time.perf_counter(), time.thread_time()
        seconds, num_candidates = refresh_all(world, batches, ranker, shared)
        rates.append(num_users / (time.perf_counter() - begin))
        cpu.append((time.thread_time() - begin_cpu) / num_users)
        steps = {step: min(steps[step], seconds[step] / num_users) for step in STEPS}
    return {
        "users_per_s": round(statistics.median(rates)),
        "users_per_s_best": round(max(rates)),
        "cpu_us_per_user": round(1e6 * statistics.median(cpu), 1),
        "candidates_per_user": round(num_candidates / num_users, 1),
        "us_per_user_best": {step: round(1e6 * steps[step], 1) for step in STEPS},
    }


def later(users: UserBatch) -> UserBatch:
    """Return the same users half a second of event time later (a thousand users at 2,000/s)."""
    return dataclasses.replace(users, now_ms=users.now_ms + 500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ranker", choices=("fusion", "network"), default=None)
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        # BLAS reads it when it is loaded: start again.
        os.execve(
            sys.executable,
            [sys.executable, __file__, *sys.argv[1:]],
            {**os.environ, "OMP_NUM_THREADS": "1"},
        )
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    world = make_world(arguments.items)
    # A thirtieth of a second between two micro-batches.
    batches = [
        make_users(world, BATCH, history=HISTORY, now_ms=NOW_MS + 32 * index, seed=index)
        for index in range(NUM_BATCHES)
    ]
    result: dict[str, object] = {"benchmark": "refresh", "items": arguments.items}
    if arguments.ranker != "network":
        fusion = FusionRanker((1.0,) * len(SOURCES))
        result["fusion"] = measure(world, batches, fusion, arguments.rounds)
    if arguments.ranker != "fusion":
        weights = NetworkWeights.of_network(RankingNetwork(NetworkConfig()))
        network = TorchScorer(weights, device="cpu")
        result["network"] = measure(world, batches, network, arguments.rounds)
    result["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
