"""MetricsRegistry: values of the declared metrics, scraped through prometheus_client.

A registry of its own, not the process-wide one: two workers in one test do not mix. Histograms take
arrays (some thousand freshness ages at once cost one ``searchsorted``); counters can be set to a
total, because most counters live in the state and come back with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Lock

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family

from stream.metrics import METRICS, Kind, Metric

Labels = tuple[str, ...]


class _Buckets:
    """Counts per bucket and the sum of one histogram child."""

    __slots__ = ("counts", "total")

    def __init__(self, size: int) -> None:
        self.counts = np.zeros(size, np.int64)
        self.total = 0.0


class MetricsRegistry:
    """Current values; safe to fill from any thread.

    Args:
        metrics: Declarations; a metric that is not declared cannot be filled.
        max_children: Bound of label combinations per metric: a label that grows is a bug.
    """

    def __init__(self, metrics: Iterable[Metric] = METRICS, *, max_children: int = 10_000) -> None:
        self._metrics = tuple(metrics)
        # A counter without labels is there from the start: of one that appears with its first count
        # Prometheus sees no increase, and no alert fires.
        self._values: dict[str, dict[Labels, float]] = {
            m.name: {(): 0.0} if m.kind is Kind.COUNTER and not m.labels else {}
            for m in self._metrics
        }
        self._buckets: dict[str, dict[Labels, _Buckets]] = {m.name: {} for m in self._metrics}
        self._bounds = {m.name: np.array(m.buckets) for m in self._metrics}
        self._max_children = max_children
        self._readers: list[Callable[[], None]] = []
        self._lock = Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def before_scrape(self, reader: Callable[[], None]) -> None:
        """Call ``reader`` before each scrape: it copies the owners' values in here."""
        self._readers.append(reader)

    def add(self, metric: Metric, amount: float = 1.0, **labels: object) -> None:
        """Add to a counter or gauge."""
        with self._lock:
            children = self._values[metric.name]
            key = self._key(metric, labels, children)
            children[key] = children.get(key, 0.0) + amount

    def set(self, metric: Metric, value: float, **labels: object) -> None:
        """Set a gauge, or a counter to its total so far."""
        with self._lock:
            children = self._values[metric.name]
            children[self._key(metric, labels, children)] = float(value)

    def observe(self, metric: Metric, values: ArrayLike, **labels: object) -> None:
        """Add values, one or an array, in the metric's unit, to a histogram."""
        array: NDArray[np.float64] = np.atleast_1d(np.asarray(values, np.float64))
        bounds = self._bounds[metric.name]
        # "le" is inclusive: a value on a bound belongs to it.
        places = np.bincount(np.searchsorted(bounds, array, side="left"), minlength=len(bounds) + 1)
        with self._lock:
            children = self._buckets[metric.name]
            key = self._key(metric, labels, children)
            child = children.get(key)
            if child is None:
                child = children[key] = _Buckets(len(bounds) + 1)
            child.counts += places
            child.total += float(array.sum())

    def forget(self, metric: Metric, **labels: object) -> None:
        """Drop children with these labels (a partition that moved away, a model swapped out)."""
        wanted = {(metric.labels.index(name), str(value)) for name, value in labels.items()}
        with self._lock:
            for children in (self._values[metric.name], self._buckets[metric.name]):
                gone = [key for key in children if all(key[i] == value for i, value in wanted)]
                for key in gone:
                    del children[key]

    def value(self, metric: Metric, **labels: object) -> float:
        """Return a counter's or gauge's value; 0 where it was never filled."""
        with self._lock:
            children = self._values[metric.name]
            return children.get(self._key(metric, labels, children), 0.0)

    def expose(self) -> bytes:
        """Return all values in Prometheus' text format."""
        for reader in self._readers:
            reader()
        text: bytes = generate_latest(self._registry)
        return text

    def collect(self) -> Iterator[Family]:
        """Yield every metric's family (prometheus_client calls this)."""
        with self._lock:
            families = [self._family(metric) for metric in self._metrics]
        yield from families

    def _family(self, metric: Metric) -> Family:
        if metric.kind is Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for key, child in self._buckets[metric.name].items():
                sums = np.cumsum(child.counts).tolist()
                names = [*(f"{bound:g}" for bound in metric.buckets), "+Inf"]
                histogram.add_metric(key, list(zip(names, sums, strict=True)), child.total)
            return histogram
        kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=metric.labels)
        for key, value in self._values[metric.name].items():
            family.add_metric(key, value)
        return family

    def _key(
        self, metric: Metric, labels: dict[str, object], children: Mapping[Labels, object]
    ) -> Labels:
        assert labels.keys() == set(metric.labels), f"{metric.name}: labels {metric.labels}"
        key = tuple(str(labels[name]) for name in metric.labels)
        assert key in children or len(children) < self._max_children, metric.name
        return key
