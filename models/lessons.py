"""Lessons: users, their candidates and what they did next; and a bounded buffer of past ones.

Absent: torch. A lesson is arrays, so that keeping, drawing and joining lessons is copying.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from models.ranking import RankingInputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """B users with candidates and the labels of one event each.

    Attributes:
        inputs: The candidates, as they were before the events.
        targets: int64 (B,), index in C of the item that came next.
        is_positive: bool (B,), the event teaches the choice.
        head_labels: float32 (B, H) in [0, 1]; NaN where the event does not teach the head.
    """

    inputs: RankingInputs
    targets: NDArray[np.int64]
    is_positive: NDArray[np.bool_]
    head_labels: NDArray[np.float32]

    def __len__(self) -> int:
        """Return B."""
        return len(self.targets)

    def users(self, users: NDArray[np.int64]) -> Lesson:
        """Return a copy with some of the users only, in the order given."""
        splits = self.inputs.splits
        candidates = np.concatenate(
            [np.arange(splits[user], splits[user + 1]) for user in users] or [np.empty(0, np.int64)]
        )
        sizes = np.diff(splits)[users]
        new_splits = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        columns = {}
        for field in fields(self.inputs):
            rows = candidates if _is_candidate_column(field.name) else users
            columns[field.name] = getattr(self.inputs, field.name)[rows]
        columns["splits"] = new_splits
        columns["candidate_users"] = np.repeat(np.arange(len(users)), sizes).astype(np.int32)
        return Lesson(
            inputs=RankingInputs(**columns),
            targets=self.targets[users] - splits[users] + new_splits[:-1],
            is_positive=self.is_positive[users],
            head_labels=self.head_labels[users],
        )

    @classmethod
    def concat(cls, lessons: Sequence[Lesson]) -> Lesson:
        """Join at least one lesson, all of the same widths, in the order given."""
        if len(lessons) == 1:
            return lessons[0]
        columns = {}
        for field in fields(RankingInputs):
            parts = [getattr(lesson.inputs, field.name) for lesson in lessons]
            columns[field.name] = np.concatenate(parts)
        sizes = np.concatenate([np.diff(lesson.inputs.splits) for lesson in lessons])
        splits = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        columns["splits"] = splits
        columns["candidate_users"] = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
        firsts = np.concatenate([lesson.targets - lesson.inputs.splits[:-1] for lesson in lessons])
        return cls(
            inputs=RankingInputs(**columns),
            targets=splits[:-1] + firsts,
            is_positive=np.concatenate([lesson.is_positive for lesson in lessons]),
            head_labels=np.concatenate([lesson.head_labels for lesson in lessons]),
        )


def _is_candidate_column(name: str) -> bool:
    """Say whether a field of RankingInputs has one row per candidate."""
    return name.startswith("candidate_") or name in ("source_scores", "source_ranks", "is_seen")


class ReplayBuffer:
    """The last events that taught something, drawn with exponential recency, seeded.

    One kept event costs its candidates' columns: about 150 KB with 300 candidates and D = 64.
    """

    def __init__(self, *, max_lessons: int, seed: int = 0) -> None:
        """Make an empty buffer.

        Args:
            max_lessons: Bound; 0 keeps nothing.
            seed: Of the draws.
        """
        self._lessons: deque[Lesson] = deque(maxlen=max_lessons)
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self._lessons)

    def add(self, lesson: Lesson) -> None:
        """Keep a copy of each of its users; the oldest make room."""
        if self._lessons.maxlen == 0:
            return
        for user in range(len(lesson)):
            self._lessons.append(lesson.users(np.array([user])))

    def draw(self, count: int) -> list[Lesson]:
        """Draw kept events with replacement, fewer where none is kept.

        The age of a draw is exponential with a mean of a third of what is kept.
        """
        if not self._lessons:
            return []
        ages = self._random.exponential(len(self._lessons) / 3, count).astype(np.int64)
        return [self._lessons[-1 - int(age) % len(self._lessons)] for age in ages]
