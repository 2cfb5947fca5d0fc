"""One log, one state: through Kafka with one worker, with two, with other cuts, and in a replay."""

from __future__ import annotations

import pytest

from tests.integration.conftest import Deploy
from tests.integration.workers import VERDICTS, Deployment, figures, summary_of
from tests.wire_logs import event, wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

BAD = [b"not json", event(1, user_id=""), event(2, type="dance"), b'{"user_id": "u1"}', b"{}"]


def log_with_rejects() -> list[bytes]:
    """Return a log with everything in it; a reject without a user lies in any partition."""
    log = wire_log(6000, seed=3, num_users=150, num_items=300, erase_every=700)
    for place, line in enumerate(BAD):
        log.insert(1000 * (place + 1), line)
    return log


LOG = log_with_rejects()


def through_kafka(deployment: Deployment, num_workers: int, *, block: int) -> dict[str, object]:
    """Produce the log while the workers run; return the figures of what they left behind."""
    starting = [deployment.start() for _ in range(num_workers)]
    for worker in starting:
        worker.wait_ready()
    deployment.produce(LOG, block=block)
    deployment.drain()
    found = [worker.stats() for worker in deployment.alive]
    assert len(found) == num_workers and all(each["positions"] for each in found)
    assert sum(each["read"] - each["routed"] for each in found) == len(LOG)
    deployment.stop_all()
    return figures(deployment.engine())


def test_workers_cuts_and_replay_end_in_one_state(deploy: Deploy) -> None:
    deployment = deploy()
    log = deployment.folder / "log.jsonl"
    log.write_bytes(b"\n".join(LOG) + b"\n")
    replayed = summary_of(deployment.run("replay", str(log), "--partitions", "3", "--json"))
    assert replayed["read"] == len(LOG) == sum(replayed[name] for name in VERDICTS)
    assert replayed["rejected"] == len(BAD) and replayed["late"] and replayed["duplicate"]
    assert not replayed["evicted"] and not replayed["overflowed"]
    expected = {name: replayed[name] for name in replayed if name != "seconds"}

    assert through_kafka(deployment, 1, block=2000) == expected
    two_with_other_cuts = deploy(WORKER__MAX_SLAB_BYTES=65_536)
    assert through_kafka(two_with_other_cuts, 2, block=37) == expected
