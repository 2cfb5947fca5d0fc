"""explain, inspect and doctor with running workers; each answers for the partitions it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream.answers import partition_of_id
from tests.integration.conftest import Deploy
from tests.integration.workers import Deployment, summary_of, until
from tests.wire_logs import wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]


def test_a_running_worker_explains_the_list_that_redis_has(deploy: Deploy) -> None:
    deployment = deploy()
    worker = deployment.worker()
    deployment.produce(wire_log(800))
    deployment.drain()
    until(lambda: not worker.stats()["freshness_ms"]["outstanding"], "every event is answered")

    def asked_amid_no_write() -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """Ask for the list both ways; a worker that began a moment ago writes all once more."""
        done = deployment.run("inspect", "user", "u1", "--health", worker.health, "--json")
        user = summary_of(done)
        in_redis = json.loads(deployment.newest_list("u1")[b"items"])
        return (user, in_redis) if user["list"]["items"] == in_redis else None

    user, in_redis = until(asked_amid_no_write, "both say the same")
    assert user["partition"] == partition_of_id(b"u1", deployment.partitions)
    newest = user["history"][0]["item_id"]
    asked = [newest, "never", in_redis[0]["id"]]
    explained = [
        summary_of(deployment.run("explain", "u1", item, "--health", worker.health, "--json"))
        for item in asked
    ]
    assert [each["verdict"] for each in explained[:2]] == ["seen", "unknown_item"]
    # The list in Redis may be older than what is known now; where it has the item, is said.
    assert explained[2]["verdict"] in ("in_list", "below_cut")
    assert [each["in_redis"]["place"] for each in explained] == [None, None, 1]
    item = summary_of(
        deployment.run("inspect", "item", newest, "--health", worker.health, "--json")
    )
    assert item["is_known"] and item["owner"]["windows"]


def test_a_user_of_another_worker_names_the_partition(deploy: Deploy) -> None:
    deployment = deploy(partitions=2)
    workers = [deployment.worker() for _ in range(2)]
    deployment.produce(wire_log(200))

    def is_shared() -> bool:
        held = [worker.stats()["positions"] for worker in workers]
        return all(sum("interactions" in key for key in each) == 1 for each in held)

    until(is_shared, "each worker holds one partition")
    deployment.drain()
    done = [
        deployment.run("inspect", "user", "u1", "--health", each.health, "--json")
        for each in workers
    ]
    assert sorted(each.returncode for each in done) == [0, 1]
    refused = next(each for each in done if each.returncode)
    partition = partition_of_id(b"u1", 2)
    assert f"partition {partition} of interactions" in refused.stderr.decode()
    assert b"Traceback" not in refused.stderr
    everybody = [word for each in workers for word in ("--health", each.health)]
    assert summary_of(deployment.run("inspect", "user", "u1", *everybody, "--json"))["is_known"]


def test_the_doctor_sees_who_works_and_what_waits_afterwards(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.worker()
    deployment.produce(wire_log(200))
    deployment.drain()
    found = group_findings(deployment)
    assert {status for status, _ in found.values()} == {"ok"}
    assert "1 worker(s)" in found["kafka.group"][1]
    deployment.stop_all()
    assert group_findings(deployment)["kafka.group"][0] == "info"
    deployment.produce(wire_log(30, seed=1))
    status, text = group_findings(deployment)["kafka.group.stale"]
    assert status == "warn" and "no worker runs, 30 records wait" in text


def group_findings(deployment: Deployment) -> dict[str, tuple[str, str]]:
    """Return what a healthy doctor says of the group: check to status and text."""
    summary = summary_of(deployment.run("doctor", "--json"))
    assert summary["healthy"]
    return {
        each["check"]: (each["status"], each["text"])
        for each in summary["findings"]
        if each["check"].startswith("kafka.group")
    }
