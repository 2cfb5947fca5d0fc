"""LossPace: how soon a partition's keys are looked up again, where some of them are always gone.

A Redis that lost its keys gets them back at once, within a round over them. One that is too small
for all of them evicts others for each that it is given: written back at that pace they would push
each other out for ever, those of users who are there among them. Absent: any question to Redis
about its memory, which a worker's user may not ask.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

# Rounds in a row that found keys gone. A loss is seen by one; by two, where it came amid a round;
# a second loss adds one.
_MANY_ROUNDS = 3
# Between two looks at a partition from then on.
_REST_S = 2.0


class LossPace:
    """Remembers of each partition how many rounds in a row found keys gone.

    Args:
        monotonic_s: Clock.
    """

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._lossy: set[int] = set()
        self._num_rounds: Counter[int] = Counter()
        self._rest_until_s: dict[int, float] = {}

    def rests(self, partition: int) -> bool:
        """Say whether it is too soon to look at a partition again."""
        return self._monotonic_s() < self._rest_until_s.get(partition, 0.0)

    def note(self, partition: int, num_lost: int, *, is_end: bool) -> None:
        """Note how many keys a look found gone, and whether it was the last of its round."""
        if num_lost:
            self._lossy.add(partition)
            if self._num_rounds[partition] >= _MANY_ROUNDS:
                self._rest_until_s[partition] = self._monotonic_s() + _REST_S
        if is_end:
            self._num_rounds[partition] += 1
            if partition not in self._lossy:
                self._num_rounds.pop(partition)
            self._lossy.discard(partition)

    def start_anew(self) -> None:
        """Forget all: a server is another one than before."""
        self._lossy.clear()
        self._num_rounds.clear()
        self._rest_until_s.clear()
