"""What Redis says of itself: memory and eviction, role, cluster, persistence; real servers too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from consumers.configuration import load_settings
from consumers.doctor_redis import judge_redis, look_at_redis
from consumers.findings import Finding
from local.redis import RedisServer

GOOD: dict[str, Any] = {
    "redis_version": "7.0.15",
    "role": "master",
    "cluster_enabled": 0,
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "used_memory": 1_000_000,
    "rdb_last_bgsave_status": "ok",
    "aof_enabled": 0,
}


def judged(is_cluster: bool = False, **more: Any) -> dict[str, Finding]:
    return {each.check: each for each in judge_redis({**GOOD, **more}, is_cluster=is_cluster)}


def look(url: str | None, *overrides: str, timeout_s: float = 30.0) -> dict[str, Finding]:
    settings = load_settings(overrides)
    found = asyncio.run(look_at_redis(settings, url, timeout_s=timeout_s))
    return {each.check: each for each in found}


def test_a_server_as_it_comes_is_ok() -> None:
    assert {each.status for each in judged().values()} == {"ok"}


def test_maxmemory_without_eviction_is_a_warning_and_near_the_bound_a_failure() -> None:
    bound = 100_000_000
    found = judged(maxmemory=bound)["redis.memory"]
    assert found.status == "warn" and "noeviction" in found.text
    assert "maxmemory-policy volatile-lru" in found.advice
    assert judged(maxmemory=bound, used_memory=95_000_000)["redis.memory"].status == "fail"
    assert judged(maxmemory=bound, maxmemory_policy="volatile-lru")["redis.memory"].status == "ok"


def test_a_replica_a_failed_save_and_an_old_server_say_what_to_do() -> None:
    replica = judged(role="slave", master_host="main", master_port=6379)["redis.role"]
    assert replica.status == "fail" and "main:6379" in replica.advice
    assert judged(rdb_last_bgsave_status="err")["redis.persistence"].status == "fail"
    assert judged(redis_version="5.0.7")["redis.version"].status == "warn"
    valkey = judged(server_name="valkey", valkey_version="9.1.2")["redis.version"]
    assert (valkey.status, valkey.text) == ("ok", "valkey 9.1.2")


@pytest.mark.parametrize(("enabled", "is_set"), [(0, True), (1, False)])
def test_a_cluster_and_its_setting_must_agree(enabled: int, is_set: bool) -> None:
    found = judged(cluster_enabled=enabled, is_cluster=is_set)["redis.cluster"]
    assert found.status == "fail"
    assert f"HEADWATER_SINK__CLUSTER={str(bool(enabled)).lower()}" in found.advice


def test_no_address_and_no_url_are_failures() -> None:
    assert "HEADWATER_REDIS" in look(None)["redis.reachable"].advice
    assert look("nonsense")["redis.reachable"].status == "fail"


def test_redis_down_is_named_without_the_password(free_port: Callable[[], int]) -> None:
    (found,) = look(f"redis://:s3cr3t@127.0.0.1:{free_port()}/0").values()
    assert (found.check, found.status) == ("redis.reachable", "fail")
    assert "nothing listens at 127.0.0.1:" in found.text and "start it" in found.advice
    assert "s3cr3t" not in found.text + found.advice


@pytest.mark.redis
def test_a_real_server_is_ok(redis_url: str) -> None:
    found = look(redis_url)
    assert found["redis.reachable"].status == found["redis.version"].status == "ok"


@pytest.mark.redis
def test_a_database_that_the_server_has_not_is_no_server_that_is_down(redis_url: str) -> None:
    (found,) = look(f"{redis_url.rpartition('/')[0]}/9999").values()
    assert (found.status, "Redis refuses (DB index" in found.text) == ("fail", True)
    assert found.advice == "correct the database's number in the URL"


@pytest.mark.redis
def test_a_real_server_with_maxmemory_and_no_eviction(
    redis_server: Callable[..., RedisServer],
) -> None:
    bounded = {"maxmemory": "64mb", "maxmemory-policy": "noeviction"}
    assert look(redis_server(properties=bounded).url)["redis.memory"].status == "warn"
    full = {"maxmemory": "1mb", "maxmemory-policy": "noeviction"}
    assert look(redis_server(properties=full).url)["redis.memory"].status == "fail"
    evicting = {"maxmemory": "64mb", "maxmemory-policy": "volatile-lru"}
    assert look(redis_server(properties=evicting).url)["redis.memory"].status == "ok"


@pytest.mark.redis
def test_a_real_replica_and_a_wrong_password(redis_server: Callable[..., RedisServer]) -> None:
    primary = redis_server()
    replica = redis_server(properties={"replicaof": f"127.0.0.1 {primary.port}"})
    assert f"127.0.0.1:{primary.port}" in look(replica.url)["redis.role"].advice
    wrong = primary.url.replace("redis://", "redis://nobody:wrong@")
    assert look(wrong)["redis.security"].status == "fail"


@pytest.mark.redis
def test_a_user_who_may_not_ask_for_more_knows_that_it_answers(
    redis_server: Callable[..., RedisServer],
) -> None:
    server = redis_server()
    with Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "ann", "on", "nopass", "~*", "+@all", "-info")
    (found,) = look(server.url.replace("redis://", "redis://ann:any@")).values()
    assert (found.check, found.status) == ("redis.reachable", "warn")
    assert "INFO" in found.text and "operator" in found.advice


@pytest.mark.kafka
def test_a_kafka_in_its_place_is_named_in_one_line(kafka: str) -> None:
    (found,) = look(f"redis://{kafka}/0").values()
    assert (found.check, found.status) == ("redis.reachable", "fail")
    assert found.text == f"Redis does not answer ({kafka}: a Kafka broker answers there)"
    assert "HEADWATER_REDIS" in found.advice
