"""Simulate an app's users: sessions, watches and explicit actions, announcements, network faults.

The same arguments give the same records (with the same numpy). Time is virtual: who plays the
records decides how fast. Nothing here is bad data; what is late or repeated is so on purpose.
"""

from __future__ import annotations

import heapq
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from local.simulator_sessions import Sessions
from local.simulator_world import CATEGORIES, BornItem, World

logger = logging.getLogger(__name__)

# Interactions per birth: at 200 events/s five items are born (and five taken away) a second.
EVENTS_PER_BIRTH = 40
# Time before the start that is lived but not told, so that the rate is right from the first record.
_WARM_UP_MS = 60_000
_MAX_BLOCK_MS = 1_000.0
_MAX_BLOCK_VIEWS = 4_096
# Events per view, until enough views have shown it.
_FIRST_EVENTS_PER_VIEW = 1.15
_HOUR_MS = 3_600_000
_DEVICES = ("android", "ios", "web")


class SimulatedRecord(NamedTuple):
    """One Kafka record.

    Attributes:
        time_ms: When it arrives, virtual ms; ascending. An event's own ``ts`` is earlier.
        topic: ``interactions`` or ``items``.
        key: User id or item id.
        value: JSON; None removes the item.
        is_duplicate: Whether the same event was sent before.
    """

    time_ms: int
    topic: str
    key: bytes
    value: bytes | None
    is_duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often things happen, as parts of views or, where it says so, of events.

    Attributes:
        like: Likes, of views that match the user well; comment, share and follow likewise.
        comment: Comments.
        share: Shares.
        follow: Follows.
        not_interested: Of views that do not match at all.
        unlike: Of views by a user who liked something.
        erase: Of views: the user asks to be forgotten.
        duplicate: Of events: sent twice, up to 30 s later.
        delayed: Of events: arrive about a minute later, behind younger ones.
        stale: Of events: arrive more than a day later, beyond the usual grace.
    """

    like: float = 0.3
    comment: float = 0.05
    share: float = 0.06
    follow: float = 0.03
    not_interested: float = 0.2
    unlike: float = 0.005
    erase: float = 0.00003
    duplicate: float = 0.01
    delayed: float = 0.01
    stale: float = 0.0005


class Simulator:
    """An endless stream of records, by block of virtual time or one by one.

    Args:
        seed: Of all randomness; logged.
        num_users: Users, at least 10.
        num_items: Items alive at any time, at least 50.
        start_ms: Virtual time of the first record; the stock's announcements come first.
        events_per_s: Interactions per virtual second, repeated ones included.
        rates: How often things happen.
    """

    def __init__(
        self,
        seed: int = 1,
        num_users: int = 3_000,
        num_items: int = 5_000,
        start_ms: int = 1_750_000_000_000,
        events_per_s: float = 200.0,
        rates: Rates | None = None,
    ) -> None:
        if num_users < 10 or num_items < 50 or not events_per_s > 0:
            message = (
                "expected at least 10 users, 50 items and an event rate above 0, got "
                f"{num_users}, {num_items} and {events_per_s}"
            )
            raise ValueError(message)
        logger.info("simulator: seed %d, start %d ms", seed, start_ms)
        self.seed = seed
        self.start_ms = start_ms
        self.events_per_s = events_per_s
        self.num_interactions = 0  # yielded so far, duplicates among them
        self.num_duplicates = 0
        self._rates = rates or Rates()
        self._life_ms = num_items * EVENTS_PER_BIRTH / events_per_s * 1000
        self._world = World(
            seed=seed,
            num_users=num_users,
            num_items=num_items,
            life_ms=self._life_ms,
            start_ms=start_ms,
        )
        self._random = self._world.random
        self._sessions = Sessions(self._random, self._world.activity)
        self._user_ids = [f"u{user:05d}" for user in range(num_users)]
        self._devices = self._random.integers(0, len(_DEVICES), num_users).tolist()
        self._liked: dict[int, str] = {}  # user -> the last item liked; bounded by users
        self._item_ids = [_item_id(item.number) for item in self._world.stock]
        self._is_announced = np.zeros(num_items, bool)
        # Ids differ between runs that start at other times: a second run on the same topic is not
        # a repetition of the first.
        self._event_prefix = f"{seed:x}-{start_ms:x}-"
        self._num_events = 0
        self._num_sent = 0
        self._num_views = 0
        self._pending: list[tuple[float, int, SimulatedRecord]] = []  # a heap by arrival
        self._num_pushed = 0

    def __iter__(self) -> Iterator[SimulatedRecord]:
        """Yield records one by one, for ever."""
        for block in self.blocks():
            yield from block

    def blocks(self) -> Iterator[list[SimulatedRecord]]:
        """Yield records by block of at most one virtual second, for ever; blocks may be empty.

        Called once. Steps of a block: 1. births and ends of items; 2. who looks at something;
        3. what they see and do; 4. out comes what has arrived by the block's end.
        """
        for item in self._world.stock:
            self._announce(item, self.start_ms)
        max_views = min(_MAX_BLOCK_VIEWS, self._world.num_users // 2)
        step_ms = min(_MAX_BLOCK_MS, max_views / self.events_per_s * 1000)
        # A warm-up ends at the start whatever the step is.
        now_ms = self.start_ms - np.ceil(_WARM_UP_MS / step_ms) * step_ms
        while True:
            end_ms = now_ms + step_ms
            if now_ms >= self.start_ms:
                self._renew_items(now_ms, step_ms)  # 1
            self._world.refresh_popularity(now_ms)
            users, times_ms, began = self._sessions.take(now_ms, end_ms, self._views_due(end_ms))
            self._world.start_sessions(began)  # 2
            if len(users):
                self._view(users, times_ms)  # 3
            if end_ms > self.start_ms:
                yield self._arrived(end_ms)  # 4
            now_ms = end_ms

    def _views_due(self, end_ms: float) -> int:
        """Return how many views bring the number of events to what the rate asks by then."""
        wanted = (end_ms - self.start_ms + _WARM_UP_MS) / 1000 * self.events_per_s
        per_view = _FIRST_EVENTS_PER_VIEW
        if self._num_views > 500:
            per_view = self._num_sent / self._num_views
        return max(0, round((wanted - self._num_sent) / per_view))

    # Items.

    def _renew_items(self, now_ms: float, step_ms: float) -> None:
        """Take the oldest away and bear new ones, in the rhythm of events."""
        mean = self.events_per_s * step_ms / 1000 / EVENTS_PER_BIRTH
        count = int(self._random.poisson(mean))
        for place in range(count):
            at_ms = int(now_ms + step_ms * place / count)
            oldest = self._world.oldest_slot
            if self._is_announced[oldest]:
                self._push(at_ms, "items", self._item_ids[oldest], None)
            item = self._world.bear(at_ms)
            self._item_ids[item.slot] = _item_id(item.number)
            # A catalogue is slower than people: some items are watched before they are announced.
            late_ms = min(5_000.0, self._life_ms / 20) if item.number % 50 == 0 else 0.0
            self._announce(item, at_ms + late_ms)

    def _announce(self, item: BornItem, at_ms: float) -> None:
        slot, world = item.slot, self._world
        self._is_announced[slot] = item.is_announced
        if not item.is_announced:
            return
        category = CATEGORIES[int(world.categories[slot])]
        value: dict[str, object] = {
            "item_id": self._item_ids[slot],
            "author_id": f"a{int(world.authors[slot]):04d}",
            "created_at": int(world.born_ms[slot]),
            "duration_ms": int(world.durations_ms[slot]),
            "category": category,
            "tags": world.tags(slot),
            "title": f"{category} {item.number}",
        }
        if item.has_embedding:
            value["embedding"] = [round(float(x), 3) for x in world.embedding(slot)]
        self._push(at_ms, "items", self._item_ids[slot], json.dumps(value, separators=(",", ":")))

    # Views and what follows from them.

    def _view(self, users: NDArray[np.int64], times_ms: NDArray[np.float64]) -> None:
        """Let each user watch one item and act on it."""
        random, world, sessions = self._random, self._world, self._sessions
        positions = sessions.positions[users]
        requests = [
            f"r{user}-{session}-{page}"
            for user, session, page in zip(
                users.tolist(),
                sessions.num_sessions[users].tolist(),
                sessions.num_pages[users].tolist(),
                strict=True,
            )
        ]
        slots, matches = world.show(users, sessions.last_slots[users], positions)
        durations_ms = world.durations_ms[slots]
        wishes = 6.0 * (matches - 0.6) + 0.4 * world.qualities[slots] - 0.05 * positions
        parts = _sigmoid(wishes + random.normal(0.0, 0.8, len(users)))
        # Who liked it to the end sometimes lets it play again.
        loops = (parts > 0.8) & (random.random(len(users)) < 0.3)
        parts = np.where(loops, 1.0 + random.random(len(users)), parts)
        watches_ms = np.minimum(parts * durations_ms, 300_000.0).astype(np.int64)
        ends_ms = times_ms + watches_ms
        sessions.advance(users, slots, ends_ms)
        self._num_views += len(users)

        said = [self._item_ids[slot] for slot in slots.tolist()]
        told: list[tuple[int, str, float, str, str]] = [
            # Each watch has fields of its own; formatting them is the loop's work.
            (
                user,
                item,
                end,
                "watch",
                f',"watch_ms":{watch},"duration_ms":{duration},"request_id":"{request}",'
                f'"position":{position},"device":"{_DEVICES[self._devices[user]]}"',
            )
            for user, item, end, watch, duration, request, position in zip(
                users.tolist(),
                said,
                ends_ms.tolist(),
                watches_ms.tolist(),
                durations_ms.tolist(),
                requests,
                positions.tolist(),
                strict=True,
            )
        ]
        told += self._explicit(users, said, times_ms, ends_ms, matches, requests)
        self._send(told)

    def _explicit(
        self,
        users: NDArray[np.int64],
        items: list[str],
        times_ms: NDArray[np.float64],
        ends_ms: NDArray[np.float64],
        matches: NDArray[np.float64],
        requests: list[str],
    ) -> list[tuple[int, str, float, str, str]]:
        """Return (user, item, time, type, further fields) of each explicit action."""
        random, rates = self._random, self._rates
        love, dislike = _sigmoid(12.0 * (matches - 0.75)), _sigmoid(-12.0 * (matches - 0.05))
        told: list[tuple[int, str, float, str, str]] = []
        for kind, chance, delay_ms in (
            ("like", rates.like * love, -1_000.0),
            ("comment", rates.comment * love, 4_000.0),
            ("share", rates.share * love, 1_500.0),
            ("follow", rates.follow * love, 500.0),
            ("not_interested", rates.not_interested * dislike, 200.0),
        ):
            for view in np.flatnonzero(random.random(len(users)) < chance).tolist():
                at_ms = max(float(times_ms[view]), float(ends_ms[view]) + delay_ms)
                user, item = int(users[view]), items[view]
                told.append((user, item, at_ms, kind, f',"request_id":"{requests[view]}"'))
                if kind == "like":
                    self._liked[user] = item
        for view in np.flatnonzero(random.random(len(users)) < rates.unlike).tolist():
            liked = self._liked.pop(int(users[view]), None)
            if liked is not None:
                told.append((int(users[view]), liked, float(ends_ms[view]) + 800.0, "unlike", ""))
        for view in np.flatnonzero(random.random(len(users)) < rates.erase).tolist():
            told.append((int(users[view]), "", float(ends_ms[view]) + 900.0, "erase", ""))
        return told

    # The network.

    def _send(self, told: list[tuple[int, str, float, str, str]]) -> None:
        """Give each event its id, its delay and perhaps a repetition."""
        random, rates, count = self._random, self._rates, len(told)
        delays_ms = random.lognormal(4.2, 0.5, count)
        is_delayed = random.random(count) < rates.delayed
        delays_ms += np.where(is_delayed, np.minimum(random.exponential(60_000, count), 6e5), 0.0)
        is_stale = random.random(count) < rates.stale
        ages_ms = np.where(is_stale, random.uniform(26.0, 48.0, count) * _HOUR_MS, 0.0)
        repeats_ms = random.exponential(5_000, count).clip(1.0, 30_000)
        is_repeated = random.random(count) < rates.duplicate
        for event, delay, age, repeat, repeated in zip(
            told,
            delays_ms.tolist(),
            ages_ms.tolist(),
            repeats_ms.tolist(),
            is_repeated.tolist(),
            strict=True,
        ):
            user, item, at_ms, kind, more = event
            arrival_ms = at_ms + delay
            self._num_sent += 1
            if arrival_ms < self.start_ms:
                continue
            self._num_events += 1
            key = self._user_ids[user]
            named = f',"item_id":"{item}"' if item else ""
            text = (
                f'{{"event_id":"{self._event_prefix}{self._num_events:x}","type":"{kind}",'
                f'"user_id":"{key}"{named},"ts":{int(at_ms - age)}{more}}}'
            )
            self._push(arrival_ms, "interactions", key, text)
            if repeated:
                self._num_sent += 1
                self._push(arrival_ms + repeat, "interactions", key, text, is_duplicate=True)

    def _push(
        self, at_ms: float, topic: str, key: str, text: str | None, *, is_duplicate: bool = False
    ) -> None:
        value = None if text is None else text.encode()
        record = SimulatedRecord(int(at_ms), topic, key.encode(), value, is_duplicate)
        self._num_pushed += 1
        heapq.heappush(self._pending, (at_ms, self._num_pushed, record))

    def _arrived(self, end_ms: float) -> list[SimulatedRecord]:
        block = []
        while self._pending and self._pending[0][0] < end_ms:
            record = heapq.heappop(self._pending)[2]
            self.num_interactions += record.topic == "interactions"
            self.num_duplicates += record.is_duplicate
            block.append(record)
        return block


def _item_id(number: int) -> str:
    return f"v{number:06d}"


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-values))
    return scaled
