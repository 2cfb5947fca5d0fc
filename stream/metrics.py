"""Every metric of a worker: name, kind, unit, labels and one line of meaning.

Names follow Prometheus (base units, ``_total`` for counters). Labels have bounded cardinality:
never a user or an item. The shell (``consumers.metrics_registry``) fills them in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a metric is read."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric's declaration.

    Attributes:
        name: As scraped; histograms in seconds unless the name says otherwise.
        kind: Counter, gauge or histogram.
        unit: Unit of the value, for the documentation.
        help: One line of meaning.
        labels: Label names.
        buckets: Upper bounds of a histogram, ascending, without infinity.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_SHORT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


def _counter(name: str, unit: str, help_: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, unit=unit, help=help_, labels=labels)


def _gauge(name: str, unit: str, help_: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, unit=unit, help=help_, labels=labels)


def _histogram(
    name: str, unit: str, buckets: tuple[float, ...], help_: str, *labels: str
) -> Metric:
    return Metric(
        name=name, kind=Kind.HISTOGRAM, unit=unit, help=help_, labels=labels, buckets=buckets
    )


EVENTS = _counter(
    "headwater_events_total",
    "events",
    "Records read, by verdict: applied, duplicate, late, rejected, filtered, routed.",
    "partition",
    "verdict",
)
REJECTS = _counter("headwater_rejects_total", "records", "Rejects by reason code.", "reason")
UNKNOWN_FIELDS = _counter(
    "headwater_unknown_fields_total", "fields", "Fields of interactions that were ignored."
)
LAG = _gauge(
    "headwater_lag_records",
    "records",
    "Records between the state's next offset and the log's end.",
    "topic",
    "partition",
)
NEXT_OFFSET = _gauge(
    "headwater_next_offset", "offset", "Next offset that the state wants.", "topic", "partition"
)
DURABLE_OFFSET = _gauge(
    "headwater_durable_offset",
    "offset",
    "Next offset inside the newest durable snapshot.",
    "topic",
    "partition",
)
WAITING_BYTES = _gauge(
    "headwater_waiting_bytes",
    "bytes",
    "Fetched slabs that wait to be folded; bound: twice HEADWATER_WORKER__MAX_SLAB_BYTES.",
    "topic",
)
FOLD_SECONDS = _histogram(
    "headwater_fold_seconds", "s", _SHORT_SECONDS, "Decode and fold of one slab.", "topic"
)
SLAB_EVENTS = _histogram("headwater_slab_events", "events", _SIZES, "Events per slab.", "topic")
FRESHNESS = _histogram(
    "headwater_freshness_seconds",
    "s",
    _SECONDS,
    "From an event's Kafka timestamp to the first accepted list that covers it.",
    "action",
)
UNANSWERED = _gauge(
    "headwater_unanswered_events", "events", "Applied events that no list covers yet."
)
OLDEST_UNANSWERED = _gauge(
    "headwater_oldest_unanswered_seconds", "s", "Age of the oldest event without a covering list."
)
UNTRACKED = _counter(
    "headwater_untracked_events_total", "events", "Events beyond the freshness ledger's bound."
)
DIRTY_USERS = _gauge(
    "headwater_dirty_users", "users", "Users who get another list: waiting, or being refreshed."
)
SHED_USERS = _counter(
    "headwater_shed_users_total", "users", "Users shed from the full refresh queue."
)
COALESCED_USERS = _counter(
    "headwater_coalesced_users_total", "users", "Marks that met a user already waiting."
)
REFRESH_USERS = _histogram(
    "headwater_refresh_batch_users", "users", _SIZES, "Users per refresh batch."
)
REFRESH_SECONDS = _histogram(
    "headwater_refresh_seconds",
    "s",
    _SHORT_SECONDS,
    "Stages of a refresh batch: retrieve, score, write.",
    "stage",
)
SINK_REPLIES = _counter(
    "headwater_sink_replies_total", "lists", "Replies of Redis to writes, by kind.", "kind"
)
LOST_KEYS = _counter(
    "headwater_lost_keys_total",
    "keys",
    "Keys that stood in Redis, are gone and are written again: rec, sim or erased.",
    "kind",
)
SINK_PAUSED = _gauge("headwater_sink_paused", "0 or 1", "1 while lists cannot be written.")
LEASE_HELD = _gauge(
    "headwater_lease_held",
    "0 or 1",
    "1 while the group surely leaves our partitions with us; else nothing is written.",
)
TASKS = _gauge("headwater_tasks", "tasks", "asyncio tasks; some dozens, whatever comes in.")
FRAMES = _counter("headwater_frames_total", "frames", "Item-delta frames acknowledged.")
FRAME_BYTES = _counter("headwater_frame_bytes_total", "bytes", "Item-delta bytes acknowledged.")
SIGNALS = _counter("headwater_signals_total", "records", "Item signals published.")
SIGNALS_HELD = _counter(
    "headwater_signals_held_total", "records", "Item signals held back by the rate bound."
)
DEAD_LETTERS = _counter("headwater_dead_letters_total", "records", "Dead letters acknowledged.")
TABLE_USED = _gauge("headwater_table_used", "rows", "Rows in use.", "kind", "partition", "table")
TABLE_BOUND = _gauge(
    "headwater_table_bound", "rows", "Bound on rows.", "kind", "partition", "table"
)
DROPPED = _counter(
    "headwater_dropped_total",
    "rows",
    "Rows given up for want of room: evicted users or items, overflowed pairs, ...",
    "kind",
    "partition",
    "what",
)
SNAPSHOT_SECONDS = _histogram(
    "headwater_snapshot_seconds", "s", _SECONDS, "Duration of one snapshot.", "kind"
)
SNAPSHOT_PAUSE = _histogram(
    "headwater_snapshot_pause_seconds",
    "s",
    _SHORT_SECONDS,
    "How long freezing a partition for its snapshot held the state thread.",
    "kind",
)
SNAPSHOT_AGE = _gauge(
    "headwater_snapshot_age_seconds", "s", "Age of the newest snapshot.", "kind", "partition"
)
SNAPSHOTS_UNUSABLE = _counter(
    "headwater_snapshots_unusable_total", "files", "Snapshots passed over at a restore.", "kind"
)
SNAPSHOTS_FAILED = _counter(
    "headwater_snapshots_failed_total", "snapshots", "Snapshots the store did not take.", "kind"
)
SNAPSHOTS_LOST = _counter(
    "headwater_snapshots_lost_total",
    "partitions",
    "Partitions whose newest durable snapshot was gone: at a start, or under a running worker.",
    "kind",
)
MODEL = _gauge("headwater_model_info", "1", "The ranker in use.", "model", "sequence")
MODEL_FAILURES = _counter(
    "headwater_model_failures_total", "batches", "Batches ranked by the fallback."
)

METRICS: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
