"""Formats: what is said of records that only a newer Headwater reads.

Frames, signals and snapshots begin with a tag and a version. Older versions are read for as long as
they may lie somewhere; a newer one ends the worker before anything of it counts. The rule, and how
an upgrade goes: docs/decisions/0015-formats.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from stream.errors import NewerFormat


def newer_format(
    *, what: str, where: str, offset: int, found: int, readable: Sequence[int], to_go_back: str
) -> NewerFormat:
    """Return the error of a record of a version above those that are read.

    Args:
        what: Kind of record, in the plural.
        where: ``topic/partition``.
        offset: Of the first such record.
        found: Its version.
        readable: Versions that are read, ascending.
        to_go_back: What to do where the newer Headwater is not wanted any more.
    """
    versions = " or ".join(map(str, readable))
    return NewerFormat(
        f"{where}: expected {what} of version {versions}, found version {found} at offset {offset}:"
        " workers of a newer Headwater are in this group, and nothing of theirs was counted here;"
        f" stop all workers of this version and start the newer one; to go back, {to_go_back}"
    )
