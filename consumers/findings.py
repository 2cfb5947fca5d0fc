"""Finding: one line of ``doctor``: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

# info: nothing is wrong, but a person may want to know.
Status = Literal["ok", "info", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: Short stable name, as in ``kafka.reachable``.
        status: How it is.
        text: What was found, one sentence.
        advice: What to do; empty where nothing is to be done.
    """

    check: str
    status: Status
    text: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return plain values for JSON."""
        return asdict(self)
