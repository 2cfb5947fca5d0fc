"""What became of records: receipts, deliveries, and failures that nobody looked at."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from headwater_client.errors import DeliveryFailed

# Failures that are remembered one by one until flush() or close() reports them.
_MAX_REMEMBERED = 1_000
_MAX_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Kafka has the record, on every replica that is in sync.

    Attributes:
        record_id: ``event_id`` of an event, ``item_id`` of an item.
        topic: Where it stands.
        partition: Where in the topic.
        offset: Its place there.
    """

    record_id: str
    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Outcome:
    """One record until it is confirmed: whether it failed, and whether somebody saw that."""

    record_id: str
    error: BaseException | None = None
    is_seen: bool = False

    def failure(self) -> DeliveryFailed:
        """Return the error to raise for this record alone."""
        return _failure([self], 1)


class Delivery(Future[Receipt]):
    """The future of one record: ``result()`` waits for Kafka's word and returns the receipt.

    An ordinary :class:`concurrent.futures.Future`, so that ``wait`` and ``as_completed`` of that
    module work. Callbacks run on the producer's own thread and must be short. A failure that
    neither ``result`` nor ``exception`` showed to anybody is raised by the producer's ``flush`` or
    ``close``. It cannot be cancelled: the record may be on its way.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self._outcome = outcome
        self.set_running_or_notify_cancel()

    @property
    def record_id(self) -> str:
        """``event_id`` of the event, ``item_id`` of the item."""
        return self._outcome.record_id

    def result(self, timeout: float | None = None) -> Receipt:
        """Return the receipt, after at most so many seconds.

        Raises:
            DeliveryFailed: Kafka did not confirm the record.
            TimeoutError: It is not known yet.
        """
        found = self.exception(timeout)
        if found is not None:
            raise found
        return super().result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the failure or None, after at most so many seconds."""
        found = super().exception(timeout)
        self._outcome.is_seen = True
        return found


class Failures:
    """Failures that nobody has seen, bounded; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: deque[Outcome] = deque()
        self._num_forgotten = 0

    def add(self, outcome: Outcome) -> None:
        """Remember a failed record."""
        with self._lock:
            if len(self._failed) == _MAX_REMEMBERED:
                self._num_forgotten += not self._failed.popleft().is_seen
            self._failed.append(outcome)

    def report(self) -> None:
        """Raise what nobody has seen, once.

        Raises:
            DeliveryFailed: Names the first records.
        """
        with self._lock:
            unseen = [outcome for outcome in self._failed if not outcome.is_seen]
            count = len(unseen) + self._num_forgotten
            self._failed.clear()
            self._num_forgotten = 0
        if count:
            raise _failure(unseen, count) from (unseen[0].error if unseen else None)


def _failure(outcomes: list[Outcome], count: int) -> DeliveryFailed:
    named = tuple(outcome.record_id for outcome in outcomes)
    shown = ", ".join(named[:_MAX_NAMED]) + (", ..." if count > _MAX_NAMED else "")
    error = outcomes[0].error if outcomes else None
    cause = f"{type(error).__name__}: {error}" if error else "the reason was not kept"
    message = (
        f"expected Kafka to confirm each record, it did not for {count:,} ({shown}): {cause}; "
        f"send again with the same event_id, what arrived all the same counts once"
    )
    return DeliveryFailed(message, named, count)
