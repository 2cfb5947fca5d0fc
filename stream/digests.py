"""Digests of the state: equal logs, equal digests, whatever the interleaving or number of workers.

`state` covers user tables, item counts and marginals; `rows` covers the bounded co-occurrence
rows. Each partition has a digest of its own (canonical bytes by id, never row numbers), so that
several workers' parts combine to the same whole. Rejects are counted over all partitions, for a
record whose user cannot be read lies wherever its producer put it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stream.engine import Engine

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """Hex digests of the whole state."""

    state: str
    rows: str


@dataclass(slots=True, kw_only=True)
class DigestParts:
    """Digests of single partitions, from one process or from several.

    Attributes:
        users: Partition of interactions to the digest of its user tables.
        counts: Item partition to the digest of its counts and marginals.
        rows: Item partition to the digest of its co-occurrence rows.
        rejected: Rejects counted by the partitions above.
    """

    users: dict[int, str] = field(default_factory=dict)
    counts: dict[int, str] = field(default_factory=dict)
    rows: dict[int, str] = field(default_factory=dict)
    rejected: int = 0

    def whole(self) -> Digests:
        """Combine the parts of all partitions."""
        rejected = f"rejected={self.rejected}".encode()
        return Digests(
            state=_hash([_listed(self.users), _listed(self.counts), rejected]),
            rows=_hash([_listed(self.rows)]),
        )


def _hash(parts: Iterable[bytes]) -> str:
    hashed = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()


def _listed(digests: Mapping[int, str]) -> bytes:
    return "".join(f"{number}:{digests[number]};" for number in sorted(digests)).encode() + b"|"


def digest_parts(engine: Engine) -> DigestParts:
    """Digest every partition that the engine holds."""
    parts = DigestParts()
    for number, shard in engine.users.items():
        parts.users[number] = _hash(shard.tables.digest_state())
        parts.rejected += int(shard.tables.counters["rejected"])
    for number, items in engine.items.items():
        parts.counts[number] = _hash(items.digest_counts())
        parts.rows[number] = _hash(items.digest_rows())
    return parts


def digests(engine: Engine) -> Digests:
    """Digest an engine that holds every partition."""
    return digest_parts(engine).whole()
