"""Plays histories of the simulation by hand, and says how fast.

``python -m tests.chaos.simulate --seed 7`` plays the history that a failure named,
``--seeds 10000`` as many from there on, ``--bug "no watermark"`` with a planted bug.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import consumers  # noqa: F401  (first: it points numba at the cache of these sources)
from tests.chaos.simulated_world import BUGS
from tests.chaos.simulation import Simulation


def main() -> None:
    """Play one history, or many; the first violation ends it."""
    parser = argparse.ArgumentParser(description="Deterministic simulation of workers.")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after another")
    parser.add_argument("--bug", choices=BUGS, default=None, help="what to plant")
    options = parser.parse_args()
    crashes: Counter[str] = Counter()
    zombie_writes: Counter[str] = Counter()
    num_steps, started, digests = 0, time.perf_counter(), None
    for seed in range(options.seed, options.seed + options.seeds):
        simulation = Simulation(seed, bug=options.bug)
        digests = simulation.run()
        crashes += simulation.crashes
        zombie_writes += simulation.world.zombie_writes
        num_steps += simulation.num_steps
    seconds = time.perf_counter() - started
    print(f"{options.seeds} seeds, {num_steps} steps, {seconds:.1f} s; last: {digests}")
    for effect, count in sorted(crashes.items()):
        print(f"  crashed {count} times {effect}")
    for what, count in sorted(zombie_writes.items()):
        print(f"  zombies wrote {count} {what}")


if __name__ == "__main__":
    main()
