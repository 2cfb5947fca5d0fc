"""A worker and every command over TLS and SCRAM to Kafka, over TLS as an ACL user to Redis."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.doctor_kafka import look_at_kafka
from consumers.doctor_redis import look_at_redis
from consumers.lists import read_list
from consumers.security import kafka_options, redis_options, why_refused
from consumers.topics import count_partitions
from headwater_client import (
    AsyncEventProducer,
    AsyncRecommendationReader,
    EventProducer,
    KafkaUnreachable,
    RecommendationReader,
    RedisUnreachable,
    kafka_security,
    redis_security,
)
from local.process import LocalServerError
from stream.errors import ServerRefused
from stream.settings import KafkaSecuritySettings, Settings
from tests.conftest import missing
from tests.integration.conftest import Deploy
from tests.integration.workers import Deployment, summary_of, until
from tests.secure_servers import (
    KAFKA_PASSWORD,
    REDIS_PASSWORD,
    USER,
    Certificates,
    SecureKafka,
    SecureRedis,
    make_certificates,
    make_kafka,
    slow_relay,
)
from tests.wire_logs import wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

LOG = wire_log(300, seed=11)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure_kafka(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[SecureKafka]:
    made = make_kafka(tmp_path_factory.mktemp("secure-kafka"), certificates)
    try:
        made.server.start()
    except LocalServerError as error:
        missing(str(error))
    yield made
    made.server.kill()


@pytest.fixture(scope="module")
def secure_redis(certificates: Certificates) -> Iterator[SecureRedis]:
    try:
        made = SecureRedis(certificates)
    except LocalServerError as error:
        missing(str(error))
    yield made
    made.stop()


@pytest.fixture
def secrets(tmp_path: Path) -> tuple[Path, Path]:
    """Give files with the passwords of Kafka and of Redis, as an orchestrator mounts them."""
    kafka, redis = tmp_path / "kafka-password", tmp_path / "redis-password"
    kafka.write_text(KAFKA_PASSWORD + "\n")
    redis.write_text(REDIS_PASSWORD + "\n")
    return kafka, redis


@pytest.fixture
def deployment(
    deploy: Deploy,
    certificates: Certificates,
    secure_kafka: SecureKafka,
    secure_redis: SecureRedis,
    secrets: tuple[Path, Path],
) -> Deployment:
    """Give a deployment whose commands know only the secured listeners; the test uses others."""
    return deploy(
        kafka=secure_kafka.server.bootstrap,
        redis_url=secure_redis.plain_url,
        KAFKA=secure_kafka.sasl,
        KAFKA_SECURITY__PROTOCOL="SASL_SSL",
        KAFKA_SECURITY__CA_FILE=certificates.ca,
        KAFKA_SECURITY__USER=USER,
        KAFKA_SECURITY__PASSWORD_FILE=secrets[0],
        REDIS=secure_redis.url,
        REDIS_SECURITY__CA_FILE=certificates.ca,
        REDIS_SECURITY__USER=USER,
        REDIS_SECURITY__PASSWORD_FILE=secrets[1],
    )


def assert_no_secret(text: str) -> None:
    for secret in (KAFKA_PASSWORD, REDIS_PASSWORD, "MARK"):
        assert secret not in text


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    text = (done.stdout + done.stderr).decode()
    assert_no_secret(text)
    assert "Traceback" not in text, text
    return text


def test_a_worker_and_every_command_work_over_tls_as_users(
    deployment: Deployment, tmp_path: Path
) -> None:
    worker = deployment.worker()
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join([*LOG, b"{"]) + b"\n")
    progress = str(tmp_path / "progress")
    for _ in range(2):  # The second run asks the topic what it holds.
        done = deployment.run("produce", str(log), "--resume", progress, "--json")
        said(done)
        assert summary_of(done)["failed"] == 0
    deployment.drain()
    until(lambda: worker.stats()["rejected"] == 1, "the bad record is a dead letter")

    def read_list() -> dict[str, Any] | None:
        found = summary_of(deployment.run("recs", "u1", "--json"))
        return found if found["key"] == "rec:{u1}" else None

    assert until(read_list, "u1 has a list")["items"]
    said(deployment.run("similar", "i1"))
    replayed = deployment.run("replay", deployment.interactions, "--json")
    assert summary_of(replayed)["applied"] == worker.stats()["applied"]
    letters = deployment.run("dead-letters", "list", "--json")
    assert summary_of(letters)["matched"] == 1
    mended = deployment.run("dead-letters", "replay", "--json")
    assert summary_of(mended)["replayed"] == 1
    looked = deployment.run("doctor", "--json")
    findings = summary_of(looked)["findings"]
    assert {each["check"] for each in findings if each["status"] == "fail"} <= {"machine.disk"}
    simulated = deployment.run("simulate", "--seconds", "1", "--json")
    assert summary_of(simulated)["failed"] == 0
    for each in (replayed, letters, mended, looked, simulated):
        said(each)
    assert worker.stop() == 0, worker.log
    assert_no_secret(worker.log)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ca_file": "other_ca"}, ("certificate", "KAFKA_SECURITY__CA_FILE")),
        ({"password": "MARKwrong"}, ("password", "KAFKA_SECURITY__PASSWORD")),
        ({"sasl_mechanism": "PLAIN", "user": "other"}, ("PLAIN", "KAFKA_SECURITY__USER")),
        ({"address": "tls"}, ("KAFKA_SECURITY__PROTOCOL",)),
        ({"address": "plain"}, ("KAFKA_SECURITY__PROTOCOL",)),
        (
            {"protocol": "PLAINTEXT", "ca_file": None, "user": None, "password": None},
            ("KAFKA_SECURITY__PROTOCOL",),
        ),
        ({"protocol": "SSL", "user": None, "password": None}, ("KAFKA_SECURITY__PROTOCOL",)),
    ],
)
def test_whom_kafka_does_not_let_in_is_told_why(
    certificates: Certificates,
    secure_kafka: SecureKafka,
    changed: dict[str, str | None],
    words: tuple[str, ...],
) -> None:
    values = {
        "protocol": "SASL_SSL",
        "ca_file": str(certificates.ca),
        "user": USER,
        "password": KAFKA_PASSWORD,
        **changed,
    }
    if values["ca_file"] == "other_ca":
        values["ca_file"] = str(certificates.other_ca)
    address = {"tls": secure_kafka.tls, "plain": secure_kafka.server.bootstrap}.get(
        str(values.pop("address", None)), secure_kafka.sasl
    )
    settings = Settings(kafka_security=values)
    options = kafka_options(settings.kafka_security)
    with pytest.raises(ServerRefused) as refused:
        asyncio.run(count_partitions(address, "any", client_options=options))
    [finding] = asyncio.run(look_at_kafka(settings, address, timeout_s=10.0))
    assert (finding.check, finding.status) == ("kafka.security", "fail")
    assert finding.text == str(refused.value)
    assert all(word in finding.text for word in words), finding.text
    assert_no_secret(finding.text)


def test_who_asks_why_waits_for_a_late_goodbye_and_leaves_no_socket_open(
    certificates: Certificates, secure_kafka: SecureKafka
) -> None:
    settings = KafkaSecuritySettings(
        protocol="SASL_SSL", ca_file=certificates.ca, user=USER, password="MARKwrong"
    )

    options = kafka_options(settings)
    gc.collect()
    with slow_relay(secure_kafka.sasl) as address, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        reason = asyncio.run(why_refused(address, options, timeout_s=5.0))
        gc.collect()
    assert reason is not None and "password" in reason
    assert [str(each.message) for each in seen] == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ca_file": "other_ca"}, ("certificate", "REDIS_SECURITY__CA_FILE")),
        ({"password": "MARKwrong"}, ("password", "REDIS_SECURITY")),
    ],
)
def test_whom_redis_does_not_let_in_is_told_why(
    certificates: Certificates,
    secure_redis: SecureRedis,
    changed: dict[str, str],
    words: tuple[str, ...],
) -> None:
    values = {"ca_file": str(certificates.ca), "user": USER, "password": REDIS_PASSWORD, **changed}
    if values["ca_file"] == "other_ca":
        values["ca_file"] = str(certificates.other_ca)
    settings = Settings(redis_security=values)
    options = redis_options(settings.redis_security, secure_redis.url)
    with pytest.raises(ServerRefused) as refused:
        asyncio.run(read_list(secure_redis.url, "u1", client_options=options))
    [finding] = asyncio.run(look_at_redis(settings, secure_redis.url, timeout_s=10.0))
    assert (finding.check, finding.status) == ("redis.security", "fail")
    assert finding.text == str(refused.value)
    assert all(word in finding.text for word in words), finding.text
    assert_no_secret(finding.text)


def test_a_worker_that_is_not_let_in_ends_with_one_line(
    deployment: Deployment, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("MARKwrong")
    worker = deployment.start(KAFKA_SECURITY__PASSWORD_FILE=wrong)
    assert worker.wait() == 1
    assert_no_secret(worker.log)
    assert "Traceback" not in worker.log
    last = worker.log.splitlines()[-1]
    assert last.startswith("headwater: ") and "KAFKA_SECURITY__PASSWORD" in last


def test_a_certificate_of_ours_lets_a_command_in(
    deployment: Deployment, certificates: Certificates, secure_kafka: SecureKafka
) -> None:
    mutual: dict[str, object] = {
        "KAFKA": secure_kafka.tls,
        "KAFKA_SECURITY__PROTOCOL": "SSL",
        "KAFKA_SECURITY__CERT_FILE": certificates.client,
        "KAFKA_SECURITY__KEY_FILE": certificates.client_key,
    }
    del deployment.settings["KAFKA_SECURITY__USER"]
    del deployment.settings["KAFKA_SECURITY__PASSWORD_FILE"]
    worker = deployment.worker(**mutual)
    deployment.produce(LOG)
    deployment.drain()
    assert worker.stats()["applied"] > 0
    assert worker.stop() == 0, worker.log


def test_the_clients_work_over_tls_as_users(
    deployment: Deployment,
    certificates: Certificates,
    secure_kafka: SecureKafka,
    secure_redis: SecureRedis,
) -> None:
    deployment.worker()
    kafka = kafka_security(
        ca_file=certificates.ca, user=USER, password=KAFKA_PASSWORD, mechanism="SCRAM-SHA-256"
    )
    redis = redis_security(ca_file=certificates.ca, user=USER, password=REDIS_PASSWORD)
    topics = {"topic": deployment.interactions, "client_options": kafka}
    with EventProducer(secure_kafka.sasl, **topics) as producer:
        producer.like("ann", "clip-1").result(timeout=30)

    async def like() -> None:
        async with AsyncEventProducer(secure_kafka.sasl, **topics) as producer:
            await producer.like("ann", "clip-2")

    asyncio.run(like())
    with RecommendationReader(secure_redis.url, client_options=redis) as reader:
        own = until(lambda: reader.recommendations("ann", fallback=False), "ann has a list")

    async def read() -> Any:
        async with AsyncRecommendationReader(secure_redis.url, client_options=redis) as reader:
            return await reader.recommendations("ann", fallback=False)

    assert asyncio.run(read()).version >= own.version


def test_clients_that_are_not_let_in_say_so_without_the_password(
    certificates: Certificates, secure_kafka: SecureKafka, secure_redis: SecureRedis
) -> None:
    kafka = kafka_security(ca_file=certificates.ca, user=USER, password="MARKwrong")
    with pytest.raises(KafkaUnreachable) as refused:
        EventProducer(secure_kafka.sasl, client_options=kafka, connect_timeout_ms=3_000)
    redis = redis_security(ca_file=certificates.ca, user=USER, password="MARKwrong")
    with RecommendationReader(secure_redis.url, client_options=redis) as reader:
        with pytest.raises(RedisUnreachable, match="user and password") as denied:
            reader.trending()
        assert_no_secret(repr(reader))
    untrusted = redis_security(ca_file=certificates.other_ca, user=USER, password=REDIS_PASSWORD)
    with (
        RecommendationReader(secure_redis.url, client_options=untrusted) as reader,
        pytest.raises(RedisUnreachable, match="certificate") as unknown,
    ):
        reader.trending()
    for error in (refused, denied, unknown):
        assert_no_secret(str(error.value))
