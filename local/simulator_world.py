"""The simulator's world: users whose tastes drift, items that are born, age and are taken away.

Users and items live in one space of interests. Popularity is quality that fades with age; what a
feed shows is a mix of what is popular, what the user likes, and the next part of what was just
watched, so that a log of it holds something to learn. Pure: arrays, one seeded generator, no clock.

Axis letters: U users, N item places, D interest space, V views, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_INTERESTS = 16  # D: wide enough that categories are nearly at right angles
NUM_CATEGORIES = 14
NUM_CANDIDATES = 10  # C of one view
INTERESTS_PER_USER = 3
NUM_TAGS = 12  # per category
NUM_RECENT = 16  # last items of a user that a feed does not show again
EMBEDDING_DIM = 64

CATEGORIES = (
    "animals",
    "art",
    "beauty",
    "comedy",
    "dance",
    "food",
    "games",
    "garden",
    "music",
    "news",
    "science",
    "sports",
    "travel",
    "workshop",
)

# Part of a user's session starts at which one interest is replaced by another: drift by jumps.
_JUMP_RATE = 0.12
# Standard deviation of the step that a taste takes at each session start: drift by steps.
_DRIFT_STEP = 0.08
# Half of an item's popularity is gone after this part of its life.
_AGE_HALF_LIFE = 0.15
_EMBEDDING_NOISE = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class BornItem:
    """An item at its birth.

    Attributes:
        slot: Its place in the arrays.
        number: Counts births: ids are made of it.
        is_announced: False for the few items that only interactions make known.
        has_embedding: Whether the announcement carries a content vector.
    """

    slot: int
    number: int
    is_announced: bool
    has_embedding: bool


class World:
    """Users and items as arrays, and what happens between them.

    Args:
        seed: Of all randomness.
        num_users: U.
        num_items: N, the number of items alive at any time.
        life_ms: From an item's birth to its end; the stock at the start has all ages.
        start_ms: Time at which the world begins.
    """

    def __init__(
        self, *, seed: int, num_users: int, num_items: int, life_ms: float, start_ms: int
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.num_users = num_users
        self.num_items = num_items
        self._life_ms = life_ms
        self._centres = _unit(self.random.normal(size=(NUM_CATEGORIES, NUM_INTERESTS)))
        self._to_embedding = self.random.normal(size=(NUM_INTERESTS, EMBEDDING_DIM))
        self._make_users()
        self._make_items(start_ms)
        self.refresh_popularity(start_ms)

    def _make_users(self) -> None:
        random, users = self.random, self.num_users
        self.activity = random.pareto(2.0, users) + 0.2  # (U,)
        self.interests = random.integers(0, NUM_CATEGORIES, (users, INTERESTS_PER_USER))
        self.taste_noise = random.normal(0.0, 0.2, (users, NUM_INTERESTS))
        self.tastes = np.empty((users, NUM_INTERESTS))  # (U, D)
        self._renew_tastes(np.arange(users))
        self.recent = np.full((users, NUM_RECENT), -1, np.int64)  # (U, 16), a ring of item numbers

    def _make_items(self, start_ms: int) -> None:
        items = self.num_items
        self.num_born = 0
        self._num_authors = max(8, items // 12)
        self._author_categories = self.random.integers(0, NUM_CATEGORIES, self._num_authors)
        self.numbers = np.zeros(items, np.int64)
        self.vectors = np.zeros((items, NUM_INTERESTS))  # (N, D)
        self.qualities = np.zeros(items)
        self.categories = np.zeros(items, np.int64)
        self.authors = np.zeros(items, np.int64)
        self.durations_ms = np.zeros(items, np.int64)
        self.born_ms = np.zeros(items, np.int64)
        self.successors = np.full(items, -1, np.int64)  # slot of the same author's next item
        self._last_of_author = np.full(self._num_authors, -1, np.int64)
        self._next_slot = 0
        ages = np.linspace(self._life_ms, 0.0, items, endpoint=False)
        self.stock = [self.bear(int(start_ms - age)) for age in ages]

    def bear(self, born_ms: int) -> BornItem:
        """Put a new item in the place of the oldest one and return it."""
        random = self.random
        slot, number = self._next_slot, self.num_born
        self._next_slot = (slot + 1) % self.num_items
        self.num_born += 1
        author = int(random.integers(self._num_authors))
        category = int(self._author_categories[author])
        if random.random() < 0.2:
            category = int(random.integers(NUM_CATEGORIES))
        noise = random.normal(0.0, 0.12, NUM_INTERESTS)
        self.vectors[slot] = _unit(self._centres[category] + noise)
        self.numbers[slot] = number
        self.qualities[slot] = random.normal()
        self.categories[slot] = category
        self.authors[slot] = author
        self.durations_ms[slot] = int(np.clip(random.lognormal(9.2, 0.6), 3_000, 120_000))
        self.born_ms[slot] = born_ms
        self.successors[self.successors == slot] = -1
        self.successors[slot] = -1
        last = int(self._last_of_author[author])
        if last >= 0 and last != slot and self.authors[last] == author:
            self.successors[last] = slot
        self._last_of_author[author] = slot
        return BornItem(
            slot=slot,
            number=number,
            is_announced=bool(random.random() >= 0.03),
            has_embedding=bool(random.random() < 0.6),
        )

    @property
    def oldest_slot(self) -> int:
        """The place whose item the next birth replaces."""
        return self._next_slot

    def tags(self, slot: int) -> list[str]:
        """Return an item's 1 to 4 tags, a function of the item alone."""
        number, category = int(self.numbers[slot]), int(self.categories[slot])
        count = 1 + number % 4
        return [
            f"{CATEGORIES[category]}-{(number * 7 + step * 5) % NUM_TAGS}" for step in range(count)
        ]

    def embedding(self, slot: int) -> NDArray[np.float64]:
        """Return a noisy content vector, float64 (64,), unit norm."""
        noise = self.random.normal(0.0, _EMBEDDING_NOISE * 4.0, EMBEDDING_DIM)
        return _unit(self.vectors[slot] @ self._to_embedding + noise)

    def refresh_popularity(self, now_ms: float) -> None:
        """Recompute from quality and age what a feed shows; called at every block of time."""
        ages = np.maximum(now_ms - self.born_ms, 0.0) / self._life_ms
        weights = np.exp(1.1 * self.qualities) * 0.5 ** (ages / _AGE_HALF_LIFE) + 0.01
        self._by_category = np.argsort(self.categories, kind="stable")
        self._cumulated = np.concatenate([[0.0], np.cumsum(weights[self._by_category])])
        borders = np.searchsorted(
            self.categories[self._by_category], np.arange(NUM_CATEGORIES + 1), side="left"
        )
        self._category_begins = self._cumulated[borders[:-1]]
        self._category_ends = self._cumulated[borders[1:]]

    def start_sessions(self, users: NDArray[np.int64]) -> None:
        """Let tastes drift: a small step for each of these users, a new interest for some."""
        random = self.random
        steps = random.normal(0.0, _DRIFT_STEP, (len(users), NUM_INTERESTS))
        # 0.97 keeps the walk bounded.
        self.taste_noise[users] = 0.97 * self.taste_noise[users] + steps
        jumping = users[random.random(len(users)) < _JUMP_RATE]
        places = random.integers(0, INTERESTS_PER_USER, len(jumping))
        self.interests[jumping, places] = random.integers(0, NUM_CATEGORIES, len(jumping))
        self._renew_tastes(users)

    def show(
        self,
        users: NDArray[np.int64],
        last_slots: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Choose what each user sees next.

        A feed orders by what it believes of the user, better at the top of a page than further
        down: that is the position bias which a log has.

        Args:
            users: int64 (V,), each at most once.
            last_slots: int64 (V,), what each saw last; -1 for nothing.
            positions: int64 (V,), place in the page, 0 first.

        Returns:
            Slots int64 (V,), and how well each matches its user, float64 (V,) in [-1, 1].
        """
        random = self.random
        num_views = len(users)
        chosen_interest = self.interests[
            users[:, None], random.integers(0, INTERESTS_PER_USER, (num_views, NUM_CANDIDATES))
        ]  # (V, C)
        begins, ends = self._category_begins[chosen_interest], self._category_ends[chosen_interest]
        # The last four candidates, and empty categories, come from everything.
        everything = ends <= begins
        everything[:, NUM_CANDIDATES - 4 :] = True
        begins = np.where(everything, 0.0, begins)
        ends = np.where(everything, self._cumulated[-1], ends)
        draws = begins + random.random((num_views, NUM_CANDIDATES)) * (ends - begins)
        places = np.searchsorted(self._cumulated, draws, side="right") - 1
        candidates = self._by_category[np.minimum(places, self.num_items - 1)]  # (V, C)
        following = np.where(last_slots >= 0, self.successors[last_slots], -1)
        has_next = (following >= 0) & (random.random(num_views) < 0.5)
        candidates[has_next, 0] = following[has_next]

        matches = np.einsum("vcd,vd->vc", self.vectors[candidates], self.tastes[users])
        noise = random.gumbel(size=matches.shape) * (0.1 + 0.03 * positions[:, None])
        appeal = matches + 0.1 * self.qualities[candidates] + noise
        appeal[has_next, 0] += 0.5
        numbers = self.numbers[candidates]
        is_recent = (numbers[:, :, None] == self.recent[users][:, None, :]).any(axis=2)
        appeal[is_recent] -= 5.0
        best = np.argmax(appeal, axis=1)
        rows = np.arange(num_views)
        slots = candidates[rows, best]
        self.recent[users] = np.roll(self.recent[users], 1, axis=1)
        self.recent[users, 0] = self.numbers[slots]
        return slots, matches[rows, best]

    def _renew_tastes(self, users: NDArray[np.int64]) -> None:
        shares = np.array([0.55, 0.3, 0.15])
        wanted = np.einsum("k,ukd->ud", shares, self._centres[self.interests[users]])
        self.tastes[users] = _unit(wanted + self.taste_noise[users] * 0.3)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vectors along the last axis with norm 1."""
    scaled: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled
