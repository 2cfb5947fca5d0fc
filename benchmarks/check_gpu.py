"""Check that CPU and GPU give the same scores (law 5), and time both.

Run on a machine with CUDA: ``python benchmarks/check_gpu.py``. Prints one JSON line; exit code 0
when they agree, 1 when they do not, 2 without a CUDA device. The parameters are random in every
layer, so that no path is idle. Also checked: a swap on the device, and candidates alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import time

import numpy as np
import torch
from numpy.typing import NDArray

from models.network import NetworkConfig, RankingNetwork
from models.ranking import RankerScores, RankingInputs
from models.scorer import TorchScorer
from models.synthetic import random_inputs
from models.weights import NetworkWeights

# The tolerance that law 5 states (tests/models/test_scorer.py).
RELATIVE, ABSOLUTE = 1e-4, 1e-6


def make_weights(seed: int) -> NetworkWeights:
    network = RankingNetwork(NetworkConfig(), seed=seed)
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            drawn = random.standard_normal(parameter.shape).astype(np.float32)
            parameter.add_(torch.from_numpy(drawn * np.float32(0.1)))
    return NetworkWeights.of_network(network)


def worst(one: RankerScores, two: RankerScores) -> float:
    """Return the largest difference in units of the tolerance; at most 1 is agreement."""

    def excess(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
        return float(np.max(np.abs(left - right) / (ABSOLUTE + RELATIVE * np.abs(right))))

    return max(excess(one.values, two.values), excess(one.heads, two.heads))


def users_per_s(scorer: TorchScorer, inputs: RankingInputs, rounds: int) -> float:
    for _ in range(5):
        scorer.score(inputs)
    gc.collect()
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        scorer.score(inputs)
        seconds.append(time.perf_counter() - begin)
    return round(inputs.num_users / float(np.median(seconds)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        print(json.dumps({"check": "gpu", "skipped": "torch sees no CUDA device"}))
        return 2
    cpu = TorchScorer(make_weights(0), device="cpu")
    gpu = TorchScorer(make_weights(0), device="cuda")
    ragged = random_inputs(num_candidates=(300, 0, 1, 17, 64, 65, 1000) * 10)
    whole = cpu.score(ragged)
    chosen = np.arange(0, len(ragged), 997)
    alone = gpu.score(ragged.take(chosen))
    expected = RankerScores(values=whole.values[chosen], heads=whole.heads[chosen])
    differences = {
        "batch": worst(gpu.score(ragged), whole),
        "alone": worst(alone, expected),
    }
    cpu.swap(make_weights(1))
    gpu.swap(make_weights(1))
    differences["swapped"] = worst(gpu.score(ragged), cpu.score(ragged))
    agrees = max(differences.values()) <= 1.0
    speeds = {}
    for users in (1, 64, 512):
        inputs = random_inputs(num_candidates=(300,) * users)
        speeds[f"cpu_{users}"] = users_per_s(cpu, inputs, max(2, arguments.rounds // 4))
        speeds[f"gpu_{users}"] = users_per_s(gpu, inputs, arguments.rounds)
    summary = {
        "check": "gpu",
        "agrees": agrees,
        "differences_of_tolerance": differences,
        "users_per_s": speeds,
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cpu_threads": torch.get_num_threads(),
    }
    print(json.dumps(summary))
    return 0 if agrees else 1


if __name__ == "__main__":
    raise SystemExit(main())
