"""Decode a slab of interactions into an EventBatch: bytes in, columns and rejects out.

Three readers of one contract, each asked only what the faster one left open:

1. the scanner (:mod:`stream.scanner`), one kernel over the slab, takes ordinary records;
2. msgspec decodes the ids that hold escapes, all of a slab in one list;
3. the published models (:mod:`stream.verdicts`) judge what is left, record by record, and are the
   only place where a reason code is made.

That they agree is proven over the corpus in ``tests/stream/corpus.py`` and by hypothesis; why it is
built so stands in ``docs/decisions/0002-decoder.md``.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.dead_letters import cut_value
from stream.events import Action, EventBatch, Reject
from stream.scan_fields import DURATION_MS, EVENT_ID, ITEM_ID, TS, USER_ID, WATCH_MS
from stream.scanner import ODD, ScannedColumns, scan_values
from stream.slab import Slab
from stream.verdicts import Fault, judge, judge_time
from stream.wire import MAX_FUTURE_MS, MAX_ID_BYTES, Interaction

_TEXTS = msgspec.json.Decoder(list[str])


class _Appendix:
    """Bytes to stand behind the slab's buffer: ids that are not their own JSON spelling."""

    def __init__(self, buffer: NDArray[np.uint8]) -> None:
        self._buffer = buffer
        self._parts: list[bytes] = []
        self._end = len(buffer)

    def append(self, part: bytes) -> tuple[int, int]:
        """Return the start and length that the bytes will have in :meth:`buffer`."""
        start = self._end
        self._parts.append(part)
        self._end += len(part)
        return start, len(part)

    def buffer(self) -> NDArray[np.uint8]:
        """Return the slab's own buffer where nothing was appended, else a longer copy."""
        if not self._parts:
            return self._buffer
        return np.concatenate([self._buffer, np.frombuffer(b"".join(self._parts), np.uint8)])


def decode_events(slab: Slab) -> EventBatch:
    """Decode every record of a slab; what cannot be used comes back as rejects.

    1. Scan all values. 2. Decode ids with escapes. 3. Judge the odd records. 4. Reject event times
    too far after the record's Kafka timestamp. 5. Keep the good records, in log order.

    Args:
        slab: Records of ``interactions``; not changed.

    Returns:
        Events and rejects; every record is exactly one of the two. The buffer is the slab's own,
        or a copy with decoded ids appended.
    """
    columns = scan_values(slab.buffer, slab.value_starts, slab.value_lengths)  # 1
    appendix = _Appendix(slab.buffer)
    _decode_escaped_ids(slab, columns, appendix)  # 2
    columns.statuses[(columns.lengths > MAX_ID_BYTES).any(axis=0)] = ODD  # Its own words.
    rejects = _judge_odd(slab, columns, appendix)  # 3
    rejects.update(_judge_times(slab, columns, rejects))  # 4
    return _keep_good(slab, columns, appendix.buffer(), rejects)  # 5


