"""Whatever dies when: a thousand seeded histories end in the state of an undisturbed run.

``SIMULATION_SEEDS`` asks for more histories. A failure names its seed; the same seed is the same
history: ``python -m tests.chaos.simulate --seed N``.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.chaos.simulated_world import BUGS, EFFECTS, Violation
from tests.chaos.simulation import Simulation

_SEEDS = int(os.environ.get("SIMULATION_SEEDS", "1000"))
_SEEDS_PER_TEST = 200

pytestmark = pytest.mark.simulation


@pytest.mark.parametrize("first", range(0, _SEEDS, _SEEDS_PER_TEST))
def test_every_history_ends_in_the_state_of_an_undisturbed_run(first: int) -> None:
    crashes: Counter[str] = Counter()
    zombie_writes: Counter[str] = Counter()
    for seed in range(first, first + _SEEDS_PER_TEST):
        simulation = Simulation(seed)
        simulation.run()
        crashes += simulation.crashes
        zombie_writes += simulation.world.zombie_writes
    assert crashes.keys() == {*EFFECTS, "everything"}, "some effect is never followed by a crash"
    assert zombie_writes.keys() == {"frames", "snapshots", "commits"}, "zombies are too quiet"


def test_a_seed_is_a_history() -> None:
    one, again, other = Simulation(5), Simulation(5), Simulation(6)
    assert one.run() == again.run() != other.run()
    assert (one.num_steps, one.crashes) == (again.num_steps, again.crashes)
    assert one.world.item_deltas == again.world.item_deltas


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(bug: str) -> None:
    with pytest.raises(Violation, match=f'simulate --seed [0-9]+ --bug "{bug}"'):
        for seed in range(200):
            Simulation(seed, bug=bug).run()
