"""The user side as one plain Python program: dicts, lists and loops, record by record.

Shares with the engine the id hash (checked on its own) and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from state.hashing import hash64
from state.seen import BITS_PER_ITEM, seen_key
from state.user_limits import UserLimits

WATCH, LIKE, COMMENT, SHARE, NOT_INTERESTED, FOLLOW, UNLIKE, ERASE = range(8)
SKIP = 8  # A watch that is worth nothing, in delta rows.
MASK = 2**64 - 1


@dataclass(frozen=True)
class Event:
    user: bytes
    item: bytes
    event_id: bytes
    ts: int
    action: int
    watch_ms: int = -1
    duration_ms: int = -1


@dataclass
class Entry:
    item: bytes
    ts: int
    strength: int
    bits: int
    completion: int
    day: int = 0
    repeats: int = 0


@dataclass
class Known:
    user: bytes
    event_id: bytes
    ts: int
    is_tied: bool
    is_alive: bool = True


@dataclass
class User:
    touched: int = 0
    num_events: int = 0
    events_to: int = 0
    debt: int = 0
    history: list[Entry] = field(default_factory=list)
    young: int = 0
    old: int = 0
    num_seen: int = 0
    gains: list[tuple[int, float, bytes]] = field(default_factory=list)
    affinities: dict[int, float] = field(default_factory=dict)
    affinity_time: int = 0


def of(data: bytes) -> np.ndarray:
    return np.array(bytearray(data), np.uint8)


def hash_of(data: bytes, seed: int) -> int:
    return int(hash64(of(data), 0, len(data), np.uint64(seed)))


def mix(value: int) -> int:
    value = (value ^ (value >> 33)) * 0xC2B2AE3D27D4EB4F & MASK
    value = (value ^ (value >> 29)) * 0x165667B19E3779F9 & MASK
    return value ^ (value >> 32)


def bloom(item: bytes, num_bits: int) -> int:
    key = int(seen_key(of(item), 0, len(item)))
    step = mix(key) | 1
    bits = 0
    for _ in range(BITS_PER_ITEM):
        bits |= 1 << ((key >> 32) * num_bits >> 32)
        key = key + step & MASK
    return bits


class UserOracle:
    def __init__(
        self,
        limits: UserLimits,
        embeddings: dict[bytes, np.ndarray] | None = None,
        keys: dict[bytes, list[int]] | None = None,
    ) -> None:
        self.limits = limits
        self.embeddings, self.keys = embeddings, keys
        self.next_offset = 0
        self.stream_time = 0
        names = "applied duplicate late rejected filtered routed evicted_users evicted_items"
        self.counters = dict.fromkeys([*names.split(), "dropped_event_ids"], 0)
        self.users: dict[bytes, User] = {}
        self.items: dict[bytes, int] = {}
        # In order of arrival.
        self.event_ids: list[Known] = []
        self.erased: dict[bytes, int] = {}
        self.erases: list[tuple[bytes, int]] = []
        self.applied: list[int] = []
        self.deltas: list[tuple[Any, ...]] = []

    def apply(self, offset: int, event: Event | str) -> None:
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        if isinstance(event, str):
            self.counters[event] += 1
            return
        if event.ts < self.stream_time - self.limits.grace_ms:
            self.counters["late"] += 1
            return
        if any(
            known.is_alive and (known.user, known.event_id) == (event.user, event.event_id)
            for known in self.event_ids
        ):
            self.counters["duplicate"] += 1
            return
        if event.action == ERASE:
            self._remember(event)
            self._forget(event.user)
            self.erased.pop(event.user, None)
            self.erased[event.user] = offset
            while len(self.erased) > self.limits.max_erased:
                del self.erased[next(iter(self.erased))]
            self.erases.append((event.user, offset))
            return
        if event.user not in self.users:
            if len(self.users) == self.limits.max_users:
                self._evict_users()
            self.users[event.user] = User()
        user = self.users[event.user]
        user.touched = offset
        per_minute = self.limits.max_events_per_minute
        if per_minute:
            passed = min(max(event.ts - user.events_to, 0), 60_000)
            debt = max(user.debt - passed * per_minute, 0) + 60_000
            if debt > 60_000 * per_minute:
                self.counters["filtered"] += 1
                return
            user.debt = debt
        if event.item:
            if event.item not in self.items and len(self.items) == self.limits.max_items:
                self._evict_items()
            self.items[event.item] = offset
        self._remember(event)
        user.num_events += 1
        user.events_to = max(user.events_to, event.ts)
        self.applied.append(offset)
        if event.item:
            self._interact(user, event, offset)

    def _remember(self, event: Event) -> None:
        self.counters["applied"] += 1
        self.stream_time = max(self.stream_time, event.ts)
        horizon = self.stream_time - self.limits.grace_ms
        ids = self.event_ids
        while ids and (not ids[0].is_alive or ids[0].ts < horizon):
            del ids[0]
        if len(ids) == self.limits.max_event_ids:
            self.counters["dropped_event_ids"] += ids[0].is_alive
            del ids[0]
        # An erase is remembered, but tied to no user: it must not forget itself.
        ids.append(Known(event.user, event.event_id, event.ts, event.action != ERASE))

    def _forget(self, user_id: bytes) -> None:
        if self.users.pop(user_id, None) is not None:
            for known in self.event_ids:
                if known.user == user_id and known.is_tied:
                    known.is_alive = False

    def _evict_users(self) -> None:
        oldest = sorted(self.users, key=lambda id: self.users[id].touched)
        for id in oldest[: max(1, self.limits.max_users // 16)]:
            self._forget(id)
            self.counters["evicted_users"] += 1

    def _evict_items(self) -> None:
        oldest = sorted(self.items, key=self.items.__getitem__)
        for id in oldest[: max(1, self.limits.max_items // 16)]:
            del self.items[id]
            for user in self.users.values():
                user.history = [entry for entry in user.history if entry.item != id]
            self.counters["evicted_items"] += 1

    def _strength(self, event: Event) -> tuple[int, int]:
        limits, completion = self.limits, 0
        if event.watch_ms > 0 and event.duration_ms > 0:
            completion = min(255, 255 * event.watch_ms // event.duration_ms)
        if event.action == WATCH and completion < math.ceil(limits.min_completion * 255 - 1e-9):
            return 0, completion
        strength = {
            WATCH: limits.strength_watch,
            LIKE: limits.strength_like,
            COMMENT: limits.strength_comment,
            SHARE: limits.strength_share,
            NOT_INTERESTED: limits.strength_not_interested,
            FOLLOW: limits.strength_follow,
        }[event.action]
        return strength, completion

    def _interact(self, user: User, event: Event, offset: int) -> None:
        entry = next((each for each in user.history if each.item == event.item), None)
        if event.action == UNLIKE:
            if entry is not None and entry.bits & 1 << LIKE:
                row = (offset, event.item, entry.ts, LIKE, -1, -entry.strength, [])
                self.deltas.append(row)
                self._gain(user, event.item, -entry.strength, entry.ts)
                entry.strength = 0
                entry.bits = entry.bits & ~(1 << LIKE) | 1 << UNLIKE
            return
        once = event.action in (LIKE, FOLLOW, NOT_INTERESTED)
        if entry is not None and once and entry.bits & 1 << event.action:
            return
        strength, completion = self._strength(event)
        before, is_given_again, is_capped = 0, False, False
        linked = self._pairs(user, event.ts)
        if entry is None:
            entry = Entry(event.item, event.ts, 0, 0, 0)
            self._see(user, event.item)
        else:
            before = entry.strength
            is_newest = user.history[-1] is entry
            is_given_again = is_newest and before == 0 and bool(entry.bits & 1 << UNLIKE)
            day = event.ts // 86_400_000
            if day > entry.day:
                entry.repeats = 0
            is_capped = entry.repeats >= self.limits.max_repeats_per_day
            if not is_capped:
                entry.day = day if entry.repeats == 0 else entry.day
                entry.repeats += 1
            elif entry.bits & 1 << UNLIKE and entry.bits & 1 << event.action:
                return
            user.history.remove(entry)
        user.history.append(entry)
        del user.history[: -self.limits.max_history]
        entry.ts = event.ts
        entry.strength = max(before, strength)
        is_news = entry.strength > before or not entry.bits & 1 << event.action
        entry.bits |= 1 << event.action
        entry.completion = max(entry.completion, completion)
        pairs = linked if strength > 0 and not (is_given_again or is_capped) else []
        action = SKIP if event.action == WATCH and strength == 0 else event.action
        row = (offset, event.item, event.ts, action, 1, entry.strength - before, pairs)
        if is_news or not is_capped:
            self.deltas.append(row)
        weight = float(entry.strength - before)
        if event.action == NOT_INTERESTED:
            weight -= self.limits.dislike_weight
        self._gain(user, event.item, weight, event.ts)

    def _pairs(self, user: User, ts: int) -> list[tuple[bytes, int, int]]:
        linked = [
            each
            for each in reversed(user.history)
            if each.strength > 0 and abs(ts - each.ts) <= self.limits.link_ms
        ]
        tau = self.limits.pair_tau_ms
        return [
            (each.item, lag, math.floor(255 * math.exp(-abs(ts - each.ts) / tau) + 0.5))
            for lag, each in enumerate(linked[: self.limits.max_lags], start=1)
        ]

    def _see(self, user: User, item: bytes) -> None:
        bits = bloom(item, self.limits.seen_bits)
        if user.young & bits == bits:
            return
        if user.num_seen >= self.limits.seen_items:
            user.old, user.young, user.num_seen = user.young, 0, 0
        user.young |= bits
        user.num_seen += 1

    def _gain(self, user: User, item: bytes, weight: float, ts: int) -> None:
        if self.embeddings is None or self.keys is None or weight == 0:
            return
        user.gains.append((ts, weight, item))
        half_life = self.limits.long_half_life_ms
        if ts > user.affinity_time:
            keep = 2.0 ** (-(ts - user.affinity_time) / half_life)
            user.affinities = {key: value * keep for key, value in user.affinities.items()}
            user.affinity_time = ts
        weight *= 2.0 ** (-(user.affinity_time - ts) / half_life)
        for key in self.keys[item]:
            if key == 0 or self.limits.max_affinities == 0:
                continue
            if key not in user.affinities and len(user.affinities) == self.limits.max_affinities:
                if weight <= 0:
                    continue
                least = min(user.affinities, key=lambda each: abs(user.affinities[each]))
                # The newcomer takes the place in order, too: ties go to the first place.
                pairs = list(user.affinities.items())
                at = [each for each, _ in pairs].index(least)
                pairs[at] = (key, abs(user.affinities[least]) + weight)
                user.affinities = dict(pairs)
            else:
                user.affinities[key] = user.affinities.get(key, 0.0) + weight

    def vector(self, user_id: bytes, half_life_ms: int, now: int, dim: int) -> np.ndarray:
        """Sum the decayed embeddings as of ``now`` or the newest gain, whichever is later."""
        total = np.zeros(dim)
        gains = self.users[user_id].gains
        now = max([now, *(ts for ts, _, _ in gains)])
        for ts, weight, item in gains:
            assert self.embeddings is not None
            total += weight * 2.0 ** (-(now - ts) / half_life_ms) * self.embeddings[item]
        return total
