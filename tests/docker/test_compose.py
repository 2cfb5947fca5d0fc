"""compose.yaml and its overlays: the specification's schema, loopback only, bounds, true names."""

from __future__ import annotations

import json
import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from consumers.configuration import load_settings
from tests.containers import COMPOSE, FOLDER, image_of, kafka_settings, read_yaml

pytest.importorskip("ruamel.yaml")

OVERLAYS = ("compose.yaml", "compose.cuda.yaml", "compose.secure.yaml")
PAGE = (FOLDER.parent / "docs" / "containers.md").read_text()
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
STACK: dict[str, Any] = read_yaml(COMPOSE, {})
SERVICES: dict[str, Any] = STACK["services"]
every_service = pytest.mark.parametrize("name", sorted(SERVICES))


@pytest.mark.parametrize("name", OVERLAYS)
def test_it_follows_the_compose_specification(name: str) -> None:
    # Not imported: only the schema that it carries is wanted.
    package = distribution("check-jsonschema")
    schema = package.locate_file("check_jsonschema/builtin_schemas/vendor/compose-spec.json")
    jsonschema.validate(read_yaml(FOLDER / name, {}), json.loads(Path(str(schema)).read_text()))


def test_everything_that_was_asked_for_is_there() -> None:
    assert set(SERVICES) == {"kafka", "redis", "worker", "simulator", "prometheus", "grafana"}


@every_service
def test_nothing_is_published_beyond_loopback(name: str) -> None:
    service = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "network_mode" not in service and "expose" not in service
    # Health and figures of workers are for Prometheus, inside.
    assert name not in ("worker", "simulator") or "ports" not in service


@every_service
def test_privileges_are_dropped_and_resources_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"privileged", "cap_add", "devices", "pid", "ipc"}.isdisjoint(service)
    assert {"memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert service["restart"] == "unless-stopped"


@every_service
def test_health_is_asked_for(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check == {"disable": True} if name == "simulator" else check["test"]


@every_service
def test_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    _, _, tag = image.rpartition(":")
    assert tag not in ("", "latest") and (re.search(r"\d", tag) or image == "headwater:cpu")


def test_tests_use_these_images() -> None:
    assert image_of("kafka") == SERVICES["kafka"]["image"]
    assert image_of("redis") == SERVICES["redis"]["image"]


def test_only_services_that_must_write_somewhere_else_can_write_to_their_image() -> None:
    writable = {name for name, service in SERVICES.items() if not service.get("read_only")}
    assert writable == {"kafka", "grafana"}


def test_mounted_files_exist_and_volumes_are_declared() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists() and mount.endswith(":ro"), mount
            else:
                assert source in STACK["volumes"], mount
        assert set(service["networks"]) <= set(STACK["networks"])


def test_kafka_and_redis_are_out_of_reach_of_what_only_watches() -> None:
    for name in ("prometheus", "grafana"):
        assert "engine" not in SERVICES[name]["networks"]
    assert set(SERVICES["worker"]["networks"]) == {"engine", "metrics"}


def test_the_settings_of_workers_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, str] = {}
    for name in OVERLAYS:
        found |= read_yaml(FOLDER / name, {})["services"]["worker"].get("environment", {})
    found |= dict(re.findall(r"(HEADWATER_\w+)=(\S+)", DOCKERFILE))
    for name, value in found.items():
        monkeypatch.setenv(name, str(value))
    settings = load_settings()
    assert settings.kafka == "kafka:19092" and settings.worker.health_host == "0.0.0.0"
    assert settings.topics.partitions == settings.topics.item_partitions


def test_workers_scale() -> None:
    worker = SERVICES["worker"]
    assert "container_name" not in worker and "hostname" not in worker
    # Replicas would share one static name, and the group fences all but one of them.
    assert not any("INSTANCE_ID" in name for name in worker["environment"])
    assert worker["deploy"]["replicas"] == 2
    (volume,) = worker["volumes"]
    data_dir = re.search(r"HEADWATER_DATA_DIR=(\S+)", DOCKERFILE)
    assert data_dir and volume == f"snapshots:{data_dir[1]}"


def test_a_stop_may_take_as_long_as_the_worker_says(monkeypatch: pytest.MonkeyPatch) -> None:
    grace_s = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > load_settings().worker.stop_timeout_s + 10


def test_one_port_of_health_is_meant_everywhere() -> None:
    port = re.search(r"HEADWATER_WORKER__HEALTH_PORT=(\d+)", DOCKERFILE)
    assert port
    (scrape,) = read_yaml(FOLDER / "prometheus" / "prometheus.yml", {})["scrape_configs"]
    (found,) = scrape["dns_sd_configs"]
    assert (found["names"], str(found["port"])) == (["worker"], port[1])
    assert f":{port[1]}/readyz" in SERVICES["worker"]["healthcheck"]["test"][-1]
    assert f":{port[1]}/healthz" in DOCKERFILE and f"EXPOSE {port[1]}" in DOCKERFILE


def test_users_of_redis_are_added_to_the_same_command() -> None:
    secure = read_yaml(FOLDER / "compose.secure.yaml", {})
    command = SERVICES["redis"]["command"]
    assert secure["services"]["redis"]["command"] == [
        *command,
        "--aclfile",
        "/run/secrets/users.acl",
    ]
    assert set(secure["secrets"]) == {"users.acl", "redis_url"}


def test_no_secret_is_written_here() -> None:
    for path in FOLDER.rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            assert not re.search(r"://[^/\s:@]*:[^/\s@]+@", path.read_text()), path
    assert "docker/secrets/" in (FOLDER.parent / ".gitignore").read_text()


def test_every_variable_is_documented_and_no_other() -> None:
    used = set()
    for name in OVERLAYS:
        used |= set(re.findall(r"\$\{(\w+):-([^}]*)\}", (FOLDER / name).read_text()))
    section = PAGE.split("\n## Variables\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(used - {("HEADWATER_IMAGE", "headwater:cuda")})


@pytest.mark.kafka
def test_kafkas_settings_are_kafkas(kafka: str) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        broker = ConfigResource(ConfigResourceType.BROKER, "1", configs=None)
        found = admin.describe_configs([broker], config_filter="all")
    finally:
        admin.close()
    known = set(found["broker"]["1"])
    wanted = {
        name for name in kafka_settings(9092) if name not in ("KAFKA_HEAP_OPTS", "CLUSTER_ID")
    }
    assert {name.removeprefix("KAFKA_").lower().replace("_", ".") for name in wanted} <= known


@pytest.mark.kafka
def test_a_broker_with_these_settings_serves(kafka_server: Any, tmp_path: Path) -> None:
    places = ("LISTENER", "QUORUM", "LOG_DIRS", "HEAP", "NODE_ID", "ROLES")
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in kafka_settings(9092).items()
        if name.startswith("KAFKA_") and not any(place in name for place in places)
    }
    assert len(settings) > 8
    assert kafka_server(properties=settings).is_running
