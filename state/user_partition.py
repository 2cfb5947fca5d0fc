"""UserPartition: everything one partition of interactions means for its users.

``apply`` is the only way in: admission, then the fold, both kernels over whole batches. It is a
function of the log: records below ``next_offset`` are skipped, and no cut of the log into batches
changes a bit. What leaves is a :class:`FoldResult` of rows to send on and copies for retrieval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.admission import (
    APPLIED,
    COUNTER_NAMES,
    ERASED,
    FINISHED,
    NO_ITEM_ROW,
    NO_USER_ROW,
    REJECTED,
    ROUTED,
    AdmissionTables,
    AdmittedColumns,
    EventColumns,
    admit,
    make_admitted,
)
from state.catalogue_rows import CatalogueRows, CatalogueView
from state.deltas import DeltaRows
from state.erased_users import Erase, ErasedUsers
from state.event_columns import check_columns, event_columns, is_among
from state.frozen import Frozen
from state.id_index import IdIndex
from state.id_kernels import hash_id
from state.table import Arrays, with_prefix, without_prefix
from state.tombstones import tombstone_of
from state.user_columns import UserColumns, read_user_columns
from state.user_description import describe_user
from state.user_digest import canonical_bytes
from state.user_fold import DeltaColumns, FoldTables, fold, make_deltas
from state.user_limits import UserLimits
from state.user_tables import UserTables


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """What one batch changed. A = applied events that are not erases.

    Rows are local to the partition and stay readable until its next ``apply`` or ``arrays``; a
    user evicted later in the same batch reads as a user without events.

    Attributes:
        applied: int64 (A,), indices into the batch, ascending.
        user_rows: int32 (A,).
        erased_user_ids: Users erased, in log order.
        erased_offsets: Offset of each erase.
        erased_user_rows: Row that each had until then; -1 for an unknown user.
        deltas: Rows for the item side.
    """

    applied: NDArray[np.int64]
    user_rows: NDArray[np.int32]
    erased_user_ids: tuple[bytes, ...]
    erased_offsets: tuple[int, ...]
    erased_user_rows: tuple[int, ...]
    deltas: DeltaRows

    def erases(self) -> tuple[tuple[bytes, int, int], ...]:
        """Return (user id, offset, row) of every erase."""
        columns = (self.erased_user_ids, self.erased_offsets, self.erased_user_rows)
        return tuple(zip(*columns, strict=True))


class UserPartition:
    """The user side of one partition. Not safe for threads: one thread owns it.

    Attributes:
        partition: Number of the partition.
        next_offset: Offset that the state wants next.
        emitted: int64 (num_item_partitions,), end of the last frame sent to each; the caller
            sets it once a frame is encoded.
    """

    def __init__(
        self,
        *,
        partition: int,
        num_item_partitions: int,
        catalogue: CatalogueView | None,
        limits: UserLimits,
    ) -> None:
        """Make an empty partition; without a catalogue vectors and affinities are skipped."""
        self.partition = partition
        self.next_offset = 0
        self.emitted = np.zeros(num_item_partitions, np.int64)
        self.limits = limits
        self._rules = limits.rules()
        self._catalogue_rows = CatalogueRows(catalogue)
        self._tables = UserTables(limits=limits, dim=self._catalogue_rows.dim)
        self._erased = ErasedUsers(max_erased=limits.max_erased)

    @property
    def dim(self) -> int:
        """D, length of the vectors; 0 without a catalogue."""
        return self._catalogue_rows.dim

    @property
    def users(self) -> IdIndex:
        """Ids and rows of the partition's users."""
        return self._tables.users

    @property
    def items(self) -> IdIndex:
        """Ids and rows of the items that its users met."""
        return self._tables.items

    @property
    def item_destinations(self) -> NDArray[np.int32]:
        """int32 (items.num_rows,), item partition that owns each local item row (view)."""
        return self._tables.item_facts.destinations[: self.items.num_rows]

    @property
    def stream_time_ms(self) -> int:
        """Largest admitted event time; 0 before the first."""
        return int(self._tables.stream_time_ms[0])

    @property
    def counters(self) -> dict[str, int]:
        """Each offset in one of the six verdicts whose sum is ``read``; then what was dropped."""
        counts = self._tables.counters.tolist()
        named = dict(zip(COUNTER_NAMES, counts, strict=True))
        return {
            "read": sum(counts[APPLIED : ROUTED + 1]),
            **named,
            "dropped_event_ids": self._tables.event_ids.num_dropped,
        }

    def apply(
        self,
        *,
        begin: int,
        end: int,
        buffer: NDArray[np.uint8],
        offsets: NDArray[np.int64],
        kafka_timestamps_ms: NDArray[np.int64],
        timestamps_ms: NDArray[np.int64],
        types: NDArray[np.uint8],
        user_starts: NDArray[np.int64],
        user_lengths: NDArray[np.int32],
        item_starts: NDArray[np.int64],
        item_lengths: NDArray[np.int32],
        event_id_starts: NDArray[np.int64],
        event_id_lengths: NDArray[np.int32],
        watch_ms: NDArray[np.int64],
        duration_ms: NDArray[np.int64],
        rejected_offsets: NDArray[np.int64],
        routed_offsets: NDArray[np.int64],
    ) -> FoldResult:
        """Admit and fold the records of ``[begin, end)`` that the state still wants.

        1. skip what is below ``next_offset`` · 2. mask rejected and routed offsets, among the
        events or not · 3. check, then count · 4. reserve, admit and fold, again after each
        eviction or erase · 5. move ``next_offset`` to ``end``. Args as in ``stream.events``.

        Raises:
            ValueError: ``begin`` lies above ``next_offset`` (records are lost to us), or a column
                holds what no decoder may give. Nothing has changed then.
        """
        wanted = self.next_offset
        self._check_begin(begin)
        first = int(np.searchsorted(offsets, wanted))  # 1
        rejected = np.unique(rejected_offsets[rejected_offsets >= wanted])  # 2
        routed = np.setdiff1d(routed_offsets[routed_offsets >= wanted], rejected)
        is_skipped = is_among(offsets[first:], np.concatenate([rejected, routed]))
        users, items = (user_starts, user_lengths), (item_starts, item_lengths)
        facts = (offsets, timestamps_ms, types, *users, *items, event_id_starts, event_id_lengths)
        columns = (column[first:] for column in (*facts, watch_ms, duration_ms))
        events = event_columns(buffer, columns, is_skipped)
        check_columns(events)  # 3
        self._tables.counters[REJECTED] += len(rejected)
        self._tables.counters[ROUTED] += len(routed)
        result = self._admit_and_fold(events, first)  # 4
        self.next_offset = max(wanted, end)  # 5
        return result

    def read_users(
        self, user_rows: NDArray[np.int32], *, now_ms: NDArray[np.int64] | None = None
    ) -> UserColumns:
        """Copy what retrieval needs of B users; item rows become catalogue rows.

        ``now_ms`` (int64 (B,)) defaults to stream time. A row that lost its user reads as one
        without events; ``users.is_live`` tells.
        """
        tables = self._tables
        self._catalogue_rows.refresh(tables.items, tables.item_facts)
        rows = np.array(user_rows, np.int32)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < tables.users.num_rows:
            msg = (
                f"expected user rows below {tables.users.num_rows}, got {rows.min()}..{rows.max()}"
            )
            raise ValueError(msg)
        now = np.full(len(rows), self.stream_time_ms, np.int64) if now_ms is None else now_ms
        return read_user_columns(
            rows,
            np.array(now, np.int64),
            user_facts=tables.user_facts,
            item_facts=tables.item_facts,
            history=tables.history,
            seen=tables.seen,
            interests=tables.interests,
            affinities=tables.affinities,
            session_half_life_ms=self._rules.session_half_life_ms,
            long_half_life_ms=self._rules.long_half_life_ms,
        )

    def erased_offset_of(self, user_id: bytes) -> int | None:
        """Return the offset of a user's last remembered erase."""
        return self._erased.offset_of(self._user_hash(user_id))

    def erased_users(self) -> Arrays:
        """Return the tombstones as columns, oldest first; see ``state.erased_users``."""
        return self._erased.arrays()

    def read_erases(self, begin: int, count: int) -> list[Erase]:
        """Return up to ``count`` remembered erases from a position on, oldest first."""
        return self._erased.read(begin, count)

    def describe(self, user_id: str | bytes) -> dict[str, Any] | None:
        """Return all that is known of a user, for a person; None for an unknown one. Slow."""
        key = user_id.encode() if isinstance(user_id, str) else user_id
        return describe_user(self._tables, key)

    def digest_state(self) -> Iterator[bytes]:
        """Yield canonical bytes of the state, by user id; see ``state.user_digest``."""
        return canonical_bytes(self._tables, self._erased)

    def arrays(self) -> Arrays:
        """Return the whole state; views, for the caller to copy. Rows evicted so far are freed."""
        return {
            **self._tables.arrays(),
            **with_prefix("erased", self._erased.arrays()),
            **self._place(),
        }

    def _place(self) -> Arrays:
        position = np.array([self.partition, self.next_offset], np.int64)
        return {"position": position, "emitted": self.emitted}

    def freeze(self, beside: Mapping[str, NDArray[Any]]) -> Frozen:
        """Return the state as of now, and ``beside``; it stays so while events go on coming.

        See ``state.frozen``: the caller copies it on another thread, then calls :meth:`thaw`.
        Whoever freezes again leaves what was frozen before to be thrown away.
        """
        return self._tables.freeze({**self._place(), **beside}, self._erased)

    def thaw(self) -> None:
        """Keep nothing more for what was frozen."""
        self._tables.thaw()

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace the whole state by copies of what :meth:`arrays` gave.

        Raises:
            ValueError: The arrays belong to another partition or were made with other settings.
        """
        partition, next_offset = (int(each) for each in arrays["position"])
        if partition != self.partition or len(arrays["emitted"]) != len(self.emitted):
            msg = (
                f"expected partition {self.partition} with {len(self.emitted)} item partitions, "
                f"got {partition} with {len(arrays['emitted'])}; were the topics recreated?"
            )
            raise ValueError(msg)
        self._tables.restore(arrays)
        self._erased.restore(without_prefix("erased", arrays))
        self._catalogue_rows.forget()
        self.emitted[:] = arrays["emitted"]
        self.next_offset = next_offset

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return ``table -> (used, bound)``."""
        return {**self._tables.sizes(), **self._erased.sizes()}

    def _check_begin(self, begin: int) -> None:
        if begin > self.next_offset:
            msg = (
                f"expected records from offset {self.next_offset} of partition {self.partition}, "
                f"got them from {begin}; set next_offset to accept the gap"
            )
            raise ValueError(msg)

    def _user_hash(self, user_id: bytes) -> int:
        buffer = np.array(bytearray(user_id), np.uint8)
        # The index's seed, not the setting: a restored partition keeps the seed it was made with.
        return int(hash_id(self.users.columns, buffer, 0, len(user_id)))

    def _admit_and_fold(self, events: EventColumns, first: int) -> FoldResult:
        tables, num_events = self._tables, len(events.offsets)
        tables.release()
        tables.before_batch(events)
        admitted = make_admitted(num_events)
        deltas = make_deltas(num_events=num_events, max_lags=self.limits.max_lags)
        erased_ids: list[bytes] = []
        erased_offsets: list[int] = []
        erased_rows: list[int] = []
        stop, reason, folded = 0, -1, 0
        # One round per eviction or erase: ordinary batches need one.
        while reason != FINISHED:
            tables.reserve(
                num_events=num_events - stop,
                num_user_bytes=int(events.user_lengths[stop:].sum(dtype=np.int64)),
                num_item_bytes=int(events.item_lengths[stop:].sum(dtype=np.int64)),
            )
            tables.before_round(events, stop, grace_ms=self._rules.grace_ms)
            stop, reason = admit(self._admission_tables(), self._rules, events, stop, admitted)
            folded = self._fold(events, admitted, folded, deltas)
            if reason == NO_USER_ROW:
                tables.evict_users()
            elif reason == NO_ITEM_ROW:
                tables.evict_items()
            elif reason == ERASED:
                start = int(events.user_starts[stop - 1])
                user_id = events.buffer[start:][: events.user_lengths[stop - 1]].tobytes()
                erased_ids.append(user_id)
                erased_rows.append(tables.users.row_of(user_id))
                erased_offsets.append(int(events.offsets[stop - 1]))
                tables.erase_user(user_id)
                time_ms = int(events.timestamps_ms[stop - 1])
                erase = Erase(erased_offsets[-1], time_ms, *tombstone_of(user_id))
                self._erased.add(self._user_hash(user_id), erase)
        return FoldResult(
            applied=admitted.events[:folded] + first,
            user_rows=admitted.user_rows[:folded],
            erased_user_ids=tuple(erased_ids),
            erased_offsets=tuple(erased_offsets),
            erased_user_rows=tuple(erased_rows),
            deltas=_delta_rows(deltas),
        )

    def _admission_tables(self) -> AdmissionTables:
        tables = self._tables
        return AdmissionTables(
            users=tables.users.columns,
            items=tables.items.columns,
            event_ids=tables.event_ids.columns,
            user_facts=tables.user_facts,
            item_facts=tables.item_facts,
            counters=tables.counters,
            stream_time_ms=tables.stream_time_ms,
            num_item_partitions=len(self.emitted),
        )

    def _fold(
        self, events: EventColumns, admitted: AdmittedColumns, begin: int, deltas: DeltaColumns
    ) -> int:
        """Fold what was admitted since position ``begin``; return the position reached."""
        tables, end = self._tables, int(admitted.counts[0])
        self._catalogue_rows.ensure(tables.items, tables.item_facts, admitted.item_rows[begin:end])
        fold_tables = FoldTables(
            history=tables.history,
            seen=tables.seen,
            interests=tables.interests,
            affinities=tables.affinities,
            item_facts=tables.item_facts,
            catalogue=self._catalogue_rows.columns(),
        )
        fold(fold_tables, self._rules, events, admitted, begin, deltas)
        return end


def _delta_rows(columns: DeltaColumns) -> DeltaRows:
    num_rows, num_pairs = (int(count) for count in columns.counts)
    return DeltaRows(
        offsets=columns.offsets[:num_rows],
        item_rows=columns.item_rows[:num_rows],
        timestamps_ms=columns.timestamps_ms[:num_rows],
        actions=columns.actions[:num_rows],
        counts=columns.counts_by_row[:num_rows],
        strengths=columns.strengths[:num_rows],
        pair_splits=columns.pair_splits[: num_rows + 1],
        pair_item_rows=columns.pair_item_rows[:num_pairs],
        pair_lags=columns.pair_lags[:num_pairs],
        pair_weights=columns.pair_weights[:num_pairs],
    )
