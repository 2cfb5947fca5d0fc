"""UserLimits: every bound and rule of the user side, checked where it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.actions import MAX_REPEATS, NUM_ACTIONS

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


class UserRules(NamedTuple):
    """The rules as scalars and arrays, for kernels; times in ms."""

    grace_ms: int
    link_ms: int
    max_lags: int
    pair_tau_ms: float
    strengths: NDArray[np.uint8]
    min_completion: int
    seen_items: int
    session_half_life_ms: float
    long_half_life_ms: float
    dislike_weight: float
    max_events_per_minute: int
    max_repeats_per_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimits:
    """Bounds and rules of one user partition.

    Attributes:
        max_users: Users with a row; the 1/16 least recently touched make room.
        max_items: Items known to the partition; likewise.
        max_history: Distinct items of a user's history, 1..255.
        max_event_ids: Event ids remembered for duplicates; the oldest arrivals make room.
        max_erased: Tombstones of erased users; the oldest make room.
        max_affinities: Tag and author keys per user.
        seen_bits: Bits of one of a user's two seen filters, a multiple of 64.
        seen_items: Items after which a user's older seen filter is dropped.
        grace_ms: An event older than the stream time by more is late.
        link_ms: Two interactions further apart make no pair.
        max_lags: Earlier strong entries that an interaction is paired with, 0..255.
        pair_tau_ms: Time constant of the pair weight ``exp(-gap / tau)``.
        strength_watch, strength_like, strength_comment, strength_share: Worth of an action, 0..255.
        strength_not_interested, strength_follow: Likewise.
        min_completion: Watched share below which a watch is worth 0.
        session_half_life_ms: Half-life of the session vector.
        long_half_life_ms: Half-life of the long vector and of affinities.
        dislike_weight: What ``not_interested`` takes from vectors and affinities.
        max_events_per_minute: Events of one user that are applied per minute of event time, as many
            at once; 0 = all. An erase is never held back.
        max_repeats_per_day: Further events of one user on one item that count and pair per day of
            event time, while it stands in the history; the first of each action always counts.
        hash_seed: Seed of id hashes; stored fingerprints depend on it.
    """

    max_users: int = 1_000_000
    max_items: int = 1_000_000
    max_history: int = 50
    max_event_ids: int = 4_000_000
    max_erased: int = 100_000
    max_affinities: int = 16
    seen_bits: int = 1024
    seen_items: int = 64
    grace_ms: int = _DAY_MS
    link_ms: int = 30 * _DAY_MS
    max_lags: int = 10
    pair_tau_ms: int = 6 * _HOUR_MS
    strength_watch: int = 1
    strength_like: int = 2
    strength_comment: int = 3
    strength_share: int = 3
    strength_not_interested: int = 0
    strength_follow: int = 3
    min_completion: float = 0.2
    session_half_life_ms: int = _HOUR_MS // 2
    long_half_life_ms: int = 7 * _DAY_MS
    dislike_weight: float = 1.0
    max_events_per_minute: int = 0
    max_repeats_per_day: int = 10
    hash_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, low, high in (
            ("max_users", 1, 2**30),
            ("max_items", 1, 2**30),
            ("max_history", 1, 255),
            ("max_event_ids", 1, 2**30),
            ("max_erased", 1, 2**30),
            ("max_affinities", 0, 255),
            ("seen_bits", 64, 65_536),
            ("seen_items", 1, 2**31 - 1),
            ("grace_ms", 0, 2**60),
            ("link_ms", 0, 2**60),
            ("max_lags", 0, 255),
            ("pair_tau_ms", 1, 2**60),
            ("strength_watch", 0, 255),
            ("strength_like", 0, 255),
            ("strength_comment", 0, 255),
            ("strength_share", 0, 255),
            ("strength_not_interested", 0, 255),
            ("strength_follow", 0, 255),
            ("min_completion", 0.0, 1.0),
            ("session_half_life_ms", 1, 2**60),
            ("long_half_life_ms", 1, 2**60),
            ("dislike_weight", 0.0, 255.0),
            ("max_events_per_minute", 0, 1_000_000),
            ("max_repeats_per_day", 0, MAX_REPEATS),
            ("hash_seed", 0, 2**64 - 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                msg = f"expected {low} <= {name} <= {high}, got {value}"
                raise ValueError(msg)
        if self.seen_bits % 64:
            msg = f"expected seen_bits to be a multiple of 64, got {self.seen_bits}"
            raise ValueError(msg)

    def rules(self) -> UserRules:
        """Return what the kernels need."""
        strengths = np.zeros(NUM_ACTIONS, np.uint8)
        strengths[:6] = (
            self.strength_watch,
            self.strength_like,
            self.strength_comment,
            self.strength_share,
            self.strength_not_interested,
            self.strength_follow,
        )
        return UserRules(
            grace_ms=self.grace_ms,
            link_ms=self.link_ms,
            max_lags=self.max_lags,
            pair_tau_ms=float(self.pair_tau_ms),
            strengths=strengths,
            # The small term keeps 0.2 * 255 = 51.00000000000001 from asking for 52.
            min_completion=math.ceil(self.min_completion * 255 - 1e-9),
            seen_items=self.seen_items,
            session_half_life_ms=float(self.session_half_life_ms),
            long_half_life_ms=float(self.long_half_life_ms),
            dislike_weight=float(self.dislike_weight),
            max_events_per_minute=self.max_events_per_minute,
            max_repeats_per_day=self.max_repeats_per_day,
        )
