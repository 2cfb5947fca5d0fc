"""One user partition as dicts and loops: admission, histories, and the rows for the items' owners.

Written from DESIGN.md 4 and 5 and decision 0005, record by record. Absent: what is derived and
outside of the digest (vectors, affinities), the seen filter, and every bound: a log that reaches
a bound is refused, for what leaves at a bound is the engine's own choice.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from stream.wire import ACTION_NAMES, Interaction

_LIKE, _UNLIKE = ACTION_NAMES.index("like"), ACTION_NAMES.index("unlike")
# A watch that is worth nothing, in rows.
SKIP = len(ACTION_NAMES)
# What is said once: saying it again changes nothing.
_ONCE = ("like", "not_interested", "follow")


@dataclass(frozen=True)
class UserRules:
    """What an event is worth and how long it counts; the defaults are the worker's."""

    max_history: int = 50
    grace_ms: int = 86_400_000
    link_ms: int = 30 * 86_400_000
    max_lags: int = 10
    pair_tau_ms: int = 6 * 3_600_000
    min_completion: float = 0.2
    max_repeats_per_day: int = 10
    strengths: tuple[tuple[str, int], ...] = (
        ("watch", 1),
        ("like", 2),
        ("comment", 3),
        ("share", 3),
        ("not_interested", 0),
        ("follow", 3),
    )


@dataclass(frozen=True)
class Pair:
    """An earlier item that the row's item followed."""

    item: str
    lag: int
    weight: int


@dataclass(frozen=True)
class DeltaRow:
    """What one event means for its item, and for the earlier items of its user."""

    source: int
    offset: int
    item: str
    time_ms: int
    action: int
    count: int
    strength: int
    pairs: tuple[Pair, ...] = ()


@dataclass
class Entry:
    """All that a user did to one item."""

    item: str
    time_ms: int = 0
    strength: int = 0
    actions: int = 0
    repeats_day: int = 0
    repeats: int = 0
    completion: int = 0


@dataclass
class User:
    """A user's history, oldest first, and facts."""

    history: list[Entry] = field(default_factory=list)
    num_events: int = 0
    events_to_ms: int = 0


@dataclass
class _Known:
    """An event id in the order of arrival; an erased one waits only to leave."""

    user: str
    event_id: str
    time_ms: int
    is_an_erase: bool
    is_erased: bool = False


