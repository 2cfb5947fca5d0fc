"""Time the network scorer alone: 64 users of 300 candidates and 50 history entries, one core.

Run: ``OMP_NUM_THREADS=1 python benchmarks/bench_network.py [--device cpu] [--max-tiles 64]``.
Prints one JSON line. Retrieval and gathering are not in it (see bench_refresh.py).
"""

from __future__ import annotations

import argparse
import gc
import json
import time

import numpy as np
import torch

from models.network import NetworkConfig, RankingNetwork, num_parameters
from models.scorer import TorchScorer
from models.synthetic import random_inputs
from models.weights import NetworkWeights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--max-tiles", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    inputs = random_inputs(num_candidates=(arguments.candidates,) * arguments.users)
    scorer = TorchScorer(
        NetworkWeights.of_network(RankingNetwork(NetworkConfig())),
        device=arguments.device,
        max_tiles=arguments.max_tiles,
    )
    for _ in range(3):
        scorer.score(inputs)
    gc.collect()
    seconds = []
    for _ in range(arguments.rounds):
        begin = time.perf_counter()
        scorer.score(inputs)
        seconds.append(time.perf_counter() - begin)
    median = float(np.median(seconds))
    summary = {
        "benchmark": "network",
        "device": str(scorer.device),
        "parameters": num_parameters(NetworkConfig()),
        "users": arguments.users,
        "candidates": arguments.candidates,
        "users_per_s": round(arguments.users / median),
        "ms_per_user_p50": round(1e3 * median / arguments.users, 3),
        "ms_per_call_p99": round(1e3 * float(np.quantile(seconds, 0.99)), 2),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
