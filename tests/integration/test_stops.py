"""Graceful stops, second starts, and logs that no longer hold what the state wants."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import urllib.request
from collections.abc import Callable
from contextlib import closing

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from consumers.snapshots import SnapshotName
from local.kafka import KafkaServer
from stream.frames import VERSION as FRAMES
from stream.signals import VERSION as SIGNALS
from tests.consumers.kafka_calls import recreate
from tests.integration.conftest import Deploy
from tests.integration.workers import WorkerProcess, until
from tests.wire_logs import wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

LOG = wire_log(1500, seed=5)


def num_slabs_folded(worker: WorkerProcess) -> int:
    with urllib.request.urlopen(f"{worker.health}/metrics", timeout=30) as answer:
        found = re.findall(r"^headwater_slab_events_count\S* (\S+)$", answer.read().decode(), re.M)
    return int(sum(float(each) for each in found))


def test_a_stop_while_the_worker_starts_is_a_clean_end(deploy: Deploy) -> None:
    deployment = deploy()
    for words in ("kernels compiled", "restoring"):
        worker = deployment.start()
        until(lambda: words in worker.log, words)  # noqa: B023 (called before the loop goes on)
        assert worker.stop() == 0, worker.log
        # aiokafka calls it an error when its connection goes before its last request is answered.
        errors = [line for line in worker.log.splitlines() if " ERROR " in line]
        assert "Traceback" not in worker.log
        assert [line for line in errors if " ERROR aiokafka." not in line] == []


def test_a_stop_that_cannot_write_its_snapshots_says_so(deploy: Deploy) -> None:
    deployment = deploy(WORKER__SNAPSHOT_INTERVAL_S=3600)
    worker = deployment.worker()
    deployment.produce(LOG[:50])
    deployment.drain()
    shutil.rmtree(deployment.folder / "data" / "snapshots")
    (deployment.folder / "data" / "snapshots").touch()  # A folder that is gone would be made.
    assert worker.stop() == 1, worker.log
    assert "expected to write a snapshot" in worker.log.splitlines()[-1]
    assert "Traceback" not in worker.log


def test_the_older_of_two_workers_of_one_name_ends_with_a_line(deploy: Deploy) -> None:
    deployment = deploy(WORKER__INSTANCE_ID="twin")
    older = deployment.worker()
    newer = deployment.worker()
    assert older.wait() == 1
    last_line = older.log.splitlines()[-1]
    assert last_line.startswith("headwater: expected to be the only worker with the instance id")
    assert "Traceback" not in older.log
    deployment.produce(LOG[:50])
    deployment.drain()
    assert len(newer.stats()["positions"]) == 2 * deployment.partitions


def test_an_idle_worker_outlives_a_broker_restart_and_ends_where_kafka_stays_away(
    deploy: Deploy, kafka_server: Callable[..., KafkaServer]
) -> None:
    server = kafka_server()
    deployment = deploy(kafka=server.bootstrap, WORKER__KAFKA_TIMEOUT_S=12)
    worker = deployment.worker()
    server.kill()
    server.start()
    deployment.produce(LOG[:50])
    deployment.drain()
    until(lambda: not worker.stats()["freshness_ms"]["outstanding"], "every event has a list")

    server.kill()
    assert worker.wait() == 1
    last_line = worker.log.splitlines()[-1]
    # Heartbeats and the readers listen; whoever notices first says it.
    assert last_line.startswith("headwater: expected ") and "within 12 s" in last_line
    assert "goes on where it was" in last_line
    assert "Traceback" not in worker.log


def test_a_topic_made_anew_with_more_records_than_wanted_ends_the_worker(deploy: Deploy) -> None:
    deployment = deploy(partitions=1)
    deployment.worker()
    deployment.produce(LOG[:50])
    deployment.drain()
    deployment.stop_all()

    asyncio.run(recreate(deployment.kafka, deployment.interactions))
    deployment.produce(LOG[50:150])
    again = deployment.start()
    assert again.wait() == 1
    last_line = again.log.splitlines()[-1]
    assert last_line.startswith(f"headwater: {deployment.interactions}: expected the topic with id")
    assert "deleted and made again" in last_line and "HEADWATER_EPOCH" in last_line
    assert "Traceback" not in again.log


def test_second_start_reads_nothing_again_and_a_cut_log_ends_the_worker(deploy: Deploy) -> None:
    deployment = deploy()
    deployment.worker()
    deployment.produce(LOG)
    deployment.drain()
    signals = f"item-signals-{deployment.tag}"
    until(lambda: sum(deployment.ends(signals, 1).values()), "signals are published")
    deployment.stop_all()
    ends = deployment.ends(deployment.interactions) | deployment.ends(deployment.item_deltas)
    assert deployment.committed() == ends
    names = map(SnapshotName.parse, os.listdir(deployment.folder / "data" / "snapshots"))
    assert min(name.generation for name in names if name) >= 1

    again = deployment.worker()
    until(lambda: again.stats()["lag"] == 0 and not again.stats()["dirty"], "it caught up")
    assert again.stats()["read"] == len(LOG)
    assert num_slabs_folded(again) == 0
    # What all workers know of items is there before a partition is.
    in_order = r"kernels compiled(?s:.*)catalogue caught up, [1-9]\d* items(?s:.*)restoring "
    assert re.search(in_order, again.log), again.log
    deployment.stop_all()

    deployment.produce(LOG[:400])
    tp = TopicPartition(deployment.interactions, 0)
    end = deployment.ends(deployment.interactions)[f"{deployment.interactions}/0"]
    assert end - 1 > ends[f"{deployment.interactions}/0"]
    admin = KafkaAdminClient(bootstrap_servers=deployment.kafka)
    admin.delete_records({tp: end - 1})
    admin.close()
    third = deployment.start()
    assert third.wait() == 1
    last_line = third.log.splitlines()[-1]
    assert last_line.startswith("headwater: ") and "records in between are gone" in last_line
    assert "Traceback" not in third.log


def test_a_new_group_on_old_item_deltas_of_a_topic_made_anew_ends_with_a_line(
    deploy: Deploy,
) -> None:
    """Their watermarks would take the new topic's rows for ones that counted before."""
    deployment = deploy(partitions=1)
    deployment.worker()
    deployment.produce(LOG[:50])
    deployment.drain()
    deployment.stop_all()

    asyncio.run(recreate(deployment.kafka, deployment.interactions))
    shutil.rmtree(deployment.folder / "data")
    deployment.produce(LOG[50:150])
    again = deployment.start(WORKER__GROUP=f"{deployment.group}-new", EPOCH=2)
    assert again.wait() == 1
    last_line = again.log.splitlines()[-1]
    assert last_line.startswith(f"headwater: {deployment.item_deltas}/0: expected frames made from")
    assert "new item-deltas and item-signals topics" in last_line
    assert "Traceback" not in again.log