def _decode_escaped_ids(slab: Slab, columns: ScannedColumns, appendix: _Appendix) -> None:
    """Replace the spans of ids with escapes; the scanner has checked their grammar and length."""
    escaped = np.where(columns.statuses == ODD, 0, columns.statuses)
    if not escaped.any():
        return
    records, fields = np.nonzero(escaped[:, None] & (1 << np.arange(3, dtype=np.uint8)))
    starts = columns.starts[fields, records] - 1
    ends = starts + columns.lengths[fields, records] + 2
    memory = slab.buffer.data
    spans = [memory[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    texts = _TEXTS.decode(b"[" + b",".join(spans) + b"]")
    encoded = [text.encode() for text in texts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    start, _ = appendix.append(b"".join(encoded))
    columns.starts[fields, records] = start + np.cumsum(lengths) - lengths
    columns.lengths[fields, records] = lengths


def _put_id(
    columns: ScannedColumns, field: int, record: int, text: str, appendix: _Appendix
) -> None:
    start, length = appendix.append(text.encode())
    columns.starts[field, record] = start
    columns.lengths[field, record] = length


def _judge_odd(slab: Slab, columns: ScannedColumns, appendix: _Appendix) -> dict[int, Fault]:
    """Judge what the scanner left open; return the faults by index into the slab."""
    faults: dict[int, Fault] = {}
    # A Python loop over records, for the few that are bad or unusual: each needs its own words.
    for record in np.flatnonzero(columns.statuses == ODD).tolist():
        verdict = judge(slab.value(record), kafka_timestamp_ms=int(slab.timestamps_ms[record]))
        if isinstance(verdict, Fault):
            faults[record] = verdict
        else:
            _put_interaction(columns, record, verdict.interaction, appendix)
            columns.num_unknown[record] = verdict.num_unknown_fields
    return faults


def _put_interaction(
    columns: ScannedColumns, record: int, interaction: Interaction, appendix: _Appendix
) -> None:
    """Write a record that the model accepted into the columns."""
    ids = (interaction.event_id, interaction.user_id, interaction.item_id)
    for field, text in zip((EVENT_ID, USER_ID, ITEM_ID), ids, strict=True):
        _put_id(columns, field, record, text or "", appendix)
    columns.types[record] = Action[interaction.type.upper()]
    columns.numbers[0, record] = interaction.ts
    for field, number in (
        (WATCH_MS, interaction.watch_ms),
        (DURATION_MS, interaction.duration_ms),
    ):
        columns.numbers[field - TS, record] = -1 if number is None else number


def _judge_times(slab: Slab, columns: ScannedColumns, known: dict[int, Fault]) -> dict[int, Fault]:
    """Return the faults of records whose event time lies too far in the future."""
    ahead_ms = columns.numbers[0] - slab.timestamps_ms
    faults: dict[int, Fault] = {}
    for record in np.flatnonzero((slab.timestamps_ms >= 0) & (ahead_ms > MAX_FUTURE_MS)).tolist():
        fault = judge_time(
            int(columns.numbers[0, record]), kafka_timestamp_ms=int(slab.timestamps_ms[record])
        )
        if fault is not None and record not in known:
            faults[record] = fault
    return faults


def _keep_good(
    slab: Slab, columns: ScannedColumns, buffer: NDArray[np.uint8], faults: dict[int, Fault]
) -> EventBatch:
    """Cut the rejected records out of the columns and make the batch."""
    bad = sorted(faults)
    keep: slice | NDArray[np.bool_] = slice(None)
    if bad:
        keep = np.ones(len(slab), np.bool_)
        keep[bad] = False
    return EventBatch(
        partition=slab.partition,
        begin=slab.begin,
        end=slab.end,
        buffer=buffer,
        offsets=slab.offsets[keep],
        kafka_timestamps_ms=slab.timestamps_ms[keep],
        timestamps_ms=columns.numbers[0][keep],
        types=columns.types[keep],
        user_starts=columns.starts[USER_ID][keep],
        user_lengths=columns.lengths[USER_ID][keep],
        item_starts=columns.starts[ITEM_ID][keep],
        item_lengths=columns.lengths[ITEM_ID][keep],
        event_id_starts=columns.starts[EVENT_ID][keep],
        event_id_lengths=columns.lengths[EVENT_ID][keep],
        watch_ms=columns.numbers[WATCH_MS - TS][keep],
        duration_ms=columns.numbers[DURATION_MS - TS][keep],
        header_starts=slab.header_starts[keep],
        num_unknown_fields=int(columns.num_unknown[keep].sum()),
        rejected=tuple(
            Reject(
                offset=int(slab.offsets[record]),
                reason=faults[record].reason,
                detail=faults[record].detail,
                value=cut_value(slab.value(record)),
            )
            for record in bad
        ),
    )


def compile_kernels() -> None:
    """Compile (or load from the cache) what decoding runs; called before a worker joins."""
    decode_events(Slab.from_values([b"{}"]))
