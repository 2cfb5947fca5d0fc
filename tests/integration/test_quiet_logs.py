"""A worker at DEBUG through good, bad, late, misplaced and erased events: no id, no password."""

from __future__ import annotations

import json
import time

import pytest
from redis import Redis

from tests.integration.conftest import Deploy
from tests.integration.workers import WorkerProcess, until

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

MARK = "MARKED"


def event(number: int, **fields: object) -> bytes:
    whole = {
        "event_id": f"{MARK}-event-{number}",
        "type": "like",
        "user_id": f"{MARK}-user-{number % 5}",
        "item_id": f"{MARK}-item-{number % 7}",
        "ts": round(time.time() * 1000),
        **fields,
    }
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def test_a_workers_log_holds_no_id_and_no_password(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = deploy(partitions=2)
    with Redis.from_url(deployment.redis_url) as admin:
        user = f"{MARK}-redis"
        admin.execute_command("ACL", "SETUSER", user, "on", f">{MARK}-secret", "~*", "&*", "+@all")
    monkeypatch.setattr(WorkerProcess, "log_level", "DEBUG")
    worker = deployment.worker(REDIS=deployment.redis_url.replace("//", f"//{user}:{MARK}-secret@"))
    bad = [
        event(1, ts="soon"),
        event(2, type=f"{MARK}-type"),
        event(3, user_id=f"{MARK}-user-" + "x" * 400),
        event(4, item_id=None),
        event(5, ts=round(time.time() * 1000) + 86_400_000),
        b"{" + MARK.encode(),
        b"\xff" + MARK.encode(),
    ]
    late = event(6, event_id=f"{MARK}-late", ts=1_600_000_000_000)
    good = [event(number) for number in range(10, 60)]
    deployment.produce([*good, *bad, late, good[0], event(99, type="erase", item_id=None)])
    deployment.drain()
    until(lambda: deployment.redis.keys("erased:*"), "the erase reached Redis")
    until(lambda: deployment.redis.keys("sim:*"), "similar items are written")
    # Writes that fail and are tried again are told of, without what they were about.
    deployment.redis.execute_command("ACL", "SETUSER", user, "-evalsha", "-eval")
    deployment.produce([event(number, type="share") for number in range(100, 140)])
    until(lambda: "lists are not written" in worker.log, "failed writes are told of")
    deployment.redis.execute_command("ACL", "SETUSER", user, "+@all")
    until(lambda: "lists are written again" in worker.log, "writes go on")
    assert worker.stop() == 0, worker.log
    assert " DEBUG " in worker.log
    shown = [line[:300] for line in worker.log.splitlines() if MARK in line]
    assert shown == []