def test_what_a_newer_version_wrote_ends_the_worker_with_a_line_and_counts_nowhere(
    deploy: Deploy,
) -> None:
    """Every start ends alike: only a version that reads it goes on, where this one stopped."""
    deployment = deploy(partitions=1)
    worker = deployment.worker()
    deployment.produce(LOG[:50])
    deployment.drain()
    before = deployment.positions()[f"{deployment.item_deltas}/0"]["next"]
    producer = KafkaProducer(bootstrap_servers=deployment.kafka)
    newer = b"HWF" + bytes([FRAMES + 1]) + b"\0" * 60
    producer.send(deployment.item_deltas, newer, partition=0).get(30)
    says = f"headwater: {deployment.item_deltas}/0: expected frames of version 1 or {FRAMES}, found"
    assert worker.wait() == 1
    again = deployment.start()
    assert again.wait() == 1
    for each in (worker, again):
        assert each.log.splitlines()[-1].startswith(
            f"{says} version {FRAMES + 1} at offset {before}"
        )
        assert "stop all workers of this version" in each.log and "Traceback" not in each.log

    newer = b"HWS" + bytes([SIGNALS + 1]) + b"\0" * 60
    topic = str(deployment.settings["TOPICS__ITEM_SIGNALS"])
    producer.send(topic, newer, key=b"clip", partition=0).get(30)
    producer.close()
    reader = deployment.start()
    assert reader.wait() == 1
    assert f"expected item signals of version {SIGNALS}" in reader.log.splitlines()[-1]
    assert "Traceback" not in reader.log


def test_signals_of_other_settings_end_a_worker_with_a_line_and_a_null_one_does_not(
    deploy: Deploy,
) -> None:
    deployment = deploy(partitions=1)
    worker = deployment.worker()
    deployment.produce(LOG[:50])
    deployment.drain()
    topic = str(deployment.settings["TOPICS__ITEM_SIGNALS"])
    until(lambda: sum(deployment.ends(topic, 1).values()), "signals are there")
    producer = KafkaProducer(bootstrap_servers=deployment.kafka)
    producer.send(topic, None, key=b"clip", partition=0).get(30)
    producer.close()
    deployment.produce(LOG[50:100])
    deployment.drain()
    assert worker.stop() == 0, worker.log
    for setting, value in (
        ("CATALOGUE__HALF_LIVES_MS", "[300000, 3600000]"),
        ("ITEMS__WINDOWS_MS", "[86400000]"),
    ):
        weights = {"ITEMS__WINDOW_WEIGHTS": "[1.0]"} if "WINDOWS" in setting else {}
        other = deployment.start(**{setting: value}, **weights)
        assert other.wait() == 1
        last_line = other.log.splitlines()[-1]
        assert last_line.startswith(f"headwater: {topic}/0: expected signals of ")
        assert "HEADWATER_TOPICS__ITEM_SIGNALS" in last_line
        assert "Traceback" not in other.log


def test_a_worker_that_the_group_does_not_take_ends_with_a_line(deploy: Deploy) -> None:
    """Before an assignment nobody fetches, so that nobody would hear what aiokafka keeps."""
    deployment = deploy(partitions=1)
    hasty = deployment.start(WORKER__SESSION_TIMEOUT_S=1)
    ends_outside(hasty, "HEADWATER_WORKER__SESSION_TIMEOUT_S")  # It made the topic.
    with closing(
        KafkaConsumer(
            deployment.interactions,
            bootstrap_servers=deployment.kafka,
            group_id=deployment.group,
        )
    ) as foreign:
        until(lambda: foreign.poll(timeout_ms=100) or foreign.assignment(), "the other one is in")
        shut_out = deployment.start()
        until(
            lambda: foreign.poll(timeout_ms=100) or shut_out.process.poll() is not None,
            "the worker ends",
        )
        ends_outside(shut_out, "another program reads under this group id")


def ends_outside(worker: WorkerProcess, name: str) -> None:
    assert worker.wait() == 1
    last_line = worker.log.splitlines()[-1]
    assert last_line.startswith("headwater: expected Kafka to let this worker into the group")
    assert name in last_line
    assert "Traceback" not in worker.log
