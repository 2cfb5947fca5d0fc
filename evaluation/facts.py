"""Facts: what the protocol must know for certain about the past, in plain dictionaries.

Kept beside the engine, so that a filter's false positive or a table's bound counts against the
engine and not for it. Filled by events as they are learned: nothing here knows the future.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.events import Action, EventBatch

# Actions that name an item without touching it.
_NO_TOUCH = (Action.UNLIKE, Action.ERASE)
# Users whose touches say how alike two items are: the first ones of the log, one bit an item.
_MAX_SAMPLED_USERS = 8_192


@dataclass(slots=True)
class ItemFacts:
    """What is known of one item.

    Attributes:
        first_ms: Event time of its first touch.
        num_touches: Events that touched it.
        users: Bit per sampled user who touched it.
    """

    first_ms: int
    num_touches: int = 0
    users: int = 0


@dataclass(slots=True)
class Facts:
    """Who touched what so far.

    Attributes:
        items: By item id.
        consumed: Items that each user touched since the last erasure.
        num_touches: Events that touched an item.
    """

    items: dict[str, ItemFacts] = field(default_factory=dict)
    consumed: dict[str, set[str]] = field(default_factory=dict)
    num_touches: int = 0
    _users: dict[str, int] = field(default_factory=dict)

    def learn(self, events: EventBatch, begin: int, end: int) -> None:
        """Take events ``[begin, end)``, in order."""
        times = events.timestamps_ms[begin:end].tolist()
        actions = events.types[begin:end].tolist()
        for index in range(begin, end):  # Once per event of an offline evaluation.
            user, action = events.user_id(index), actions[index - begin]
            if action == Action.ERASE:  # The user starts anew.
                self.consumed.pop(user, None)
            if action in _NO_TOUCH:
                continue
            item = events.item_id(index)
            known = self.items.get(item)
            if known is None:
                known = self.items[item] = ItemFacts(first_ms=times[index - begin])
            known.num_touches += 1
            self.num_touches += 1
            known.users |= self._bit_of(user)
            self.consumed.setdefault(user, set()).add(item)

    def number_of(self, user: str) -> int:
        """Return the user's number, in the order of being met."""
        return self._users.setdefault(user, len(self._users))

    def touches_of(self, item: str) -> int:
        """Return how many events touched an item."""
        known = self.items.get(item)
        return 0 if known is None else known.num_touches

    def _bit_of(self, user: str) -> int:
        number = self.number_of(user)
        return 1 << number if number < _MAX_SAMPLED_USERS else 0
