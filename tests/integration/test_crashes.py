"""Workers that die, join and leave under load end in the state of an undisturbed run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from local.kafka import KafkaServer
from tests.integration.answers import newest_applied
from tests.integration.conftest import Deploy
from tests.integration.workers import Deployment, WorkerProcess, figures, until
from tests.list_versions import parse_version
from tests.wire_logs import wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

LOG = wire_log(4000, seed=11, num_users=120, num_items=200, erase_every=500)
RATE = 400.0


@contextmanager
def load(deployment: Deployment, lines: Sequence[bytes]) -> Iterator[None]:
    """Produce beside the block at a steady rate; at its end all is acknowledged."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            deployment.produce(lines, block=50, rate=RATE)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not failures, failures


def durable(worker: WorkerProcess) -> int:
    return sum(each["durable"] or 0 for each in worker.stats()["positions"].values())


def has_lists_of_newest_events(deployment: Deployment) -> bool:
    """Whether each user's list reflects the newest event, and an erased user's is gone."""
    newest = newest_applied(deployment.records(deployment.interactions, deployment.partitions))
    assert len(newest) > 50
    for user_id, (offset, is_erased) in newest.items():
        found = deployment.newest_list(user_id)
        if is_erased:
            if found:
                return False
        elif not found or parse_version(found[b"version"].decode()).next_offset <= offset:
            return False
    return True


def test_killed_and_restarted_under_load_ends_in_the_same_state(deploy: Deploy) -> None:
    deployment = deploy()
    first = deployment.worker()
    with load(deployment, LOG):
        until(lambda: durable(first) > 300, "snapshots hold some of the log")
        first.kill()
        second = deployment.worker()
        until(lambda: durable(second) > 900, "snapshots hold more of the log")
        second.kill()
        deployment.worker()
    deployment.drain()
    until(lambda: has_lists_of_newest_events(deployment), "lists reflect the newest events")
    deployment.stop_all()
    assert figures(deployment.engine()) == deployment.replay(LOG)


def test_workers_that_join_leave_and_die_under_load_end_in_the_same_state(deploy: Deploy) -> None:
    deployment = deploy()
    first = deployment.worker()
    with load(deployment, LOG):
        until(lambda: durable(first) > 100, "snapshots hold some of the log")
        leaver = deployment.worker()
        until(lambda: leaver.stats()["read"], "the second worker folds")
        assert leaver.stop() == 0, leaver.log
        victim = deployment.worker()
        until(lambda: victim.stats()["read"], "the third worker folds")
        victim.kill()
    deployment.drain()
    until(lambda: has_lists_of_newest_events(deployment), "lists reflect the newest events")
    assert len(first.stats()["positions"]) == 2 * deployment.partitions
    deployment.stop_all()
    assert figures(deployment.engine()) == deployment.replay(LOG)


def test_a_worker_paused_past_its_session_joins_again_and_writes_nothing_old(
    deploy: Deploy,
) -> None:
    deployment = deploy()
    zombie = deployment.worker()
    heir = deployment.worker()
    until(lambda: zombie.stats()["positions"] and heir.stats()["positions"], "they share")
    with load(deployment, LOG[:2000]):
        until(lambda: durable(zombie) > 100, "snapshots hold some of the log")
        zombie.process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: len(heir.stats()["positions"]) == 2 * deployment.partitions, "it has all")
            before = versions(deployment)
        finally:
            zombie.process.send_signal(signal.SIGCONT)
        until(lambda: zombie.stats()["positions"], "it has partitions again")
    after = versions(deployment)
    assert all(after[user] >= version for user, version in before.items() if user in after)
    deployment.drain()
    until(lambda: has_lists_of_newest_events(deployment), "lists reflect the newest events")
    deployment.stop_all()
    assert figures(deployment.engine()) == deployment.replay(LOG[:2000])


def versions(deployment: Deployment) -> dict[bytes, bytes]:
    """Return the version of each user's list; an erased user may have none later."""
    keys = [key for key in deployment.redis.scan_iter("rec:{*") if b"{" in key]
    found = {key: deployment.redis.hget(key, "version") for key in keys}
    return {key: version for key, version in found.items() if version}


def test_a_worker_without_partitions_takes_over_from_one_that_dies(deploy: Deploy) -> None:
    deployment = deploy(partitions=1)
    first = deployment.worker()
    second = deployment.worker()
    until(lambda: len(deployment.positions()) == 2, "both partitions are held")
    log = LOG[:500]
    deployment.produce(log)
    deployment.drain()
    holders = [worker for worker in (first, second) if worker.stats()["positions"]]
    holders[0].kill()
    deployment.produce(LOG[500:600])
    deployment.drain()
    deployment.stop_all()
    assert figures(deployment.engine()) == deployment.replay(LOG[:600])


def test_a_broker_that_restarts_under_load_loses_and_doubles_nothing(
    deploy: Deploy, kafka_server: Callable[..., KafkaServer]
) -> None:
    server = kafka_server()
    deployment = deploy(kafka=server.bootstrap)
    worker = deployment.worker()
    with load(deployment, LOG):
        until(lambda: durable(worker) > 200, "snapshots hold some of the log")
        server.kill()
        server.start()
    deployment.drain()
    deployment.stop_all()
    assert figures(deployment.engine()) == deployment.replay(LOG)
