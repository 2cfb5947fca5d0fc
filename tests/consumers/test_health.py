import asyncio
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import consumers
from consumers.health import HealthServer
from consumers.metrics_registry import MetricsRegistry
from stream import metrics
from stream.errors import ConfigurationError
from stream.metrics import METRICS, Kind


def get(server_of, *paths):
    """Start a server, fetch the paths, return (status, body) of each."""

    async def run():
        server = server_of()
        await server.start()
        try:
            async with aiohttp.ClientSession() as session:
                answers = []
                for path in paths:
                    async with session.get(server.url + path) as answer:
                        answers.append((answer.status, await answer.text()))
                return answers
        finally:
            await server.stop()

    return asyncio.run(run())


def server_of(registry=None, stuck=(), unready=()):
    return lambda: HealthServer(
        registry=registry or MetricsRegistry(),
        why_stuck=lambda: list(stuck),
        why_not_ready=lambda: list(unready),
    )


def test_a_worker_that_works_is_healthy_and_ready():
    answers = get(server_of(), "/healthz", "/readyz")
    assert [status for status, _ in answers] == [200, 200]


def test_catching_up_is_alive_but_not_ready():
    (alive, _), (ready, body) = get(server_of(unready=["behind"]), "/healthz", "/readyz")
    assert (alive, ready) == (200, 503)
    assert "behind" in body


def test_a_stuck_worker_is_neither():
    answers = get(server_of(stuck=["no progress"]), "/healthz", "/readyz")
    assert [status for status, _ in answers] == [503, 503]
    assert "no progress" in answers[0][1]


def test_it_listens_on_loopback_only_and_shows_nothing_else():
    server = server_of()()
    asyncio.run(_assert_loopback(server))
    ((status, _),) = get(server_of(), "/table")
    assert status == 404


async def _assert_loopback(server):
    await server.start()
    assert server.url.startswith("http://127.0.0.1:")
    await server.stop()
    await server.stop()


@pytest.mark.parametrize("host, shown", [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")])
def test_it_listens_where_it_is_told_and_names_an_address_that_answers(host, shown):
    def server():
        return HealthServer(
            registry=MetricsRegistry(), why_stuck=list, why_not_ready=list, host=host
        )

    made = []
    ((status, _),) = get(lambda: made.append(server()) or made[0], "/healthz")
    assert status == 200
    assert made[0].url.startswith(f"http://{shown}:")


def test_an_address_of_another_machine_is_refused_with_the_setting_to_change():
    server = HealthServer(
        registry=MetricsRegistry(), why_stuck=list, why_not_ready=list, host="192.0.2.1"
    )
    with pytest.raises(ConfigurationError, match="HEADWATER_WORKER__HEALTH_HOST"):
        asyncio.run(_start_and_stop(server))


async def _start_and_stop(server):
    try:
        await server.start()
    finally:
        await server.stop()


def samples(registry):
    families = text_string_to_metric_families(registry.expose().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_are_scraped_with_their_labels():
    registry = MetricsRegistry()
    registry.set(metrics.EVENTS, 7, partition=0, verdict="applied")
    registry.add(metrics.SINK_REPLIES, 2, kind="accepted")
    registry.add(metrics.SINK_REPLIES, 3, kind="accepted")
    registry.observe(metrics.FRESHNESS, np.array([0.05, 0.06, 999.0]), action="like")
    ((status, text),) = get(server_of(registry), "/metrics")
    assert status == 200
    assert 'headwater_events_total{partition="0",verdict="applied"} 7.0' in text
    found = samples(registry)
    assert found["headwater_sink_replies_total", (("kind", "accepted"),)] == 5
    assert found["headwater_freshness_seconds_count", (("action", "like"),)] == 3
    at = {le: found["headwater_freshness_seconds_bucket", (("action", "like"), ("le", le))]
          for le in ("0.025", "0.05", "0.1", "300", "+Inf")}  # fmt: skip
    assert list(at.values()) == [0, 1, 2, 2, 3]


def test_a_counter_without_labels_is_there_before_it_counts():
    text = MetricsRegistry().expose().decode()
    assert "\nheadwater_model_failures_total 0.0\n" in text
    assert "\nheadwater_dead_letters_total 0.0\n" in text
    assert "\nheadwater_lag_records" not in text  # A gauge that nobody read has no value.


def test_values_are_read_just_before_a_scrape():
    registry = MetricsRegistry()
    counts = iter((1, 2))
    registry.before_scrape(lambda: registry.set(metrics.DIRTY_USERS, next(counts)))
    assert samples(registry)["headwater_dirty_users", ()] == 1
    assert samples(registry)["headwater_dirty_users", ()] == 2


def test_what_moved_away_is_forgotten():
    registry = MetricsRegistry()
    for partition in (0, 1):
        registry.set(metrics.LAG, 5, topic="interactions", partition=partition)
    registry.forget(metrics.LAG, partition=0)
    assert registry.value(metrics.LAG, topic="interactions", partition=0) == 0
    assert registry.value(metrics.LAG, topic="interactions", partition=1) == 5


def test_labels_stay_bounded():
    registry = MetricsRegistry(max_children=2)
    registry.add(metrics.REJECTS, reason="a")
    registry.add(metrics.REJECTS, reason="b")
    with pytest.raises(AssertionError):
        registry.add(metrics.REJECTS, reason="c")
    with pytest.raises(AssertionError):
        registry.add(metrics.REJECTS, user="u1")


def test_declarations_are_well_formed():
    assert len({metric.name for metric in METRICS}) == len(METRICS) > 30
    for metric in METRICS:
        assert metric.name.startswith("headwater_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
        assert list(metric.buckets) == sorted(metric.buckets)
        assert not {"user", "item"} & set(metric.labels)
        assert metric.help.endswith(".")
        assert metric.unit


def test_every_declared_metric_is_filled_somewhere():
    sources = "".join(path.read_text() for path in Path(consumers.__file__).parent.glob("*.py"))
    names = [name for name, value in vars(metrics).items() if isinstance(value, metrics.Metric)]
    assert [name for name in names if f"metrics.{name}" not in sources] == []
