"""PromQL, read with a parser: which metrics and labels a query names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream.metrics import METRICS, Kind

# What Prometheus adds to every sample that it scrapes.
_SCRAPED = frozenset({"job", "instance"})


def declared_labels(name: str) -> frozenset[str]:
    """Return the labels of a metric as scraped; fails for one that no worker declares."""
    if name == "up":
        return _SCRAPED
    for metric in METRICS:
        labels = _SCRAPED | frozenset(metric.labels)
        if metric.kind is Kind.HISTOGRAM:
            if name == f"{metric.name}_bucket":
                return labels | {"le"}
            if name in (f"{metric.name}_sum", f"{metric.name}_count"):
                return labels
        elif name == metric.name:
            return labels
    message = f"{name} is no metric of docs/metrics.md"
    raise AssertionError(message)


def nodes(query: str) -> Iterator[Any]:
    """Yield every node of a query's tree."""
    import promql_parser

    waiting = [promql_parser.parse(query)]
    while waiting:
        node = waiting.pop()
        yield node
        for name in ("expr", "lhs", "rhs", "param", "vector_selector", "vs"):
            child = getattr(node, name, None)
            if child is not None:
                waiting.append(child)
        waiting += getattr(node, "args", None) or []


def selectors(query: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the name and the matched labels of every selector."""
    for node in nodes(query):
        if type(node).__name__ == "VectorSelector":
            yield node.name, {matcher.name for matcher in node.matchers.matchers}


def used_labels(query: str) -> set[str]:
    """Return the labels that a query groups or matches by, or selects on."""
    found: set[str] = set()
    for node in nodes(query):
        modifier = getattr(node, "modifier", None)
        for holder in (modifier, getattr(modifier, "matching", None)):
            found |= set(getattr(holder, "labels", None) or ())
    return found
