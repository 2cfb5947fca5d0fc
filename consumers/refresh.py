"""RefreshLoop: dirty users in, lists in Redis out; the shell around steps 7 to 10.

Three stages hand batches on through hand-overs of length one: retrieve (state thread), score
(scorer thread), write (event loop). A slow scorer or a slow Redis therefore stops retrieval, dirty
users pile up in their bounded queue, and that sheds the least urgent. Absent on purpose: anything
the fold waits for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from consumers.sink_replies import Reply, WriteReport
from stream.candidates import RecommendationBatch
from stream.dirty_users import DirtyUsers, RefreshBatch
from stream.errors import HeadwaterError
from stream.freshness import FreshnessHistograms, FreshnessLedger
from stream.refresh_queue import RefreshQueue

logger = logging.getLogger(__name__)

Work = TypeVar("Work")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved(Generic[Work]):
    """What retrieval gives for one batch.

    Attributes:
        work: Copies for the scorer, of the users that are not gone, in order; None when all are.
        is_gone: bool (B,), the row no longer means the batch's user id.
    """

    work: Work | None
    is_gone: NDArray[np.bool_]


class Write(Protocol):
    """Writes lists and reports each reply; :meth:`consumers.sink.RedisSink.write`."""

    async def __call__(self, batch: RecommendationBatch, *, generated_at_ms: int) -> WriteReport:
        """Write the lists of a batch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTimes:
    """Duration of each stage of one batch, seconds, and the number of users taken."""

    num_users: int
    retrieve_s: float
    score_s: float
    write_s: float


def _ignore(_: BatchTimes) -> None:
    return None


