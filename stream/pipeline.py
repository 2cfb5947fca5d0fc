"""The way of an event, ten steps in order: from a Kafka slab to the slate that goes to Redis.

```
1 decode · 2 admit · 3 fold · 4 emit · 5 mark          one slab of `interactions`
6 fold counts and co-occurrence, publish signals       one slab of `headwater-item-deltas`
7 retrieve · 8 score · 9 rerank · (10 push)            one micro-batch of dirty users
```
Everything here is pure and synchronous and runs the same in the worker, in a replay, in a test and
in evaluation. Reading, writing, threads and step 10 (`consumers.sink`) belong to the shell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.ranking import Ranker, RankerScores
from state.frame_columns import SourceUnknown
from stream.candidates import CandidateBatch, RecommendationBatch, UserBatch
from stream.decode import decode_events
from stream.decode_items import decode_items
from stream.engine import Engine
from stream.errors import FrameHole, HeadwaterError, StateMismatch
from stream.events import EventBatch, Reject
from stream.formats import newer_format
from stream.frames import READABLE, decode_frame, encode_frames, newer_version
from stream.outcomes import Admit, Folded, Refresh, all_rows
from stream.ranking_inputs import gather
from stream.rerank import RerankLimits, rerank
from stream.routing import split_routed
from stream.signals import decode_signals, encode_signals
from stream.slab import Slab
from stream.slates import recommendations
from stream.sources import RetrievalLimits, SharedListCache, retrieve
from stream.user_batches import read_user_batch

# What to do about a frame of a partition that there is not.
_OTHERS = (
    "If workers of another HEADWATER_TOPICS__PARTITIONS write here, stop them: that number cannot "
    "change under a group id; a new one needs new item-deltas and item-signals topics and a new "
    "data folder"
)
# What to do about signals of other half-lives or windows.
_SIGNALS_ANEW = (
    "Set what they were made with on every worker (HEADWATER_CATALOGUE__HALF_LIVES_MS, "
    "HEADWATER_ITEMS__WINDOWS_MS), or name another HEADWATER_TOPICS__ITEM_SIGNALS, which fills "
    "again as items are acted on"
)


class Pipeline:
    """The ten steps over one engine's state."""

    def __init__(
        self, engine: Engine, *, retrieval: RetrievalLimits, reranking: RerankLimits
    ) -> None:
        self.engine = engine
        self._retrieval = retrieval
        self._reranking = reranking
        self._shared = SharedListCache()

    def fold_interactions(self, slab: Slab) -> Folded:
        """Run steps 1 to 5 on one slab of ``interactions``; a re-read record changes nothing."""
        events = decode_events(slab)  # 1 decode: bytes -> columns and rejects
        return self.fold_events(events, slab)

    def fold_events(self, events: EventBatch, slab: Slab | None = None) -> Folded:
        """Run steps 2 to 5 on decoded events (replay and evaluation decode once, fold in cuts)."""
        shard = self.engine.users[events.partition]
        wanted = shard.tables.next_offset
        own, copies = split_routed(events, slab, shard.origins, wanted, self.engine.topic_id)
        result = self.engine.fold(own, copies.offsets)  # 2 admit, 3 fold
        frames = encode_frames(  # 4 emit: rows by item partition, each frame from where
            result.deltas,
            **shard.frame_columns(),
            to=own.end,  # the last one ended
        )
        shard.note_emitted(frames, own.end)
        applied = result.applied
        return Folded(  # 5 mark: who is to be refreshed, and what the shell has to send
            rejects=tuple(reject for reject in own.rejected if reject.offset >= wanted),
            copies=copies,
            frames=frames,
            user_rows=result.user_rows,
            offsets=own.offsets[applied],
            append_times_ms=own.kafka_timestamps_ms[applied],
            types=own.types[applied],
            dirty=shard.dirty_users(result.user_rows, own.types[applied]),
            erased=result.erases(),
            num_unknown_fields=own.num_unknown_fields,
        )

    def fold_item_deltas(self, slab: Slab) -> None:
        """Run the first half of step 6: counts and co-occurrence of the items we own."""
        partition = self.engine.items[slab.partition]
        for index, offset in enumerate(slab.offsets.tolist()):  # One frame covers a whole slab.
            frame = decode_frame(slab.value(index) or b"", offset=offset)
            if isinstance(frame, Reject):  # Our own rows: to leave them out would be to lose them.
                raise _unreadable(slab, index, frame)
            try:
                partition.apply(offset=offset, frame=frame)
            except SourceUnknown as error:
                message = f"{slab.topic}/{slab.partition}: offset {offset}: {error} {_OTHERS}"
                raise StateMismatch(message) from error
        partition.next_offset = max(partition.next_offset, slab.end)

    def publish_signals(
        self, partition: int, max_items: int, admit: Admit = all_rows
    ) -> list[tuple[bytes, bytes]]:
        """Run the second half of step 6: (key, value) records of items touched since last."""
        items = self.engine.items[partition]
        rows = admit(items.take_dirty(max_items))  # A worker holds back what it just published:
        rows = rows[items.are_live(rows)]  # it may be evicted by now.
        return encode_signals(items.read_signals(rows, as_of_ms=items.stream_time_ms))

    def read_signals(self, slab: Slab) -> None:
        """Take neighbours and statistics of every worker's items into the catalogue.

        Raises:
            NewerFormat: A newer Headwater wrote one of them.
            StateMismatch: They were made with other settings.
        """
        try:
            signals = decode_signals(slab)
            if len(signals):  # Else null values, or none of ours.
                self.engine.catalogue.apply_signals(signals)
        except ValueError as error:
            message = f"{slab.topic}/{slab.partition}: {error}. {_SIGNALS_ANEW}"
            raise StateMismatch(message) from error

    def read_items(self, slab: Slab) -> tuple[Reject, ...]:
        """Take announced and withdrawn items into the catalogue; returns the rejects."""
        decoded = decode_items(slab)
        self.engine.catalogue.put(decoded.columns)
        self.engine.catalogue.remove(decoded.removed_ids)
        return decoded.rejected

    def read_users(self, partition: int, user_ids: Sequence[bytes], *, now_ms: int) -> UserBatch:
        """Copy B users' columns; an unknown id is a cold user."""
        tables = self.engine.users[partition].tables
        rows = np.array([tables.users.row_of(each) for each in user_ids], np.int32)
        times = np.full(len(rows), now_ms, np.int64)
        return read_user_batch(tables, user_ids, rows, now_ms=times)

    def retrieve(self, users: UserBatch) -> Refresh:
        """Run step 7: candidates with provenance, and copies of all that a ranker may want."""
        catalogue = self.engine.catalogue
        candidates = self.propose(users)
        return Refresh(
            users=users,
            candidates=candidates,
            inputs=gather(users, candidates, catalogue),
            catalogue_epoch=catalogue.epoch,
        )

    def propose(self, users: UserBatch) -> CandidateBatch:
        """Run step 7 without the copies for a ranker (a source alone, in evaluation)."""
        return retrieve(users, self.engine.catalogue, limits=self._retrieval, shared=self._shared)

    @staticmethod
    def score(refresh: Refresh, ranker: Ranker) -> RankerScores:
        """Run step 8; on any thread, for a refresh holds copies only."""
        return ranker.score(refresh.inputs)

    def rerank(
        self, refresh: Refresh, scores: RankerScores, *, model: str, model_sequence: int
    ) -> RecommendationBatch:
        """Run step 9: the slates that step 10 pushes."""
        users, candidates, catalogue = refresh.users, refresh.candidates, self.engine.catalogue
        slates = rerank(users, candidates, scores, catalogue, limits=self._reranking)
        return recommendations(
            users, candidates, scores, slates, catalogue, model=model, model_sequence=model_sequence
        )


def _unreadable(slab: Slab, index: int, reject: Reject) -> HeadwaterError:
    """Return what ends a worker at a frame that it cannot read."""
    where, version = f"{slab.topic}/{slab.partition}", newer_version(slab.value(index) or b"")
    anew = (
        "start with a new group id, data folder, item-deltas and item-signals topics and a higher "
        "HEADWATER_EPOCH"
    )
    if version is None:
        message = f"{where}: offset {reject.offset}: {reject.detail}; its rows are lost: {anew}"
        return FrameHole(message)
    return newer_format(
        what="frames",
        where=where,
        offset=reject.offset,
        found=version,
        readable=READABLE,
        to_go_back=anew,
    )
