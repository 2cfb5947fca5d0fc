"""Snapshots that vanish: written again by the worker that has the state, told, or refused."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from consumers.snapshots import SnapshotName
from tests.integration.conftest import Deploy
from tests.integration.workers import Deployment, figures, until
from tests.wire_logs import wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

LOG = wire_log(600, seed=9)


def snapshots(deployment: Deployment) -> Path:
    return deployment.folder / "data" / "snapshots"


def lose(deployment: Deployment) -> None:
    """Take the folder away, all at once."""
    snapshots(deployment).rename(deployment.folder / f"gone-{uuid.uuid4().hex}")


def held(deployment: Deployment) -> dict[str, int]:
    """Return ``topic/partition`` to the newest snapshot's next offset."""
    if not snapshots(deployment).exists():
        return {}
    names = map(SnapshotName.parse, os.listdir(snapshots(deployment)))
    topics = {"users": deployment.interactions, "items": deployment.item_deltas}
    return {
        f"{topics[name.kind]}/{name.partition}": name.next_offset
        for name in sorted(each for each in names if each)
    }


def test_what_is_deleted_under_an_idle_worker_is_written_again_and_an_empty_folder_is_told(
    deploy: Deploy,
) -> None:
    deployment = deploy(WORKER__SNAPSHOT_INTERVAL_S=0.5)
    worker = deployment.worker()
    deployment.produce(LOG)
    deployment.drain()
    ends = deployment.ends(deployment.interactions) | deployment.ends(deployment.item_deltas)
    until(lambda: deployment.committed() == ends, "everything is durable")
    lose(deployment)
    until(lambda: held(deployment) == ends, "everything is durable again, without news")
    assert "under this worker" in worker.log and "again: it was deleted" in worker.log

    worker.kill()
    lose(deployment)
    again = deployment.worker()
    deployment.drain()
    (line,) = [each for each in again.log.splitlines() if "snapshots are lost" in each]
    key = f"{deployment.interactions}/0"
    assert f"{key} (expected one up to {ends[key]}, found none, reads from 0)" in line
    assert "missing when this worker started" in line and "is the volume mounted" in line
    deployment.stop_all()
    assert figures(deployment.engine()) == deployment.replay(LOG)


def test_an_empty_folder_over_a_cut_log_is_refused_and_a_new_group_goes_on(deploy: Deploy) -> None:
    deployment = deploy(partitions=1)
    deployment.worker()
    deployment.produce(LOG[:200])
    deployment.drain()
    deployment.stop_all()
    lose(deployment)
    admin = KafkaAdminClient(bootstrap_servers=deployment.kafka)
    admin.delete_records({TopicPartition(deployment.interactions, 0): 190})
    admin.close()
    refused = deployment.start()
    assert refused.wait() == 1
    last_line = refused.log.splitlines()[-1]
    assert last_line.startswith(
        f"headwater: {deployment.interactions}/0: expected a snapshot up to"
    )
    assert "the log begins at 190" in last_line and "a new group id, data folder" in last_line
    assert "Traceback" not in refused.log
    assert held(deployment) == {}

    deliberate = deployment.worker(
        WORKER__GROUP=f"{deployment.group}-new",
        DATA_DIR=deployment.folder / "new",
        TOPICS__ITEM_DELTAS=f"{deployment.item_deltas}-new",
        TOPICS__ITEM_SIGNALS=f"item-signals-{deployment.tag}-new",
        EPOCH=2,
    )
    until(lambda: deliberate.stats()["read"] == 10, "what the log still has is read")
    assert "without the log's head" in deliberate.log
    assert deliberate.stop() == 0, deliberate.log
