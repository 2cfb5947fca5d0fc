"""Replay: the whole engine in one process, a log in, state out; no Kafka, no clock.

The same pipeline as the worker's, with the wires between partitions made short: a frame goes
straight to the item partition that owns it, a signal straight to the catalogue, both through
their codecs. A file has no partitions: murmur2(user_id) mod N decides, as Kafka's own partitioner
would, and offsets count up per partition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from state.hashing import partitions_of
from stream.announcements import Announcements
from stream.decode import decode_events
from stream.engine import Engine
from stream.events import EventBatch
from stream.outcomes import Folded
from stream.pipeline import Pipeline
from stream.routing import read_origins
from stream.slab import Slab

# Signals published at a time; more dirty items wait for the next round.
_MAX_SIGNALS = 1_000_000


class Replay:
    """Feeds a log to a pipeline whose engine holds every partition.

    Args:
        pipeline: Steps over an engine that no one else feeds.
        signals_interval_ms: Event time between two publications of signals; 0 publishes after
            every fold.
        announcements: Items, each taken when event time reaches it; None knows items from
            interactions alone.

    Attributes:
        stream_time_ms: Largest event time folded; -1 before the first.
        num_rejected_items: Lines of the items log that could not be used.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        signals_interval_ms: int,
        announcements: Announcements | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.engine: Engine = pipeline.engine
        self.signals_interval_ms = signals_interval_ms
        self.stream_time_ms = -1
        self.num_rejected_items = 0
        self._announcements = announcements
        self._next_signals_ms = -1
        self._misrouted: list[list[tuple[int, int, bytes]]] = [
            [] for _ in range(self.engine.num_partitions)
        ]
        # Next offset by partition and source, behind the copies in the log: also behind those that
        # were rejected there (their Kafka time is another one), which move no watermark.
        self._copied = np.zeros((self.engine.num_partitions,) * 2, np.int64)
        self._item_offsets = [0] * self.engine.num_item_partitions
        for partition in range(self.engine.num_partitions):
            self.engine.open_users(partition)
        for partition in range(self.engine.num_item_partitions):
            self.engine.open_items(partition)

    def feed(self, values: Sequence[bytes]) -> None:
        """Decode and fold wire-log lines in order of arrival."""
        self.fold(decode_events(Slab.from_values(values)))

    def fold(self, events: EventBatch) -> None:
        """Fold decoded events, split by partition; rejects count at the first partition.

        Offsets inside ``events`` are ignored: each partition counts its own.
        """
        if len(events):
            self.advance(int(events.timestamps_ms.max()))
        for part in self.split(events):
            self._fold(part, None)

    def advance(self, now_ms: int) -> None:
        """Take the items that are announced by this moment of event time."""
        if self._announcements is None:
            return
        slab = self._announcements.take(now_ms)
        if slab is not None:
            self.num_rejected_items += len(self.pipeline.read_items(slab))

    def split(self, events: EventBatch) -> list[EventBatch]:
        """Return one batch per partition that has events, with that partition's own offsets."""
        owners = partitions_of(
            events.buffer, events.user_starts, events.user_lengths, self.engine.num_partitions
        )
        parts = []
        for partition in range(self.engine.num_partitions):
            rejected = events.rejected if partition == 0 else ()
            mask = owners == partition
            count = int(np.count_nonzero(mask))
            if count + len(rejected) == 0:
                continue
            begin = self.engine.users[partition].tables.next_offset
            middle = begin + len(rejected)
            renumbered = tuple(
                type(each)(
                    offset=begin + place, reason=each.reason, detail=each.detail, value=each.value
                )
                for place, each in enumerate(rejected)
            )
            parts.append(
                events.select(
                    mask,
                    begin=begin,
                    end=middle + count,
                    partition=partition,
                    offsets=np.arange(middle, middle + count, dtype=np.int64),
                    rejected=renumbered,
                )
            )
        return parts

    def _fold(self, events: EventBatch, slab: Slab | None) -> Folded:
        """Fold events of one partition at their own offsets, and the rows they give."""
        folded = self.pipeline.fold_events(events, slab)
        for destination, frame in folded.frames:
            offset = self._item_offsets[destination]
            slab = Slab.from_values([frame], partition=destination, first_offset=offset)
            self.pipeline.fold_item_deltas(slab)
            self._item_offsets[destination] = offset + 1
        if len(events):
            self.stream_time_ms = max(self.stream_time_ms, int(events.timestamps_ms.max()))
        if self.stream_time_ms >= self._next_signals_ms:
            self.publish_signals()
        return folded

    def fold_slab(self, slab: Slab) -> None:
        """Fold one slab of a Kafka partition at its own offsets; copies wait for the end."""
        shard = self.engine.users[slab.partition]
        if slab.begin > shard.tables.next_offset:
            shard.tables.next_offset = slab.begin  # The log's head was cut by retention.
        folded = self._fold(decode_events(slab), slab)
        sources, offsets = read_origins(slab.buffer, slab.header_starts, self.engine.topic_id)
        is_copy = (sources >= 0) & (sources < self.engine.num_partitions)
        np.maximum.at(self._copied[slab.partition], sources[is_copy], offsets[is_copy] + 1)
        for index, partition in enumerate(folded.copies.partitions.tolist()):
            self._misrouted[partition].append(
                (slab.partition, int(folded.copies.offsets[index]), folded.copies.values[index])
            )

    def finish(self) -> None:
        """Fold misrouted records that no worker ever copied, at the end of their own partition."""
        for partition, waiting in enumerate(self._misrouted):
            shard = self.engine.users[partition]
            values = []
            for source, offset, value in sorted(waiting):
                if offset >= max(shard.origins[source], self._copied[partition, source]):
                    values.append(value)
                    shard.origins[source] = offset + 1
            if values:
                slab = Slab.from_values(
                    values, partition=partition, first_offset=shard.tables.next_offset
                )
                self._fold(decode_events(slab), None)
            waiting.clear()
        self.publish_signals()

    def publish_signals(self) -> None:
        """Bring every touched item's signal to the catalogue, through the codec."""
        for partition in range(self.engine.num_item_partitions):
            records = self.pipeline.publish_signals(partition, _MAX_SIGNALS)
            if records:
                self.pipeline.read_signals(Slab.from_records(records))
        self._next_signals_ms = self.stream_time_ms + self.signals_interval_ms
