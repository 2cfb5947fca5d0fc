"""Held: what a worker remembers of a partition in memory beside its state."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Held:
    """One partition in memory.

    Attributes:
        durable: Next offset inside the newest durable snapshot; None without one.
        end_at_assignment: The log's end when it was assigned; no refresh before it is passed.
        saved_at_s: Monotonic time of the newest snapshot.
        tried_at_s: Monotonic time of the end of the newest try.
        committed: What the group had committed when it was loaded; 0 for nothing.
    """

    durable: int | None = None
    end_at_assignment: int = 0
    saved_at_s: float = 0.0
    tried_at_s: float = 0.0
    committed: int = 0
