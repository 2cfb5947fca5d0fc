"""An erased user, looked for in every store: before, right after, and beyond the retention."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from consumers.command_samples import SAMPLES
from consumers.erased_check import verify_erased
from tests.integration.conftest import Deploy
from tests.integration.workers import Deployment, until
from tests.wire_logs import wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

USER = "ann-marked-user"
DAY_MS = 86_400_000


def event(number: int, type: str = "like") -> bytes:
    item = {} if type == "erase" else {"item_id": f"i{number % 7}"}
    ts = round(time.time() * 1000)
    fields = {"event_id": f"{type}-{number}", "type": type, "user_id": USER, "ts": ts, **item}
    return json.dumps(fields).encode()


def check(deployment: Deployment, *, code: int) -> dict[str, Any]:
    done = deployment.run("verify-erased", USER, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert USER not in done.stdout.decode() + done.stderr.decode()
    return found


def statuses(deployment: Deployment, found: dict[str, Any]) -> list[str]:
    names = (deployment.interactions, deployment.dead_letters, deployment.item_deltas)
    by_name = {each["store"]: each["status"] for each in found["stores"]}
    return [by_name[name] for name in (*names, "snapshots", "redis")]


def test_an_erased_user_is_looked_for_in_every_store(deploy: Deploy) -> None:
    deployment = deploy(partitions=1)
    worker = deployment.worker()
    others = wire_log(200, seed=3)
    bad = json.dumps({"type": "like", "user_id": USER}).encode()
    deployment.produce([*others, *map(event, range(5)), bad])
    deployment.drain()
    until(lambda: deployment.newest_list(USER), "the user has a list")
    found = check(deployment, code=1)  # Nobody erased this user.
    assert statuses(deployment, found)[0::4] == ["found", "found"]
    assert not found["is_fine"] and found["erased_at_ms"] is None

    deployment.produce([event(0, "erase")])
    deployment.drain()
    until(lambda: not deployment.newest_list(USER), "the list is gone")
    assert deployment.redis.keys("erased:*")

    erase_offset = len(others) + 6

    def is_settled() -> bool:
        """Whether only snapshots of after the erase are kept; each event brings a new one."""
        deployment.produce([one_more.pop()])
        names = (deployment.folder / "data" / "snapshots").glob("users.*.snapshot")
        return all(int(name.name.split(".")[2]) > erase_offset for name in names)

    one_more = wire_log(2_000, seed=4)
    until(is_settled, "no snapshot of before the erase is kept")
    deployment.drain()
    found = check(deployment, code=0)
    assert statuses(deployment, found) == ["waits", "waits", "none", "none", "none"]
    assert found["is_fine"] and not found["is_gone"] and not found["is_back"]
    assert found["until_ms"] > time.time() * 1000 + DAY_MS
    assert set(found) == set(SAMPLES["verify-erased"].answer or {})
    beyond_ms = round(time.time() * 1000) + 8 * DAY_MS
    _, findings = asyncio.run(
        verify_erased(
            deployment._worker_settings(),
            USER,
            brokers=deployment.kafka,
            redis_url=deployment.redis_url,
            now_ms=beyond_ms,
        )
    )
    assert [each.status for each in findings][:2] == ["found", "found"]

    deployment.produce([event(9)])
    deployment.drain()
    until(lambda: deployment.newest_list(USER), "the user is back")
    found = check(deployment, code=0)
    assert found["is_back"] and statuses(deployment, found)[4] == "back"
    assert worker.stop() == 0, worker.log
    assert USER not in worker.log
