"""A worker and an application with the rights that docs/security.md lists, and no others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
)

from consumers.topic_specs import topic_specs
from consumers.topics import ensure_topics
from headwater_client import EventProducer, kafka_security
from local.process import LocalServerError
from stream.settings import Settings
from tests.conftest import missing
from tests.integration.conftest import Deploy
from tests.integration.workers import ROOT, Deployment, until
from tests.secure_servers import (
    APPLICATION,
    KAFKA_PASSWORD,
    USER,
    Certificates,
    SecureKafka,
    make_certificates,
    make_kafka,
)
from tests.wire_logs import wire_log

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

LOG = wire_log(200, seed=12)
# Nobody may do anything but whom an ACL lets, and the test itself by the plain listener.
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "false",
}
Right = tuple[str, str, str, str]  # User, kind, name, operation.


def documented_rights() -> list[Right]:
    """Return the table of docs/security.md, a right a row."""
    text = (ROOT / "docs" / "security.md").read_text()
    rows = re.findall(
        r"^\| (worker|application) \| (topic|group) `([\w-]+)` \| ([\w, ]+) \|$", text, re.MULTILINE
    )
    return [(*row[:3], operation) for row in rows for operation in row[3].split(", ")]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def strict_kafka(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[SecureKafka]:
    made = make_kafka(tmp_path_factory.mktemp("strict-kafka"), certificates, AUTHORIZER)
    try:
        made.server.start()
    except LocalServerError as error:
        missing(str(error))
    yield made
    made.server.kill()


@pytest.fixture
def deployment(
    deploy: Deploy, certificates: Certificates, strict_kafka: SecureKafka, tmp_path: Path
) -> Deployment:
    """Give a deployment with topics made beforehand and a worker's user without any right."""
    password = tmp_path / "kafka-password"
    password.write_text(KAFKA_PASSWORD)
    made = deploy(
        kafka=strict_kafka.server.bootstrap,
        KAFKA=strict_kafka.sasl,
        KAFKA_SECURITY__PROTOCOL="SASL_SSL",
        KAFKA_SECURITY__CA_FILE=certificates.ca,
        KAFKA_SECURITY__USER=USER,
        KAFKA_SECURITY__PASSWORD_FILE=password,
    )
    specs = topic_specs(Settings(topics=topic_settings(made)).topics)
    asyncio.run(ensure_topics(made.kafka, specs))
    return made


def topic_settings(deployment: Deployment) -> dict[str, object]:
    return {
        name.removeprefix("TOPICS__").lower(): value
        for name, value in deployment.settings.items()
        if name.startswith("TOPICS__")
    }


def grant(deployment: Deployment, rights: list[Right]) -> None:
    """Let users do what rights say, on this deployment's topics and group."""
    defaults, ours = Settings(), topic_settings(deployment)
    names = {getattr(defaults.topics, field): name for field, name in ours.items()}
    names[defaults.worker.group] = deployment.group
    users = {"worker": USER, "application": APPLICATION}
    admin = KafkaAdminClient(bootstrap_servers=deployment.kafka)
    try:
        found = admin.create_acls(
            [
                ACL(
                    principal=f"User:{users[user]}",
                    host="*",
                    operation=ACLOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
                    permission_type=ACLPermissionType.ALLOW,
                    resource_pattern=ResourcePattern(ResourceType[kind.upper()], str(names[name])),
                )
                for user, kind, name, operation in rights
            ]
        )
    finally:
        admin.close()
    assert len(found["succeeded"]) == len(rights) and not found["failed"]


def test_a_worker_and_an_application_need_no_more_than_is_documented(
    deployment: Deployment, certificates: Certificates, strict_kafka: SecureKafka
) -> None:
    rights = documented_rights()
    assert len(rights) == 15
    grant(deployment, rights)
    worker = deployment.worker()
    security = kafka_security(
        ca_file=certificates.ca, user=APPLICATION, password=KAFKA_PASSWORD, mechanism="PLAIN"
    )
    topic = {"topic": deployment.interactions, "client_options": security}
    with EventProducer(strict_kafka.sasl, **topic) as producer:
        producer.like("ann", "clip-1").result(timeout=30)
    deployment.produce(LOG)
    elsewhere = KafkaProducer(bootstrap_servers=deployment.kafka)
    for partition in range(deployment.partitions):
        elsewhere.send(deployment.interactions, LOG[0], partition=partition)
    elsewhere.send(deployment.interactions, b"{", partition=0)
    elsewhere.flush(30)
    elsewhere.close()
    until(lambda: worker.stats()["routed"] == deployment.partitions - 1, "misplaced ones are home")
    until(lambda: worker.stats()["rejected"] == 1, "the bad record is a dead letter")
    until(lambda: deployment.redis.exists("rec:{ann}"), "ann has a list")
    until(lambda: deployment.redis.exists("sim:{clip-1}"), "signals are published and read")
    assert worker.stop() == 0, worker.log
    assert "uthorization" not in worker.log and "uthorized" not in worker.log


@pytest.mark.parametrize(
    "lacking",
    [("topic", "headwater-item-deltas", "Write"), ("group", "headwater", "Read")],
    ids=["write-item-deltas", "read-group"],
)
def test_a_worker_that_lacks_a_right_ends_with_a_line_that_names_what(
    deployment: Deployment, lacking: tuple[str, str, str]
) -> None:
    grant(deployment, [each for each in documented_rights() if each[1:] != lacking])
    deployment.produce(LOG[:50])
    worker = deployment.start()
    assert worker.wait() == 1
    assert "Traceback" not in worker.log
    last = worker.log.splitlines()[-1]
    assert last.startswith("headwater: ") and "uthoriz" in last, last