class RefreshLoop(Generic[Work]):
    """Runs refreshes until cancelled. Everything is called on the event loop but two functions.

    Args:
        queue: Whom to refresh; nobody else takes from it.
        ledger: Unanswered events.
        freshness: Gets the ages of answered events.
        retrieve: Runs in ``state_executor``; None when the partition is not ours any more.
        score: Runs in ``scorer_executor``; retrieval to slate, None when the partition moved away.
        write: Writes lists; never raises for an outage.
        state_executor: The one state thread.
        scorer_executor: The one scorer thread.
        monotonic_ms: Clock of intervals and waits.
        wall_ms: Clock of ``generated_at`` and freshness.
        backoff_ms: First pause after an outage; doubles up to ``max_backoff_ms``.
        max_backoff_ms: Longest pause.
        max_invalid_batches: So many batches in a row with scores that are no numbers end the loop.
        on_batch: Called after every batch (metrics).
    """

    def __init__(
        self,
        *,
        queue: RefreshQueue,
        ledger: FreshnessLedger,
        freshness: FreshnessHistograms,
        retrieve: Callable[[RefreshBatch], Retrieved[Work] | None],
        score: Callable[[Work], RecommendationBatch | None],
        write: Write,
        state_executor: Executor,
        scorer_executor: Executor,
        monotonic_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        backoff_ms: int = 50,
        max_backoff_ms: int = 2_000,
        max_invalid_batches: int = 20,
        on_batch: Callable[[BatchTimes], None] = _ignore,
    ) -> None:
        self._queue = queue
        self._ledger = ledger
        self._freshness = freshness
        self._retrieve = retrieve
        self._score = score
        self._write = write
        self._state_executor = state_executor
        self._scorer_executor = scorer_executor
        self._monotonic_ms = monotonic_ms
        self._wall_ms = wall_ms
        self._backoff_ms = backoff_ms
        self._max_backoff_ms = max_backoff_ms
        self._max_invalid_batches = max_invalid_batches
        self._on_batch = on_batch
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._is_draining = False
        self._pause_ms = 0
        self._num_invalid_batches = 0
        self._to_score: asyncio.Queue[_Trip[Work]] = asyncio.Queue(1)
        self._to_write: asyncio.Queue[_Trip[Work]] = asyncio.Queue(1)
        self.num_batches = 0
        self.num_lists = 0
        self.num_gone = 0

    @property
    def is_paused(self) -> bool:
        """Whether the last write failed and the loop waits before the next."""
        return self._pause_ms > 0

    def mark(self, users: DirtyUsers) -> None:
        """Queue users whose state changed; called after each fold."""
        self._queue.offer(users, self._monotonic_ms())
        self._woken.set()

    def release(self, partition: int) -> None:
        """End the hold on a partition that caught up with its log."""
        self._queue.release(partition)
        self._woken.set()

    def drop(self, partition: int) -> None:
        """Forget users and events of a partition that moved away."""
        self._queue.drop(partition)
        self._ledger.drop(partition)

    async def drain(self, timeout_ms: int) -> bool:
        """Refresh everybody dirty at once; return whether that was done within the bound."""
        self._is_draining = True
        self._idle.clear()
        self._woken.set()
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                await self._idle.wait()
        except TimeoutError:
            return False
        finally:
            self._is_draining = False
        return True

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            HeadwaterError: The ranker gives no numbers, batch after batch.
            Exception: Whatever retrieval or scoring raised: a bug, the worker ends.
        """
        try:
            async with asyncio.TaskGroup() as stages:
                stages.create_task(self._run_retrieval(), name="refresh-retrieve")
                stages.create_task(self._run_scoring(), name="refresh-score")
                stages.create_task(self._run_writing(), name="refresh-write")
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _run_retrieval(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next_batch()
            begin = loop.time()
            found = await loop.run_in_executor(self._state_executor, self._retrieve, batch)
            # Not Retrieved[Work](...): a frozen class with slots cannot take the mark of its type.
            nobody: Retrieved[Work] = Retrieved(work=None, is_gone=np.ones(len(batch), np.bool_))
            retrieved = nobody if found is None else found
            trip: _Trip[Work] = _Trip(
                batch=batch,
                is_gone=retrieved.is_gone,
                retrieve_s=loop.time() - begin,
                work=retrieved.work,
            )
            await self._to_score.put(trip)

    async def _run_scoring(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            trip = await self._to_score.get()
            begin = loop.time()
            if trip.work is not None:
                trip.lists = await loop.run_in_executor(
                    self._scorer_executor, self._score, trip.work
                )
                trip.work = None
            trip.score_s = loop.time() - begin
            await self._to_write.put(trip)

    async def _run_writing(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            trip = await self._to_write.get()
            begin = loop.time()
            is_done = np.zeros(len(trip.batch), np.bool_)
            report = None
            if trip.lists is not None:
                report = await self._write(trip.lists, generated_at_ms=self._wall_ms())
                is_done[~trip.is_gone] = report.is_answered
            self._settle(trip, is_done)
            self._on_batch(
                BatchTimes(
                    num_users=len(trip.batch),
                    retrieve_s=trip.retrieve_s,
                    score_s=trip.score_s,
                    write_s=loop.time() - begin,
                )
            )
            if report is not None:
                await self._pause_after(report)

    def _settle(self, trip: _Trip[Work], is_done: NDArray[np.bool_]) -> None:
        """Give a batch back to the queue and its answered events to the histograms."""
        batch = trip.batch
        is_ours = self._queue.finish(
            batch, is_done=is_done, is_gone=trip.is_gone, now_ms=self._monotonic_ms()
        )
        if trip.lists is not None:
            self._freshness.record(
                self._ledger.answer(
                    batch.partition,
                    batch.user_rows[is_done],
                    trip.lists.next_offset,
                    self._wall_ms(),
                )
            )
        # Where the partition was dropped its events are, too; what is there is of its next life.
        gone = batch.user_rows[trip.is_gone & is_ours]
        # Where a row has a new owner already, its events wait for the owner's list.
        self._ledger.forget(batch.partition, gone[~self._queue.knows(batch.partition, gone)])
        self.num_batches += 1
        self.num_lists += int(is_done.sum())
        self.num_gone += int(trip.is_gone.sum())
        self._woken.set()

    async def _pause_after(self, report: WriteReport) -> None:
        """Wait after a failed write, longer each time; nothing is retrieved meanwhile."""
        is_invalid = bool((report.replies == Reply.INVALID).any())
        self._num_invalid_batches = self._num_invalid_batches + 1 if is_invalid else 0
        if self._num_invalid_batches >= self._max_invalid_batches:
            msg = (
                f"refresh: expected finite scores, got NaN or infinity in "
                f"{self._num_invalid_batches} batches in a row: {report.error}; roll the weights "
                "back or rank with fusion"
            )
            raise HeadwaterError(msg)
        if not (is_invalid or report.is_outage):
            if self._pause_ms:
                logger.warning("lists are written again")
            self._pause_ms = 0
            return
        if not self._pause_ms:
            logger.warning("lists are not written: %s (%s)", report.error, report.counts)
        self._pause_ms = min(max(2 * self._pause_ms, self._backoff_ms), self._max_backoff_ms)
        await asyncio.sleep(self._pause_ms / 1_000)

    async def _next_batch(self) -> RefreshBatch:
        """Wait until the queue has a batch."""
        while True:
            self._woken.clear()
            now_ms = self._monotonic_ms()
            batch = self._queue.take(now_ms, flush=self._is_draining)
            if batch is not None:
                return batch
            if self._is_draining and not self._queue.num_in_flight:
                self._idle.set()
            due_ms = self._queue.next_due_ms(now_ms)
            wait_s = None if due_ms is None else max(due_ms - now_ms, 1) / 1_000
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue


@dataclass(slots=True, kw_only=True)
class _Trip(Generic[Work]):
    """One batch on its way through the stages."""

    batch: RefreshBatch
    is_gone: NDArray[np.bool_]
    retrieve_s: float
    score_s: float = 0.0
    work: Work | None = None
    lists: RecommendationBatch | None = None
