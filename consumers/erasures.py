"""Erased users' lists: deleted in Redis under a tombstone, tried again until Redis answers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Sequence

from consumers.crash_points import crash_point
from consumers.sink import RedisSink
from consumers.sink_replies import WriteReport
from stream.errors import HeadwaterError
from stream.versions import erase_version

logger = logging.getLogger(__name__)

_BATCH = 256
_RETRY_S = 0.5


class Erasures:
    """A bounded list of erasures that Redis has not confirmed.

    Args:
        sink: Writes tombstones.
        epoch: Leading part of every version.
        max_waiting: Most users that wait; beyond it the worker ends rather than forget one.
    """

    def __init__(self, sink: RedisSink, *, epoch: int, max_waiting: int) -> None:
        self._sink = sink
        self._epoch = epoch
        self._max_waiting = max_waiting
        self._waiting: OrderedDict[bytes, str] = OrderedDict()
        self._wake = asyncio.Event()
        self._is_waiting = False

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def add(self, erased: Sequence[tuple[bytes, int]]) -> None:
        """Queue (user id, offset of the erase) in log order.

        Raises:
            HeadwaterError: Too many wait: Redis has been away for too long.
        """
        for user_id, offset in erased:
            self._waiting[user_id] = erase_version(epoch=self._epoch, offset=offset)
        self._check_bound()
        self._wake.set()

    def encode(self) -> bytes:
        """Return what waits, for a snapshot."""
        return json.dumps({user.hex(): version for user, version in self._waiting.items()}).encode()

    def restore(self, data: bytes) -> None:
        """Take up again what :meth:`encode` gave; a later erase of the same user wins.

        Raises:
            HeadwaterError: Too many wait, as in :meth:`add`.
        """
        for user, version in json.loads(data).items():
            user_id = bytes.fromhex(user)
            if version > self._waiting.get(user_id, ""):
                self._waiting[user_id] = version
        self._check_bound()
        if self._waiting:
            self._wake.set()

    def _check_bound(self) -> None:
        if len(self._waiting) > self._max_waiting:
            message = (
                f"expected at most {self._max_waiting} erasures waiting for Redis, got "
                f"{len(self._waiting)}: is Redis up and writable? HEADWATER_SINK__MAX_ERASURES "
                "is the bound"
            )
            raise HeadwaterError(message)

    async def run(self) -> None:
        """Write tombstones until cancelled.

        What Redis did not answer goes to the end of the queue: those of a node that is away must
        not hold up those of the others. A wait follows where a batch got no answer at all, and
        after a round in which some got none.
        """
        while True:
            await self._wake.wait()
            left, error, was_waiting = len(self._waiting), None, self._is_waiting
            self._is_waiting = False
            while left > 0:
                batch = list(self._waiting.items())[: min(left, _BATCH)]
                left -= len(batch)
                report = await self._sink.erase_all(batch)
                crash_point("mid-erasure")
                self._settle(batch, report)
                if not report.is_answered.all():
                    self._is_waiting, error = True, report.error
                if not report.is_answered.any():
                    break
            if not self._waiting:
                self._wake.clear()
            if self._is_waiting and not was_waiting:
                logger.warning("%d erasures wait for Redis: %s", len(self._waiting), error)
            if self._is_waiting:
                await asyncio.sleep(_RETRY_S)

    def _settle(self, batch: Sequence[tuple[bytes, str]], report: WriteReport) -> None:
        """Take out what was answered, unless erased anew meanwhile; the rest tries again last."""
        for (user_id, version), answered in zip(batch, report.is_answered, strict=True):
            if answered and self._waiting.get(user_id) == version:
                del self._waiting[user_id]
            elif not answered:
                self._waiting.move_to_end(user_id)