class UserPartitionOracle:
    """What one partition of `interactions` must hold after its records."""

    def __init__(self, partition: int, rules: UserRules) -> None:
        self.partition = partition
        self.rules = rules
        self.next_offset = 0
        self.stream_time_ms = 0
        names = ("applied", "duplicate", "late", "rejected", "filtered", "routed")
        self.counters = dict.fromkeys(names, 0)
        self.users: dict[str, User] = {}
        self.erased: dict[str, int] = {}
        self.rows: list[DeltaRow] = []
        self.rejected_offsets: list[int] = []
        # User to (offset of the newest applied event, whether it was an erase).
        self.newest: dict[str, tuple[int, bool]] = {}
        self._arrivals: deque[_Known] = deque()
        self._known: dict[tuple[str, str], _Known] = {}

    @property
    def event_ids(self) -> set[tuple[str, str, int]]:
        """The window of ids: (user, event id, event time)."""
        return {(each.user, each.event_id, each.time_ms) for each in self._known.values()}

    def reject(self, offset: int) -> None:
        """Count a record that cannot be used."""
        self.counters["rejected"] += 1
        self.rejected_offsets.append(offset)

    def route(self) -> None:
        """Count a record that belongs to another partition."""
        self.counters["routed"] += 1

    def apply(self, offset: int, event: Interaction) -> None:
        """Judge one event, and fold it where it is to count."""
        if event.ts < self.stream_time_ms - self.rules.grace_ms:
            self.counters["late"] += 1
            return
        if (event.user_id, event.event_id) in self._known:
            self.counters["duplicate"] += 1
            return
        self.counters["applied"] += 1
        self.newest[event.user_id] = (offset, event.type == "erase")
        self.stream_time_ms = max(self.stream_time_ms, event.ts)
        self._remember(event)
        if event.type == "erase":
            self._erase(event, offset)
            return
        user = self.users.setdefault(event.user_id, User())
        user.num_events += 1
        user.events_to_ms = max(user.events_to_ms, event.ts)
        if event.type == "unlike":
            self._take_back(user, event, offset)
        else:
            self._interact(user, event, offset)

    def _remember(self, event: Interaction) -> None:
        """Let the oldest arrivals go while they are beyond the grace, then take the new one."""
        horizon_ms = self.stream_time_ms - self.rules.grace_ms
        while self._arrivals:
            oldest = self._arrivals[0]
            if not oldest.is_erased and oldest.time_ms >= horizon_ms:
                break
            self._arrivals.popleft()
            if not oldest.is_erased:
                del self._known[oldest.user, oldest.event_id]
        known = _Known(event.user_id, event.event_id, event.ts, event.type == "erase")
        self._arrivals.append(known)
        self._known[known.user, known.event_id] = known

    def _erase(self, event: Interaction, offset: int) -> None:
        """Forget a user wholly, but not the erase itself: a copy of it is a duplicate."""
        self.erased[event.user_id] = offset
        if self.users.pop(event.user_id, None) is None:
            return
        for key, known in list(self._known.items()):
            if known.user == event.user_id and not known.is_an_erase:
                known.is_erased = True
                del self._known[key]

    def _take_back(self, user: User, event: Interaction, offset: int) -> None:
        """Take back what is left of a liked entry, in the entry's own time."""
        for entry in user.history:
            if entry.item == event.item_id and entry.actions >> _LIKE & 1:
                row = (entry.item, entry.time_ms, _LIKE, -1, -entry.strength)
                self.rows.append(DeltaRow(self.partition, offset, *row))
                entry.strength = 0
                entry.actions = entry.actions - (1 << _LIKE) | 1 << _UNLIKE

    def _interact(self, user: User, event: Interaction, offset: int) -> None:
        assert event.item_id is not None, "only an erase comes without an item"
        action = ACTION_NAMES.index(event.type)
        old = next((each for each in user.history if each.item == event.item_id), None)
        if old is not None and event.type in _ONCE and old.actions >> action & 1:
            return
        completion = completion_of(event.watch_ms, event.duration_ms)
        strength = dict(self.rules.strengths)[event.type]
        if event.type == "watch" and completion < _bytes_of(self.rules.min_completion):
            strength = 0
        pairs = self._pairs(user, event.ts) if strength else ()
        counts = old is None or self._may_repeat(old, event.ts)
        if old is None:
            entry = Entry(event.item_id)
        else:
            entry = old
            if not counts and entry.actions >> _UNLIKE & 1 and entry.actions >> action & 1:
                return  # Taken back: beyond the cap only a like brings anything again.
            is_newest = user.history[-1] is entry
            if is_newest and entry.strength == 0 and entry.actions >> _UNLIKE & 1:
                pairs = ()  # Taken back and given again at once: its pairs were made before.
            user.history.remove(entry)
        if not counts:
            pairs = ()
        gain = max(0, strength - entry.strength)
        is_news = gain > 0 or not entry.actions >> action & 1
        entry.time_ms = event.ts
        entry.strength += gain
        entry.actions |= 1 << action
        entry.completion = max(entry.completion, completion)
        user.history = [*user.history, entry][-self.rules.max_history :]
        if counts or is_news:
            said = SKIP if event.type == "watch" and not strength else action
            row = (entry.item, event.ts, said, 1, gain, pairs)
            self.rows.append(DeltaRow(self.partition, offset, *row))

    def _may_repeat(self, entry: Entry, time_ms: int) -> bool:
        """Count one more event on an item that the user did something to before."""
        day = time_ms // 86_400_000
        if day > entry.repeats_day:
            entry.repeats_day, entry.repeats = day, 0
        if entry.repeats == self.rules.max_repeats_per_day:
            return False
        entry.repeats += 1
        return True

    def _pairs(self, user: User, time_ms: int) -> tuple[Pair, ...]:
        """Pair with the strong entries that are near enough in time, newest first."""
        pairs: list[Pair] = []
        for entry in reversed(user.history):
            gap_ms = abs(time_ms - entry.time_ms)
            if entry.strength == 0 or gap_ms > self.rules.link_ms:
                continue
            if len(pairs) == self.rules.max_lags:
                break
            share = math.exp(-gap_ms / self.rules.pair_tau_ms)
            pairs.append(Pair(entry.item, len(pairs) + 1, math.floor(255 * share + 0.5)))
        return tuple(pairs)


def _bytes_of(share: float) -> int:
    """Return a share as the smallest byte that reaches it; 0.2 of 255 is 51 and not 52."""
    return math.ceil(round(share * 255, 6))


def completion_of(watch_ms: int | None, duration_ms: int | None) -> int:
    """Return the watched share as a byte, 255 at most; 0 where it is not known."""
    if not watch_ms or not duration_ms:
        return 0
    return min(255, 255 * watch_ms // duration_ms)
