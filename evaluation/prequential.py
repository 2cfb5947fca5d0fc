"""Prequential evaluation: each event is first a test of the engine, then learned by it.

The protocol (test-then-learn): events ordered by timestamp, stable; events of one user with equal
timestamps are one group that stands where its first event stands, tested on the state before the
group and then learned in file order. The first share only learns. Full ranking, never sampled
negatives; rank = 1 + better scores + half the ties; a target without a score is a miss.

The engine under test is the worker's own: ``stream.replay`` drives the same tables, sources and
rankers. Notable: what the protocol must know for certain (was this item known, was it new to the
user) is kept here in plain sets, so that a filter's false positive counts against the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evaluation.learning import labels_of
from evaluation.metrics import by_decile, means, rank_of
from models.ranking import Ranker
from models.training import Trainer
from stream.candidates import SOURCES
from stream.events import Action, EventBatch
from stream.outcomes import Refresh
from stream.replay import Replay

# Actions that are a target: a wish for the item. The rest is only learned.
_TARGETS = (Action.WATCH, Action.LIKE, Action.COMMENT, Action.SHARE)
# Actions that name an item without touching it.
_NO_TOUCH = (Action.UNLIKE, Action.ERASE)
# Events folded at once where nothing between them is tested.
_MAX_CUT = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How one evaluation is run.

    Attributes:
        source: Name of the one source measured; None measures the ranker.
        warmup: Share of the stream that is only learned, [0, 1).
        warmup_until_ms: Event time before which nothing is tested, beside ``warmup``.
        every: Test every K-th event after the warm-up.
        allow_repeats: Whether consumed items stay in the list.
    """

    source: str | None = None
    warmup: float = 0.2
    warmup_until_ms: int = 0
    every: int = 1
    allow_repeats: bool = True


@dataclass(slots=True)
class Outcome:
    """Ranks of the tested events in stream order; 0 is a miss.

    Attributes:
        ranks: Rank per tested event.
        is_known: The target had been touched by someone before.
        is_new_to_user: Known, and never touched by this user.
        has_history: The user had an event before.
    """

    ranks: list[float] = field(default_factory=list)
    is_known: list[bool] = field(default_factory=list)
    is_new_to_user: list[bool] = field(default_factory=list)
    has_history: list[bool] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """Return the figures of the summary contract."""
        ranks = np.array(self.ranks, np.float64)

        def of(mask: list[bool]) -> dict[str, float | int]:
            return means(ranks[np.array(mask, bool)]).as_json()

        return {
            **means(ranks).as_json(),
            "known_targets": of(self.is_known),
            "new_to_user": of(self.is_new_to_user),
            "users_with_history": of(self.has_history),
            "by_decile": by_decile(ranks),
        }


