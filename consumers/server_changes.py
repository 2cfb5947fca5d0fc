"""ServerChanges: whose keys in Redis may be older than those that were written.

A server that does not know our scripts was restarted or is another one: replication and append-only
files lag, so that it may hold an older state of any key. Absent: who writes the keys again.
"""

from __future__ import annotations

from collections.abc import Callable, Set

# A worker's start loads the scripts once, whatever the server went through.
_USUAL_LOADS = 1


class ServerChanges:
    """Compares each look with the one before.

    Args:
        num_script_loads: How often the server did not know our scripts (``RedisSink``).
        is_start_doubted: Whether a worker's start counts: nobody knows what went before.

    Attributes:
        is_another: Whether the server is another one than at the look before.
    """

    def __init__(self, num_script_loads: Callable[[], int], *, is_start_doubted: bool) -> None:
        self._num_script_loads = num_script_loads
        self._num_seen = 0 if is_start_doubted else _USUAL_LOADS
        self._held: Set[int] = frozenset()
        self.is_another = False

    def look(self, held: Set[int]) -> Set[int]:
        """Return which of the partitions that are ours now are doubted from now on.

        All, where the server is another one; then also those that come to us afterwards: who had
        them may have died before it wrote them again. Those that come after a mere start are not.
        """
        num_loads, before = self._num_script_loads(), self._held
        self.is_another = num_loads > self._num_seen
        self._num_seen, self._held = max(num_loads, self._num_seen), frozenset(held)
        if self.is_another:
            return self._held
        return self._held - before if num_loads > _USUAL_LOADS else frozenset()
