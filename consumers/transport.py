"""The slab transport: a Faust transport driver, URL ``slab://host:port``.

For the app's slab topics one Faust message is one slab, offsets come from the app's ledger, and
only durable offsets are committed. Other topics keep Faust's stock path. The app carries
``ledger`` (:class:`consumers.ledger.OffsetLedger`), ``slab_options`` (:class:`SlabOptions`) and
``session`` (:class:`consumers.group_session.GroupSession`); :func:`consumers.faust_app.create_app`
sets them.

The order on a rebalance, as Faust runs it:
1. revoke: flow stops, queues are cleared → ``ledger.release`` → durable offsets committed;
2. assignment → ``ledger.retain`` → ``ledger.restore`` (heartbeats go on meanwhile);
3. seek to ``ledger.next_offset`` → flow resumes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    TopicAuthorizationFailedError,
)
from faust.transport.drivers import aiokafka as stock_driver
from faust.types import TP

from consumers.aiokafka_private import SlabSource
from consumers.faust_private import SlabConsumer
from consumers.group_session import GroupSession
from consumers.ledger import OffsetLedger
from consumers.records import MAX_BATCH_BYTES, MAX_SLAB_BYTES, RecordsWalk
from consumers.refusals import gap
from stream.errors import FencedInstanceId, LogGap, ServerRefused

logger = logging.getLogger(__name__)

_NO_RIGHT = (
    "may the user of HEADWATER_KAFKA_SECURITY__USER Read the group and its topics? "
    "docs/security.md lists the rights"
)
# What to do where a group does not take us.
_ADVICE: Mapping[type[Exception], str] = {
    GroupAuthorizationFailedError: _NO_RIGHT,
    TopicAuthorizationFailedError: _NO_RIGHT,
    InvalidSessionTimeoutError: (
        "set HEADWATER_WORKER__SESSION_TIMEOUT_S within the broker's group.min.session.timeout.ms "
        "and group.max.session.timeout.ms (6 s to 30 min where nobody changed them)"
    ),
    InconsistentGroupProtocolError: (
        "another program reads under this group id; give it one of its own, or this deployment "
        "another HEADWATER_WORKER__GROUP"
    ),
}
_UNKNOWN = "start it again; 'headwater doctor' looks for the reason"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlabOptions:
    """Bounds of the slab transport.

    Attributes:
        topics: Slab topics; every other topic keeps the stock path.
        max_slab_bytes: Bytes of a slab, compressed as fetched and decompressed as handed out.
        max_batch_bytes: Cap on one batch's decompressed bytes.
        fetch_max_wait_ms: Longest wait of the broker for new records.
        fetch_min_bytes: What ends that wait early. A fetch at every record would cost a worker
            more than the records: each goes through three threads.
    """

    topics: frozenset[str]
    max_slab_bytes: int = MAX_SLAB_BYTES
    max_batch_bytes: int = MAX_BATCH_BYTES
    fetch_max_wait_ms: int = 20
    fetch_min_bytes: int = 65_536


class Consumer(SlabConsumer):
    """Hands slabs to the agents and lets the ledger decide every offset."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._options: SlabOptions = self.app.slab_options
        self._ledger: OffsetLedger = self.app.ledger
        self.fetch_max_wait_ms = self._options.fetch_max_wait_ms
        self.fetch_min_bytes = self._options.fetch_min_bytes
        # Restored and not yet released.
        self._held: set[TP] = set()
        # A second rebalance may revoke while the first one's restore still runs.
        self._handover = asyncio.Lock()
        self.app.on_rebalance_complete.connect(self._restore)

    def slab_source(self) -> SlabSource:
        """Make the source of slabs for one start of the thread."""
        walk = RecordsWalk(
            max_slab_bytes=self._options.max_slab_bytes,
            max_batch_bytes=self._options.max_batch_bytes,
            check_crcs=self.app.conf.broker_check_crcs,
        )
        return SlabSource(topics=self._options.topics, walk=walk)

    def session(self) -> GroupSession:
        """Return the app's lease."""
        session: GroupSession = self.app.session
        return session

    async def on_fenced(self) -> None:
        """End the worker: it must not take its place back from the one that has it now."""
        message = (
            "expected to be the only worker with the instance id "
            f"{self.app.conf.consumer_group_instance_id!r} in the group {self.app.conf.id}, "
            "another one joined under it and has the partitions now: give each worker a "
            "HEADWATER_WORKER__INSTANCE_ID of its own; one that was replaced ends so, too"
        )
        await self.crash(FencedInstanceId(message))

    async def on_refused(self, error: Exception) -> None:
        """End the worker: the group does not take it, and asking again would not change that."""
        message = (
            f"expected Kafka to let this worker into the group {self.app.conf.id}, it does not "
            f"({str(error) or type(error).__name__}): {_ADVICE.get(type(error), _UNKNOWN)}"
        )
        await self.crash(ServerRefused(message))

    def is_slab_topic(self, topic: str) -> bool:
        """Return whether a topic's messages are slabs."""
        return topic in self._options.topics

    def state_assignment(self) -> int:
        """Return which assignment the state's next offsets are of; on any thread."""
        return self._ledger.assignment

    def wanted_offsets(self, partitions: Iterable[TP]) -> Mapping[TP, int | None]:
        """Return where the slab partitions among these read on; None for the log's start."""
        return {
            tp: self._ledger.next_offset(tp.topic, tp.partition)
            for tp in partitions
            if self.is_slab_topic(tp.topic)
        }

    def check_seek(self, tp: TP, offset: int, begin: int, end: int) -> None:
        """Refuse a log that ends below the offset that the state wants, or begins above it.

        Here, not at its first record: where all of it is gone, none may come for days.
        """
        if offset > end:
            message = (
                f"{tp.topic}-{tp.partition}: expected a log that reaches offset {offset}, came "
                f"[{begin}, {end}): the topic was recreated or is another cluster's; raise the "
                "epoch setting and start from empty state"
            )
            raise LogGap(message)
        if offset < begin:
            raise gap(tp.topic, tp.partition, wanted=offset, begin=begin)

    def durable_offset(self, tp: TP) -> int | None:
        """Return what may be committed for a slab partition."""
        return self._ledger.durable_offset(tp.topic, tp.partition)

    def on_buffer_full(self, tp: TP) -> None:
        """Keep fetching slab partitions: their queue's bound holds the reader back by itself.

        Faust would take the partition out and, with none left, sleep for a second.
        """
        if not self.is_slab_topic(tp.topic):
            super().on_buffer_full(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop the flow, release, commit what became durable."""
        await super().on_partitions_revoked(revoked)
        if self.should_stop or self.app.should_stop:
            return  # on_stop releases.
        try:
            await self._release(revoked)
        except Exception as error:
            # aiokafka only logs what its listener raises.
            await self.crash(error)
            raise

    async def on_stop(self) -> None:
        """Release everything and commit, unless the worker crashed."""
        if self.app.crashed or self.crashed:
            self._held.clear()
        try:
            await self._release(set(self._held))
        except Exception as error:
            # Raised from here it would only be logged, and the thread would never be stopped.
            await self.crash(error)
        await super().on_stop()

    async def _release(self, partitions: Iterable[TP]) -> None:
        async with self._handover:
            leaving = self._held & set(partitions)
            self._held -= leaving
            if leaving:
                logger.info("releasing %s", _names(leaving))
                await self._ledger.release({(tp.topic, tp.partition) for tp in leaving})
                if not await self.commit_slabs(leaving):
                    logger.warning("not committed, will be read again: %s", _names(leaving))
            self.forget_slabs()

    async def _restore(self, *_: Any, **__: Any) -> None:
        async with self._handover:
            assigned = {tp for tp in self.assignment() if self.is_slab_topic(tp.topic)}
            pairs = {(tp.topic, tp.partition) for tp in assigned}
            logger.info("restoring %s", _names(assigned))
            await self._ledger.retain(set(pairs))
            await self._ledger.restore(pairs)
            self._held = assigned


def _names(partitions: Iterable[TP]) -> str:
    return ", ".join(sorted(f"{tp.topic}-{tp.partition}" for tp in partitions)) or "nothing"


class Transport(stock_driver.Transport):
    """Faust's aiokafka driver with slabs; registered in pyproject under ``faust.transports``."""

    Consumer = Consumer
    default_port = 9092