def group_order(events: EventBatch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the protocol's order and each ordered event's group number, int64 (E,) both.

    Sorted by time, stable; then the events of one user and time follow the first of them.
    """
    by_time = np.argsort(events.timestamps_ms, kind="stable")
    groups: dict[tuple[str, int], int] = {}
    group_of = np.empty(len(events), np.int64)
    for place, index in enumerate(by_time.tolist()):  # Once per event of an offline evaluation.
        key = (events.user_id(index), int(events.timestamps_ms[index]))
        group_of[place] = groups.setdefault(key, len(groups))
    order = np.argsort(group_of, kind="stable")
    return by_time[order], group_of[order]


class Prequential:
    """One pass of test-then-learn over a log.

    Args:
        replay: A fresh engine of one partition.
        ranker: Ranks the candidate union; used when the protocol names no source.
        protocol: How to test.
        trainer: Learns from each tested event after its test; None trains nothing.
        on_progress: Called with (events done, events in all).
        on_list: Called with each list that is tested: user id, moment in ms, catalogue rows
            int32 (C,) and their scores float32 (C,), in no order.
    """

    def __init__(
        self,
        replay: Replay,
        *,
        ranker: Ranker,
        protocol: Protocol,
        trainer: Trainer | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        on_list: Callable[[bytes, int, NDArray[np.int32], NDArray[np.float32]], None] | None = None,
    ) -> None:
        self.replay = replay
        self.ranker = ranker
        self.protocol = protocol
        self.trainer = trainer
        self._on_progress = on_progress
        self._on_list = on_list
        self._column = SOURCES.index(protocol.source) if protocol.source else -1
        self._known: set[str] = set()
        self._consumed: dict[str, set[str]] = {}

    def run(self, events: EventBatch) -> Outcome:
        """Test and learn every event of a log, whatever order it arrived in."""
        order, groups = group_order(events)
        events = events.select(order)
        outcome = Outcome()
        learned = 0
        for begin, end, tested in self._groups(events, groups):
            if len(tested):
                self._learn(events, learned, begin)
                learned = begin
                self._test(events, tested, outcome)
            elif end - learned >= _MAX_CUT:
                self._learn(events, learned, end)
                learned = end
        self._learn(events, learned, len(events))
        return outcome

    def _groups(
        self, events: EventBatch, groups: NDArray[np.int64]
    ) -> Iterator[tuple[int, int, list[int]]]:
        """Yield (begin, end, tested event indices) of every group in order."""
        start = int(len(events) * self.protocol.warmup)
        borders = np.flatnonzero(np.diff(groups, prepend=-1, append=-2))
        for begin, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
            tested = []
            late_enough = int(events.timestamps_ms[begin]) >= self.protocol.warmup_until_ms
            for index in range(max(begin, start), end):
                if late_enough and (index - start) % self.protocol.every == 0:
                    if int(events.types[index]) in _TARGETS:
                        tested.append(index)
            yield begin, end, tested

    def _learn(self, events: EventBatch, begin: int, end: int) -> None:
        for cut in range(begin, end, _MAX_CUT):
            stop = min(cut + _MAX_CUT, end)
            self.replay.fold(events.select(np.arange(cut, stop)))
        for index in range(begin, end):
            action = int(events.types[index])
            if action == Action.ERASE:  # The user starts anew.
                self._consumed.pop(events.user_id(index), None)
            elif action not in _NO_TOUCH:
                item = events.item_id(index)
                self._known.add(item)
                self._consumed.setdefault(events.user_id(index), set()).add(item)
        self._on_progress(end, len(events))

    def _test(self, events: EventBatch, tested: list[int], outcome: Outcome) -> None:
        user = events.user_id(tested[0])
        now_ms = int(events.timestamps_ms[tested[0]])
        self.replay.advance(now_ms)
        users = self.replay.pipeline.read_users(0, [user.encode()], now_ms=now_ms)
        refresh = self.replay.pipeline.retrieve(users)
        rows, scores = self._scores(refresh)
        if self._on_list is not None:
            self._on_list(user.encode(), now_ms, rows, scores)
        consumed = self._consumed.get(user, set())
        catalogue = self.replay.engine.catalogue
        for index in tested:
            item = events.item_id(index)
            place = np.flatnonzero(rows == catalogue.items.row_of(item.encode()))
            rank = 0.0
            if len(place):
                others = np.delete(scores, place[0])
                rank = rank_of(float(scores[place[0]]), others)
            outcome.ranks.append(rank)
            outcome.is_known.append(item in self._known)
            outcome.is_new_to_user.append(item in self._known and item not in consumed)
            outcome.has_history.append(bool(consumed))
        if self.trainer is not None and len(refresh.candidates):
            labels = labels_of(refresh, events, tested[:1], self.replay)
            self.trainer.learn(refresh.inputs, labels)

    def _scores(self, refresh: Refresh) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the catalogue rows of one user's candidates and their scores."""
        candidates = refresh.candidates
        if self._column >= 0:
            scores = candidates.scores[:, self._column]
            kept = candidates.ranks[:, self._column] > 0
        else:
            scores = self.ranker.score(refresh.inputs).values
            kept = np.ones(len(scores), bool)
        if not self.protocol.allow_repeats:
            kept &= ~candidates.is_seen
        return candidates.item_rows[kept], scores[kept]
