"""A reading of lists' versions for tests: nothing in the engine takes one apart."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TEXT = re.compile(r"([0-9]{6})-([0-9]{16})-([0-9]{6})-([0-9]{13})")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A parsed version; instances order as their texts do."""

    epoch: int
    next_offset: int
    model_sequence: int
    generated_at_ms: int


def parse_version(text: str) -> Version:
    """Return the parts of a version text, which must be one."""
    found = _TEXT.fullmatch(text)
    assert found is not None, text
    return Version(*map(int, found.groups()))
