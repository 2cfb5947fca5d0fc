"""Prequential evaluation: each event is first a test of the engine, then learned by it.

The protocol (test-then-learn): events ordered by timestamp, stable; events of one user with equal
timestamps are one group that stands where its first event stands, tested on the state before the
group and then learned in file order. The first share only learns. Full ranking, never sampled
negatives; rank = 1 + better scores + half the ties; a target without a score is a miss.

The engine under test is the worker's own: ``stream.replay`` drives the same tables, sources and
rankers. Any number of contenders (sources alone, rankers over all) answer the same tests on the
same state: the log is folded once. What the protocol must know for certain is kept apart
(``evaluation.facts``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evaluation.exposure import LIST_LENGTH, Exposure
from evaluation.facts import Facts
from evaluation.learning import labels_of
from evaluation.metrics import by_decile, means, rank_of
from models.ranking import Ranker
from stream.candidates import SOURCES, CandidateBatch, UserBatch
from stream.events import Action, EventBatch
from stream.outcomes import Refresh
from stream.pipeline import Pipeline
from stream.replay import Replay

if TYPE_CHECKING:
    from models.training import Trainer

# Actions that are a target: a wish for the item. The rest is only learned.
_TARGETS = (Action.WATCH, Action.LIKE, Action.COMMENT, Action.SHARE)
# Events folded at once where nothing between them is tested.
_MAX_CUT = 8192
# A target that so few events touched before is a new item.
_NEW_ITEM_TOUCHES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How one evaluation is run.

    Attributes:
        warmup: Share of the stream that is only learned, [0, 1).
        warmup_until_ms: Event time before which nothing is tested, beside ``warmup``.
        every: Test every K-th event after the warm-up.
        allow_repeats: Whether consumed items stay in the list.
    """

    warmup: float = 0.2
    warmup_until_ms: int = 0
    every: int = 1
    allow_repeats: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What is measured: one source alone, or a ranker over the union of a pipeline's sources.

    Attributes:
        name: Of the source or the ranker.
        pipeline: Over the replay's engine, with the sources that may propose. Rankers that share
            one share its candidates.
        ranker: Ranks the union; None for the source of this name alone.
        trainer: Learns from each test after it; None trains nothing.
    """

    name: str
    pipeline: Pipeline
    ranker: Ranker | None = None
    trainer: Trainer | None = None


@dataclass(slots=True)
class Tests:
    """What is true of the tested events whoever answers, in stream order.

    Attributes:
        users: Number of the user.
        is_known: The target had been touched by someone before.
        is_new_to_user: Known, and never touched by this user.
        has_history: The user had an event before.
        num_touches: Events that touched the target before.
        facts: What was learned, at the end of the log.
    """

    users: list[int] = field(default_factory=list)
    is_known: list[bool] = field(default_factory=list)
    is_new_to_user: list[bool] = field(default_factory=list)
    has_history: list[bool] = field(default_factory=list)
    num_touches: list[int] = field(default_factory=list)
    facts: Facts = field(default_factory=Facts)

    def add(self, user: str, item: str) -> None:
        """Note one test, before the event is learned."""
        consumed = self.facts.consumed.get(user, ())
        touches = self.facts.touches_of(item)
        self.users.append(self.facts.number_of(user))
        self.is_known.append(touches > 0)
        self.is_new_to_user.append(touches > 0 and item not in consumed)
        self.has_history.append(bool(consumed))
        self.num_touches.append(touches)


@dataclass(slots=True)
class Outcome:
    """Ranks of one contender in stream order; 0 is a miss.

    Attributes:
        name: Of the contender.
        tests: The tests it answered.
        ranks: Rank per test.
        exposure: What its lists were like.
    """

    name: str
    tests: Tests
    ranks: list[float] = field(default_factory=list)
    exposure: Exposure = field(default_factory=Exposure)

    def summary(self) -> dict[str, object]:
        """Return the figures of the summary contract."""
        ranks = np.array(self.ranks, np.float64)

        def of(mask: list[bool] | NDArray[np.bool_]) -> dict[str, float | int]:
            return means(ranks[np.asarray(mask, bool)]).as_json()

        tests = self.tests
        return {
            **means(ranks).as_json(),
            "known_targets": of(tests.is_known),
            "new_to_user": of(tests.is_new_to_user),
            "users_with_history": of(tests.has_history),
            "cold_users": of(~np.array(tests.has_history, bool)),
            "new_items": of(np.array(tests.num_touches, np.int64) <= _NEW_ITEM_TOUCHES),
            "by_decile": by_decile(ranks),
            "beyond_accuracy": self.exposure.summary(tests.facts),
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
        contenders: What is tested, on the same state; their pipelines read the replay's engine.
        protocol: How to test.
        on_progress: Called with (events done, events in all).
        on_list: Called with each list that is tested: contender, user id, moment in ms, catalogue
            rows int32 (C,) and their scores float32 (C,), in no order.
    """

    def __init__(
        self,
        replay: Replay,
        contenders: Sequence[Contender],
        *,
        protocol: Protocol,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        on_list: Callable[[str, bytes, int, NDArray[np.int32], NDArray[np.float32]], None]
        | None = None,
    ) -> None:
        self.replay = replay
        self.contenders = tuple(contenders)
        self.protocol = protocol
        self._on_progress = on_progress
        self._on_list = on_list
        self._tests = Tests()
        self._outcomes = [Outcome(each.name, self._tests) for each in self.contenders]

    def run(self, events: EventBatch) -> list[Outcome]:
        """Test and learn every event of a log, whatever order it arrived in.

        Returns:
            One outcome per contender, in their order.
        """
        order, groups = group_order(events)
        events = events.select(order)
        learned = 0
        for begin, end, tested in self._groups(events, groups):
            if len(tested):
                self._learn(events, learned, begin)
                learned = begin
                self._test(events, tested)
            elif end - learned >= _MAX_CUT:
                self._learn(events, learned, end)
                learned = end
        self._learn(events, learned, len(events))
        return self._outcomes

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
        self._tests.facts.learn(events, begin, end)
        self._on_progress(end, len(events))

    def _test(self, events: EventBatch, tested: list[int]) -> None:
        """Ask every contender for the list of one user, and rank each target of the group."""
        user = events.user_id(tested[0])
        now_ms = int(events.timestamps_ms[tested[0]])
        self.replay.advance(now_ms)
        users = self.replay.pipeline.read_users(0, [user.encode()], now_ms=now_ms)
        targets = [events.item_id(index) for index in tested]
        items = self.replay.engine.catalogue.items
        target_rows = [items.row_of(each.encode()) for each in targets]
        refreshes: dict[int, Refresh] = {}
        for contender, outcome in zip(self.contenders, self._outcomes, strict=True):
            rows, scores = self._scored(contender, users, refreshes)
            if self._on_list is not None:
                self._on_list(contender.name, user.encode(), now_ms, rows, scores)
            outcome.ranks += [_rank(row, rows, scores) for row in target_rows]
            best = np.argsort(-scores, kind="stable")[:LIST_LENGTH]
            names = [each.decode() for each in items.ids(rows[best])]
            outcome.exposure.add(names, now_ms, self._tests.facts)
        for target in targets:
            self._tests.add(user, target)
        for contender in self.contenders:
            refresh = refreshes.get(id(contender.pipeline))
            if contender.trainer is not None and refresh is not None and len(refresh.candidates):
                labels = labels_of(refresh, events, tested[:1], self.replay)
                contender.trainer.learn(refresh.inputs, labels)

    def _scored(
        self, contender: Contender, users: UserBatch, refreshes: dict[int, Refresh]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the catalogue rows of one user's candidates and their scores."""
        candidates: CandidateBatch
        if contender.ranker is None:
            column = SOURCES.index(contender.name)
            candidates = contender.pipeline.propose(users)
            scores = candidates.scores[:, column]
            kept = candidates.ranks[:, column] > 0
        else:
            key = id(contender.pipeline)
            if key not in refreshes:
                refreshes[key] = contender.pipeline.retrieve(users)
            candidates = refreshes[key].candidates
            scores = contender.ranker.score(refreshes[key].inputs).values
            kept = np.ones(len(scores), bool)
        if not self.protocol.allow_repeats:
            kept = kept & ~candidates.is_seen
        return candidates.item_rows[kept], scores[kept]


def _rank(row: int, rows: NDArray[np.int32], scores: NDArray[np.float32]) -> float:
    """Return the rank of a catalogue row; 0 where it has no score."""
    places = np.flatnonzero(rows == row)
    if len(places) == 0:
        return 0.0
    return rank_of(float(scores[places[0]]), np.delete(scores, places[0]))
