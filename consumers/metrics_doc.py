"""Writes ``docs/metrics.md`` from the declarations: ``python -m consumers.metrics_doc``.

A test fails when the page and ``stream.metrics`` differ.
"""

from __future__ import annotations

import sys

from stream.metrics import METRICS, Kind, Metric

_HEAD = """# Metrics

What a worker answers at `/metrics` on its health address (Prometheus text format; the address is
printed by `headwater up` and `headwater worker --json`, and is loopback unless
`HEADWATER_WORKER__HEALTH_HOST` says otherwise). Labels have bounded cardinality: never a user,
never an item. Beside it stand `/healthz` (does it work?), `/readyz` (are its lists fresh?) and
`/stats` (the same figures as one JSON object); `/explain` and `/inspect` answer the commands of
that name ([commands.md](commands.md#explain)), to this machine only.

This page is written by `python -m consumers.metrics_doc > docs/metrics.md`; a test keeps it true.

What to look at first:

- `headwater_freshness_seconds`: from an event's Kafka timestamp to a list that reflects it.
  Unanswered events are not in it yet: `headwater_oldest_unanswered_seconds` shows them.
- `headwater_lag_records` grows: the worker is too slow, or stuck (then the watchdog ends it).
- `headwater_shed_users_total` grows: lists are made for the urgent only.
- `headwater_dropped_total` grows: a table has reached its bound; compare `headwater_table_used`
  with `headwater_table_bound`, and see [configuration.md](configuration.md).
- `headwater_rejects_total` grows: a producer sends records that cannot be used; they lie in
  `dead-letters` with their reason.

| metric | kind | unit | labels | meaning |
|---|---|---|---|---|
"""


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    meaning = metric.help
    if metric.kind is Kind.HISTOGRAM:
        meaning += f" Buckets from {metric.buckets[0]:g} to {metric.buckets[-1]:g}."
    return f"| `{metric.name}` | {metric.kind.value} | {metric.unit} | {labels} | {meaning} |\n"


def page() -> str:
    """Return the whole page."""
    return _HEAD + "".join(_row(metric) for metric in METRICS)


if __name__ == "__main__":
    sys.stdout.write(page())
