"""What Redis said to each write: one code per list, and the report of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    SlotNotCoveredError,
    TimeoutError,
    TryAgainError,
)

from consumers import sink_scripts


class Reply(IntEnum):
    """Kind of a reply; the lower-case name is its metric label.

    The first four are answers (the key holds this list, a newer one, or the user is erased); the
    others mean that nothing was written as far as we know.
    """

    ACCEPTED = 0
    SAME = 1
    STALE = 2
    BLOCKED = 3
    INVALID = 4  # A score is NaN or infinite: never sent.
    OOM = 5  # The server is full and evicts nothing.
    READONLY = 6  # A replica, or a primary that lost its role.
    LOADING = 7  # The server still reads its data.
    MOVED = 8  # Another node owns the slot and following it did not help.
    CLUSTERDOWN = 9  # No node owns the slot just now.
    UNREACHABLE = 10  # No connection, no answer within the bound, or a connection cut half-way.
    REFUSED = 11  # Password or permission: someone must act.
    OTHER = 12
    FENCED = 13  # Never sent: the group may have given the partition to another worker.


_OF_SCRIPT = {
    sink_scripts.ACCEPTED: Reply.ACCEPTED,
    sink_scripts.SAME: Reply.SAME,
    sink_scripts.STALE: Reply.STALE,
    sink_scripts.BLOCKED: Reply.BLOCKED,
}

# Order matters: BusyLoadingError and AuthenticationError are ConnectionErrors in redis-py.
_OF_ERROR: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Reply], ...] = (
    (OutOfMemoryError, Reply.OOM),
    (ReadOnlyError, Reply.READONLY),
    (BusyLoadingError, Reply.LOADING),
    ((AuthenticationError, AuthorizationError, NoPermissionError), Reply.REFUSED),
    ((ClusterDownError, SlotNotCoveredError), Reply.CLUSTERDOWN),
    ((AskError, TryAgainError), Reply.MOVED),  # MovedError is an AskError.
    ((ConnectionError, TimeoutError, OSError, asyncio.TimeoutError), Reply.UNREACHABLE),
    (RedisClusterException, Reply.CLUSTERDOWN),
)

# Kinds that may pass within moments; the others come back unchanged however often one asks.
RETRYABLE = frozenset(
    {
        Reply.READONLY,
        Reply.LOADING,
        Reply.MOVED,
        Reply.CLUSTERDOWN,
        Reply.UNREACHABLE,
    }
)


def reply_of(answer: object) -> Reply:
    """Return the kind of one script answer or error.

    >>> reply_of(1), reply_of(b"?")
    (<Reply.ACCEPTED: 0>, <Reply.OTHER: 12>)
    """
    if isinstance(answer, int):
        return _OF_SCRIPT.get(answer, Reply.OTHER)
    for kinds, reply in _OF_ERROR:
        if isinstance(answer, kinds):
            return reply
    return Reply.OTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteReport:
    """Replies to the writes of one batch, in the batch's order.

    Attributes:
        replies: uint8 (B,), :class:`Reply`.
        error: First error's text, for a log line; None without one. Holds no ids.
    """

    replies: NDArray[np.uint8]
    error: str | None = None

    @classmethod
    def of(cls, replies: Sequence[Reply], error: str | None = None) -> WriteReport:
        """Build a report from a sequence of kinds."""
        return cls(replies=np.array(replies, np.uint8), error=error)

    def __len__(self) -> int:
        return len(self.replies)

    @property
    def is_answered(self) -> NDArray[np.bool_]:
        """Bool (B,): the key holds this list or a newer one, or the user is erased by now."""
        return self.replies <= Reply.BLOCKED

    @property
    def counts(self) -> dict[str, int]:
        """Number of replies per kind (lower-case name), kinds that did not occur left out."""
        counts = np.bincount(self.replies, minlength=len(Reply))
        return {reply.name.lower(): int(counts[reply]) for reply in Reply if counts[reply]}

    @property
    def is_outage(self) -> bool:
        """Whether something was not written for a reason that lies with a server."""
        return bool((self.replies > Reply.INVALID).any())
