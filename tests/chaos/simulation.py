"""Deterministic simulation: workers, logs and a group under one seeded scheduler of faults.

One seed is one history: which worker takes which step next, who crashes after which effect, who is
stopped and goes on as a zombie, when partitions move. There is no time and no thread; the same
seed gives the same history, bit for bit. After the faults everything heals and drains, and the
state must be the one that a single undisturbed engine folds from the same logs.

``python -m tests.chaos.simulate --seed 7`` plays one history again.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import chain

from state.frame_columns import HoleFound
from stream.digests import Digests
from tests.chaos.simulated_worker import Steps, Worker
from tests.chaos.simulated_world import (
    BUGS,
    EFFECTS,
    Violation,
    World,
    choose_partition,
    demand,
    make_values,
)
from tests.chaos.simulation_checks import check_rest

# Everything below happens with these chances per step of the scheduler.
_PRODUCE = 0.15
_CRASH = 0.02  # after an effect
_FAVOURED_CRASH = 0.4  # after the one effect that this history favours
_PAUSE = 0.01
_RESUME = 0.015
_NOTICE = 0.02  # a zombie learns that it is one
_START = 0.004
_MOVE = 0.004
_REDIS = 0.01  # it goes, or comes back
_REDIS_BACK = 0.02  # once all else is healed
_LATE_FRAME = 0.02
_KICK = 0.01
_MAX_WORKERS = 3
_MAX_STEPS = 60_000


class Simulation:
    """One history.

    Args:
        seed: Decides everything.
        bug: One of ``BUGS``, or none.
        num_events: Records that producers send.

    Attributes:
        crashes: Effect to crashes right after it.
    """

    def __init__(self, seed: int, *, bug: str | None = None, num_events: int = 36) -> None:
        assert bug is None or bug in BUGS, bug
        self.seed = seed
        self.draw = random.Random(seed)
        self.world = World(self.draw)
        self.workers: dict[str, Worker] = {}
        self.crashes: Counter[str] = Counter()
        self.num_steps = 0
        self._bug = bug
        self._num_started = 0
        self._late_frames: list[tuple[int, bytes]] = []
        self._favoured = EFFECTS[seed % len(EFFECTS)]
        self._effect: str | None = None
        self._stepped: Worker | None = None
        self._values = make_values(self.draw, num_events)[::-1]

    def run(self) -> Digests:
        """Play the history to its end and return the digests; raises Violation."""
        try:
            self._start()
            while self._values or self.draw.random() < 0.99:
                self._disturb()
                self._advance()
            self._heal()
            while not self._is_at_rest():
                self._advance()
                if self.draw.random() < _REDIS_BACK:
                    self.world.redis.is_away = False
                demand(self.num_steps < _MAX_STEPS, "the workers do not come to rest")
            return check_rest(self.world, self.workers, is_thorough=self.seed % 8 == 0)
        except (AssertionError, HoleFound, ValueError, KeyError) as error:
            message = (
                f"seed {self.seed}, step {self.num_steps}: {type(error).__name__}: {error}; again "
                f"with: python -m tests.chaos.simulate --seed {self.seed}"
                + (f' --bug "{self._bug}"' if self._bug else "")
            )
            raise Violation(message) from error

    # One step.

    def _advance(self) -> None:
        """Let something of the ordinary happen: a record, or the next step of some task."""
        self.num_steps += 1
        if self._values and self.draw.random() < _PRODUCE:
            value = self._values.pop()
            self.world.produce(choose_partition(self.draw, value), value)
        if self._late_frames and self.draw.random() < _LATE_FRAME:
            self.world.append_frame(*self._late_frames.pop(0))
        self._complete_rebalance()
        running = [each for each in self.workers.values() if not each.is_paused]
        if not running:
            return
        worker = self.draw.choice(running)
        if self._is_left_behind(worker) and self.draw.random() < _NOTICE:
            self._release(worker)
        name = self.draw.choice(list(worker.tasks))
        try:
            self._effect = next(worker.tasks[name])
        except StopIteration:
            del worker.tasks[name]
            self._effect = None
        self._stepped = worker

    def _disturb(self) -> None:
        """Crash the worker of the last step after its effect, or do another harm."""
        effect, worker = self._effect, self._stepped
        if effect is not None and worker is not None and worker.name in self.workers:
            if self.draw.random() < (_FAVOURED_CRASH if effect == self._favoured else _CRASH):
                self.crashes[effect] += 1
                self._crash(worker)
        self._effect = None
        chance = self.draw.random()
        for share, harm in (
            (_PAUSE, self._pause),
            (_RESUME, self._resume),
            (_START, self._start),
            (_MOVE, self._open_rebalance),
            (_REDIS, self._turn_redis),
        ):
            if chance < share:
                harm()
                return
            chance -= share
        if not self.workers and self.draw.random() < 0.1:
            self._start()

    # Harms.

    def _start(self) -> None:
        if len(self.workers) < _MAX_WORKERS:
            worker = Worker(f"w{self._num_started}", self.world, self._bug)
            self._num_started += 1
            self.workers[worker.name] = worker
            self._release(worker)

    def _crash(self, worker: Worker) -> None:
        del self.workers[worker.name]
        for destination, frame in worker.in_flight():
            if self.draw.random() < 0.5:
                self._late_frames.append((destination, frame))
        group = self.world.group
        group.joined = [name for name in group.joined if name != worker.name]
        if not group.is_open:
            self._open_rebalance()

    def _pause(self) -> None:
        running = [each for each in self.workers.values() if not each.is_paused]
        if len(running) > 1:
            self.draw.choice(running).is_paused = True
            if self.draw.random() < 0.7:
                self._open_rebalance()

    def _resume(self) -> None:
        for worker in self.workers.values():
            worker.is_paused = False

    def _turn_redis(self) -> None:
        self.world.redis.is_away = not self.world.redis.is_away

    # The group.

    def _open_rebalance(self) -> None:
        """Ask every worker that can hear to release its partitions and join anew."""
        group = self.world.group
        if group.is_open:
            return
        group.is_open, group.joined = True, []
        for worker in self.workers.values():
            if not worker.is_paused:
                self._release(worker)

    def _is_left_behind(self, worker: Worker) -> bool:
        """Tell whether a heartbeat would bring news: a rebalance, or one that is over."""
        group = self.world.group
        is_asked = group.is_open and worker.name not in group.joined
        is_old = worker.generation < group.generation and not group.is_open
        return (is_asked or is_old) and "membership" not in worker.tasks

    def _release(self, worker: Worker) -> None:
        self._then(worker, worker.release_and_join(self._join))

    def _then(self, worker: Worker, steps: Steps) -> None:
        """Put steps behind what the worker still has to do for the group: one at a time."""
        worker.tasks["membership"] = chain(worker.tasks.get("membership", ()), steps)

    def _join(self, name: str) -> None:
        group = self.world.group
        if not group.is_open:
            group.is_open, group.joined = True, []
            for worker in self.workers.values():
                if worker.name != name and not worker.is_paused:
                    self._release(worker)
        if name not in group.joined:
            group.joined.append(name)

    def _complete_rebalance(self) -> None:
        group = self.world.group
        if not group.is_open or not group.joined:
            return
        waited_for = [
            each
            for each in self.workers.values()
            if not each.is_paused and each.name not in group.joined
        ]
        if waited_for and self.draw.random() >= _KICK:
            return
        group.complete(self.draw)
        for name in group.joined:
            assigned = {key for key, owner in group.owners.items() if owner == name}
            worker = self.workers[name]
            self._then(worker, worker.take(assigned, group.generation))

    # The end.

    def _heal(self) -> None:
        """End all harm; in some histories everybody dies first, once more."""
        if self.draw.random() < 0.3:
            for worker in list(self.workers.values()):
                self.crashes["everything"] += 1
                self._crash(worker)
        self._resume()
        self.world.redis.is_away = self.draw.random() < 0.5
        if not self.workers:
            self._start()
        self._open_rebalance()

    def _is_at_rest(self) -> bool:
        group = self.world.group
        return (
            not self._values
            and not self._late_frames
            and not group.is_open
            and all(
                each.generation == group.generation and "membership" not in each.tasks
                for each in self.workers.values()
            )
            and all(each.is_idle() for each in self.workers.values())
        )
