"""A seeded log for folding: sessions of users with tastes, all action types, 283-byte events.

Twenty thousand users and as many items over one day of event time. A session is a run of about
18 views; an item comes from the user's taste (seven of ten) or from everywhere, hits first. A
watch is cut short three times in ten; explicit actions concern the item just watched. So an event
makes up to ten pairs, about six on average.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from state.hashing import partitions_of

NUM_USERS = 20_000
NUM_ITEMS = 20_000
NUM_TASTES = 200
_TASTE_ITEMS = NUM_ITEMS // NUM_TASTES
_SESSION_EVENTS = 18
_GAP_MS = 15_000
_DAY_MS = 86_400_000
_BEGIN_MS = 1_700_000_000_000
_TYPES = ("watch", "like", "comment", "share", "not_interested", "follow")
_TYPE_SHARES = (0.85, 0.08, 0.03, 0.02, 0.01, 0.01)
_DURATION_MS = 30_000


def _ranks(rng: np.random.Generator, num_items: int, size: int) -> NDArray[np.int64]:
    """Draw ranks of ``[0, num_items)`` with a weight of ``(1 + rank) ** -0.8``."""
    weights = np.cumsum((1.0 + np.arange(num_items)) ** -0.8)
    ranks: NDArray[np.int64] = np.searchsorted(weights, rng.random(size) * weights[-1])
    return ranks


def user_partitions(num_partitions: int) -> NDArray[np.int32]:
    """Return where each user belongs: int32 (NUM_USERS,)."""
    ids = b"".join(_user_id(user).encode() for user in range(NUM_USERS))
    lengths = np.full(NUM_USERS, len(ids) // NUM_USERS, np.int32)
    starts = np.arange(NUM_USERS, dtype=np.int64) * lengths[0]
    partitions: NDArray[np.int32] = partitions_of(
        np.frombuffer(ids, np.uint8), starts, lengths, num_partitions
    )
    return partitions


def _user_id(user: int) -> str:
    return f"user-{user:016d}"


def fold_events(
    num_events: int, *, num_partitions: int, seed: int = 7
) -> Iterator[tuple[int, bytes]]:
    """Yield (partition, event) in the order of event time."""
    rng = np.random.default_rng(seed)
    num_sessions = 1 + num_events // _SESSION_EVENTS
    activity = rng.lognormal(0.0, 1.0, NUM_USERS).cumsum()
    session_users = np.searchsorted(activity, rng.random(num_sessions) * activity[-1])
    sessions = np.sort(rng.integers(num_sessions, size=num_events))
    users = session_users[sessions]
    begins = np.sort(rng.random(num_sessions) * _DAY_MS)
    is_first = np.diff(sessions, prepend=-1) > 0
    gaps = np.where(is_first, 0.0, rng.exponential(_GAP_MS, num_events)).cumsum()
    times = begins[sessions] + gaps - gaps[is_first][np.cumsum(is_first) - 1]
    tastes = rng.integers(NUM_TASTES, size=NUM_USERS)[users]
    everywhere = rng.permutation(NUM_ITEMS)[_ranks(rng, NUM_ITEMS, num_events)]
    in_taste = tastes * _TASTE_ITEMS + _ranks(rng, _TASTE_ITEMS, num_events)
    items = np.where(rng.random(num_events) < 0.7, in_taste, everywhere)
    types = rng.choice(len(_TYPES), size=num_events, p=_TYPE_SHARES)
    types[is_first] = 0
    # An explicit action is about what was watched last: the newest watch at or before it.
    watched = np.maximum.accumulate(np.where(types == 0, np.arange(num_events), 0))
    items = items[watched]
    is_short = rng.random(num_events) < 0.3
    shares = np.where(is_short, rng.random(num_events) * 0.2, 0.2 + rng.random(num_events) * 0.8)
    partitions = user_partitions(num_partitions)
    request = "request-" + "r" * 24
    for index in np.argsort(times, kind="stable").tolist():
        user = int(users[index])
        event = (
            f'{{"event_id":"e-{index:030d}","type":"{_TYPES[types[index]]}",'
            f'"user_id":"{_user_id(user)}","item_id":"item-{items[index]:016d}",'
            f'"ts":{_BEGIN_MS + int(times[index])},"watch_ms":{int(shares[index] * _DURATION_MS)},'
            f'"duration_ms":{_DURATION_MS},"request_id":"{request}",'
            f'"position":{index % 20},"device":"phone-of-some-kind"}}'
        )
        yield int(partitions[user]), event.encode()
