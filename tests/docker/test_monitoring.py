"""Alerts and dashboard: queries that parse, over metrics and labels that a worker declares."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.containers import FOLDER, read_yaml
from tests.docker.queries import declared_labels, selectors, used_labels

pytest.importorskip("ruamel.yaml")
pytest.importorskip("promql_parser")

DASHBOARD = json.loads((FOLDER / "grafana/dashboards/headwater.json").read_text())
RULES = read_yaml(FOLDER / "prometheus/alerts.yml", {})["groups"][0]["rules"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Yield (where, query) of every panel and every alert."""
    for panel in PANELS:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]


QUERIES = list(queries())
every_query = pytest.mark.parametrize("where, query", QUERIES, ids=[each[0] for each in QUERIES])


@every_query
def test_a_query_names_declared_metrics_and_their_labels(where: str, query: str) -> None:
    found = list(selectors(query))
    assert found, f"{where}: no metric in {query}"
    allowed = set()
    for name, labels in found:
        known = declared_labels(name)
        assert labels <= known, f"{where}: {name} has no label {labels - known}"
        allowed |= known
    # What is grouped or matched by exists on the metrics of the query.
    assert used_labels(query) <= allowed, where


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_a_legend_shows_labels_that_the_query_keeps(panel: dict[str, Any]) -> None:
    for target in panel.get("targets", ()):
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert shown <= used_labels(target["expr"]), target["expr"]


def test_panels_have_a_place_and_a_source_of_their_own() -> None:
    source = read_yaml(FOLDER / "grafana/provisioning/datasources/prometheus.yaml", {})
    (prometheus,) = source["datasources"]
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["description"] and panel["datasource"]["uid"] == prometheus["uid"]
        assert all(each["datasource"]["uid"] == "prometheus" for each in panel.get("targets", ()))


def test_provisioning_names_what_is_mounted() -> None:
    services = read_yaml(FOLDER / "compose.yaml", {})["services"]
    (provider,) = read_yaml(FOLDER / "grafana/provisioning/dashboards/headwater.yaml", {})[
        "providers"
    ]
    path = provider["options"]["path"]
    assert f"./grafana/dashboards:{path}:ro" in services["grafana"]["volumes"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{path}/headwater.json"
    source = read_yaml(FOLDER / "grafana/provisioning/datasources/prometheus.yaml", {})
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


def test_alerts_are_of_the_four_kinds_asked_for_and_say_what_to_do() -> None:
    text = json.dumps(RULES)
    for metric in ("lag_records", "freshness_seconds", "dead_letters_total", "table_bound"):
        assert f"headwater_{metric}" in text
    page = (FOLDER.parent / "docs" / "operations.md").read_text()
    for rule in RULES:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        assert f"| `{rule['alert']}` |" in page, f"{rule['alert']}: no row in docs/operations.md"
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)


def test_every_alert_is_tested() -> None:
    text = (FOLDER / "prometheus/alerts_test.yml").read_text()
    assert {rule["alert"] for rule in RULES} == set(re.findall(r'alertname="(\w+)"', text))


@pytest.mark.parametrize(
    "words",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ],
    ids=" ".join,
)
def test_prometheus_own_tool_agrees(words: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on the PATH (Debian's package prometheus)")
    done = subprocess.run(
        [promtool, *words], cwd=FOLDER / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
