"""Versions of lists: one sortable string per write, so that a list never goes back.

A version is ``epoch-next_offset-model_sequence-generated_at`` with fixed widths, so that comparing
the strings byte by byte compares the four numbers in that order (Redis' script and clients in any
language compare strings only).
"""

from __future__ import annotations

# Digits per part: 19 digits of offset would not fit a double in Lua, but strings are compared.
_WIDTHS = (6, 16, 6, 13)
_NAMES = ("epoch", "next_offset", "model_sequence", "generated_at_ms")


def version_text(*, epoch: int, next_offset: int, model_sequence: int, generated_at_ms: int) -> str:
    """Return the sortable text of a version.

    Raises:
        ValueError: A part is negative or has more digits than its width; such a text would sort
            wrongly and freeze a list for good.

    >>> version_text(epoch=1, next_offset=42, model_sequence=3, generated_at_ms=1700000000000)
    '000001-0000000000000042-000003-1700000000000'
    """
    parts = (epoch, next_offset, model_sequence, generated_at_ms)
    for name, width, part in zip(_NAMES, _WIDTHS, parts, strict=True):
        if not 0 <= part < 10**width:
            msg = f"version: expected {name} in [0, 10^{width}), got {part}"
            raise ValueError(msg)
    return f"{epoch:06d}-{next_offset:016d}-{model_sequence:06d}-{generated_at_ms:013d}"


def erase_version(*, epoch: int, offset: int) -> str:
    """Return the version of an ``erase`` event at ``offset``: lists below it must not be written.

    A list that reflects the erase has ``next_offset >= offset + 1`` and therefore a version that
    is equal or higher; one made before it is lower.

    >>> before = version_text(epoch=1, next_offset=7, model_sequence=9, generated_at_ms=9)
    >>> after = version_text(epoch=1, next_offset=8, model_sequence=0, generated_at_ms=0)
    >>> before < erase_version(epoch=1, offset=7) <= after
    True
    """
    return version_text(epoch=epoch, next_offset=offset + 1, model_sequence=0, generated_at_ms=0)
