"""Verdicts: what one scenario showed of each invariant."""

from __future__ import annotations

from dataclasses import dataclass, field

INVARIANTS = tuple(f"I{number}" for number in range(1, 12))


@dataclass
class Verdicts:
    """What was found.

    Attributes:
        wrong: Invariant to why it does not hold; "" where it holds, absent where not asked.
        wrong_keys: Keys of the state that differ from the oracle's.
        catch_up_s: From the last heal until every list reflected its user's newest event.
        lost: Acknowledged records that are not in the log.
        is_settled: Whether the deployment was drained, stopped and compared.
    """

    wrong: dict[str, str] = field(default_factory=dict)
    wrong_keys: int | None = None
    catch_up_s: float | None = None
    lost: int | None = None
    is_settled: bool = False

    def take(self, invariant: str, found: object, why: str = "") -> None:
        """Note that an invariant holds where ``found`` is empty or zero; else why not."""
        if found:
            shown = found[:3] if isinstance(found, list) else found
            self.wrong[invariant] = f"{why} {shown}".strip()
        else:
            self.wrong.setdefault(invariant, "")

    @property
    def holds(self) -> bool:
        """Whether nothing that was asked is wrong."""
        return not any(self.wrong.values()) and not self.wrong_keys and not self.lost
