"""What Prometheus sees of real workers: every query of docker/ finds series, and each once."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from local.ports import free_port
from tests.containers import FOLDER, read_yaml
from tests.docker.queries import selectors
from tests.integration.conftest import Deploy
from tests.integration.workers import WorkerProcess, until
from tests.wire_logs import event, wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

LOG = [*wire_log(600, seed=5), b"not json", event(1, extra=1)]
# What is written only when it happens, and does not happen here.
RARE = {
    "headwater_lost_keys_total",
    "headwater_snapshots_unusable_total",
}
ADDED = {"job", "instance", "le"}


def scrape(worker: WorkerProcess) -> list[tuple[str, dict[str, str], float]]:
    with urllib.request.urlopen(f"{worker.health}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def all_queries() -> list[str]:
    dashboard = json.loads((FOLDER / "grafana/dashboards/headwater.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    rules = read_yaml(FOLDER / "prometheus/alerts.yml", {})["groups"][0]["rules"]
    return found + [rule["expr"] for rule in rules]


def test_every_query_finds_its_series_in_a_real_scrape(deploy: Deploy) -> None:
    pytest.importorskip("promql_parser")
    pytest.importorskip("ruamel.yaml")
    deployment = deploy()
    worker = deployment.worker()
    deployment.produce(LOG)
    deployment.drain()
    until(lambda: not worker.stats()["freshness_ms"]["outstanding"], "every event is answered")
    seen: dict[str, set[str]] = {}
    for name, labels, _ in scrape(worker):
        seen.setdefault(name, set()).update(labels)
    for query in all_queries():
        for name, labels in selectors(query):
            if name != "up" and name not in RARE:
                assert name in seen, f"{name}: no series, in {query}"
                assert labels - ADDED <= seen[name], f"{name} has no {labels - ADDED - seen[name]}"


def test_a_partition_that_moved_is_shown_by_one_worker(deploy: Deploy) -> None:
    deployment = deploy()
    first = deployment.worker()
    deployment.produce(LOG)
    deployment.drain()
    second = deployment.worker()
    until(lambda: len(second.stats()["positions"]) > 0, "partitions move")
    deployment.drain()

    def shown() -> list[tuple[str, str]]:
        return [
            (labels["topic"], labels["partition"])
            for worker in (first, second)
            for name, labels, _ in scrape(worker)
            if name == "headwater_lag_records"
        ]

    held = 2 * deployment.partitions
    until(lambda: len(shown()) == held, "each partition is shown once")
    assert len(set(shown())) == held
    events = sum(
        value
        for worker in (first, second)
        for name, _, value in scrape(worker)
        if name == "headwater_events_total"
    )
    assert events == len(LOG)


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Give a Prometheus with our rules that scrapes what a file names: (file, its address)."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not on the PATH (Debian's package prometheus)")
    shutil.copy(FOLDER / "prometheus/alerts.yml", tmp_path)
    settings = (FOLDER / "prometheus/prometheus.yml").read_text()
    head, _, _ = settings.partition("    dns_sd_configs:")
    head = head.replace("scrape_interval: 5s", "scrape_interval: 500ms")
    targets = tmp_path / "targets.json"
    targets.write_text("[]")
    config = tmp_path / "prometheus.yml"
    config.write_text(f"{head}    file_sd_configs:\n      - files: [targets.json]\n")
    address = f"127.0.0.1:{free_port()}"
    log = (tmp_path / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            *(binary, f"--config.file={config}", f"--web.listen-address={address}"),
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        ],
        stdout=log,
        stderr=log,
    )
    try:
        yield targets, f"http://{address}"
    finally:
        process.kill()
        process.wait(30)
        log.close()


def ask(address: str, query: str) -> list[object]:
    """Return the result of an instant query; empty while Prometheus does not answer."""
    words = urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(f"{address}/api/v1/query?{words}", timeout=30) as answer:
            found = json.load(answer)
    except OSError:
        return []
    assert found["status"] == "success", found
    result: list[object] = found["data"]["result"]
    return result


def test_prometheus_itself_answers_every_panel(
    deploy: Deploy, prometheus: tuple[Path, str]
) -> None:
    targets, address = prometheus
    deployment = deploy()
    worker = deployment.worker()
    targets.write_text(json.dumps([{"targets": [worker.health.removeprefix("http://")]}]))
    until(lambda: ask(address, 'up{job="headwater"} == 1'), "Prometheus scrapes")
    deployment.produce(LOG, rate=200)
    deployment.drain()
    dashboard = json.loads((FOLDER / "grafana/dashboards/headwater.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            if not any(name in query for name in RARE):
                until(lambda query=query: ask(address, query), f"{panel['title']}: {query}")
    assert not ask(address, 'ALERTS{alertstate="firing",alertname!="HeadwaterDeadLetters"}')
