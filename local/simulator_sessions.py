"""Who looks at something now: sessions of the simulator's users, at an exact overall rate.

A session is a run of views, page by page; a user has at most one. Pure: arrays, the world's
generator, no clock. Axis letters: U users, V views of one block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PAGE = 10
_MEAN_SESSION_VIEWS = 18


class Sessions:
    """Sessions of all users as arrays.

    Args:
        random: Generator of all randomness; shared with the world.
        activity: float64 (U,), how often a user comes, relative to others.
    """

    def __init__(self, random: np.random.Generator, activity: NDArray[np.float64]) -> None:
        users = len(activity)
        self._random = random
        self._activity = activity
        self._is_active = np.zeros(users, bool)
        self._next_ms = np.zeros(users)
        self._views_left = np.zeros(users, np.int64)
        self.positions = np.zeros(users, np.int64)  # (U,), place in the page, 0 first
        self.num_sessions = np.zeros(users, np.int64)  # (U,)
        self.num_pages = np.zeros(users, np.int64)  # (U,), of the current session
        self.last_slots = np.full(users, -1, np.int64)  # (U,), -1 at a session's begin

    def take(
        self, now_ms: float, end_ms: float, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Choose who views something in ``[now_ms, end_ms)``.

        Those whose last item is over go on, the longest waiting first. Where they are too few
        new sessions start; where everybody is here already, people leave off what they watch.

        Returns:
            Users int64 (V,) once each, times float64 (V,) ascending, and those of the users who
            began a session now.
        """
        due = np.flatnonzero(self._is_active & (self._next_ms < end_ms))
        began = np.empty(0, np.int64)
        if len(due) >= count:
            due = due[np.argsort(self._next_ms[due], kind="stable")[:count]]
        else:
            began = self._begin(count - len(due))
            busy = np.flatnonzero(self._is_active & (self._next_ms >= end_ms))
            lacking = count - len(due) - len(began)
            hurried = busy[np.argsort(self._next_ms[busy], kind="stable")[: max(0, lacking)]]
            due = np.concatenate([due, began, hurried])
        times_ms = np.sort(now_ms + self._random.random(len(due)) * (end_ms - now_ms))
        return due, times_ms, began

    def advance(
        self, users: NDArray[np.int64], slots: NDArray[np.int64], ends_ms: NDArray[np.float64]
    ) -> None:
        """Note what each of these users saw and until when; end sessions that are over."""
        pauses_ms = 300.0 + self._random.exponential(700.0, len(users))
        self._next_ms[users] = ends_ms + pauses_ms
        self.last_slots[users] = slots
        self._views_left[users] -= 1
        self._is_active[users[self._views_left[users] <= 0]] = False
        self.positions[users] = (self.positions[users] + 1) % PAGE
        self.num_pages[users] += self.positions[users] == 0

    def _begin(self, count: int) -> NDArray[np.int64]:
        idle = np.flatnonzero(~self._is_active)
        # Weighted sampling without replacement: the smallest of Exp(1) / weight
        # (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir").
        keys = self._random.exponential(size=len(idle)) / self._activity[idle]
        users = idle[np.argsort(keys, kind="stable")[:count]]
        self._is_active[users] = True
        # Not due before its first view is noted.
        self._next_ms[users] = -1.0
        self._views_left[users] = self._random.geometric(1 / _MEAN_SESSION_VIEWS, len(users))
        self.positions[users] = 0
        self.num_pages[users] = 0
        self.num_sessions[users] += 1
        self.last_slots[users] = -1
        return users
