"""Security settings to options of clients: what contradicts itself is refused, nothing is shown."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection
from faust.auth import SASLCredentials, SSLCredentials

from consumers import security, topics
from consumers.configuration import load_settings
from consumers.doctor_kafka import look_at_kafka
from consumers.redis_client import connect_redis, without_password
from consumers.security import faust_options, kafka_options, redis_options, refuse_unnamed
from stream.errors import ConfigurationError
from stream.settings import KafkaSecuritySettings, RedisSecuritySettings, Settings
from tests.secure_servers import Certificates, make_certificates

MARK = "MARKsecret"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def kafka(**values: Any) -> dict[str, Any]:
    return kafka_options(KafkaSecuritySettings(**values))


def redis(url: str = "rediss://localhost:6379/0", **values: Any) -> dict[str, Any]:
    return redis_options(RedisSecuritySettings(**values), url)


def test_a_plain_listener_needs_nothing() -> None:
    assert kafka() == {} == faust_options({})
    assert redis("redis://localhost:6379/0") == {}


def test_faust_gets_the_same_as_the_other_clients(certificates: Certificates) -> None:
    options = kafka(protocol="SASL_SSL", ca_file=certificates.ca, user="ann", password=MARK)
    found = faust_options(options)["broker_credentials"]
    assert isinstance(found, SASLCredentials)
    assert found.protocol.value == options["security_protocol"] == "SASL_SSL"
    assert found.mechanism.value == options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (found.username, found.password) == ("ann", MARK)
    assert found.ssl_context is options["ssl_context"]
    assert MARK not in repr(found)
    plain = faust_options(kafka(protocol="SASL_PLAINTEXT", user="ann", password=MARK))
    assert plain["broker_credentials"].protocol.value == "SASL_PLAINTEXT"
    tls = faust_options(kafka(protocol="SSL", ca_file=certificates.ca))["broker_credentials"]
    assert isinstance(tls, SSLCredentials) and tls.protocol.value == "SSL"


def test_a_password_comes_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(f" {MARK} \r\n")
    found = kafka(protocol="SASL_PLAINTEXT", user="ann", password_file=path)
    assert found["sasl_plain_password"] == f" {MARK} "
    assert redis("redis://h/0", user="ann", password_file=path)["password"] == f" {MARK} "


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="KAFKA_SECURITY__PASSWORD: expected a password"):
        kafka(protocol="SASL_PLAINTEXT", user="ann", password="")
    with pytest.raises(ConfigurationError, match="REDIS_SECURITY__PASSWORD: .* unset it"):
        redis("redis://h/0", user="ann", password="")


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\n", b"one\ntwo\n", b"\xff", b"x" * 5_000, b"\xef\xbb\xbfone\n", b"o\0n\0e\0"],
)
def test_a_password_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="PASSWORD_FILE"):
        redis(user="ann", password_file=path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"user": "ann", "password": MARK}, "USER.*SASL_SSL.*PLAINTEXT"),
        ({"ca_file": "ca.pem"}, "CA_FILE.*SSL"),
        ({"protocol": "SASL_PLAINTEXT", "user": "a", "password": MARK, "key_file": "k"}, "KEY_FI"),
        ({"protocol": "SSL", "password": MARK}, "PASSWORD.*SASL"),
        ({"protocol": "SASL_SSL", "user": "ann"}, "no password"),
        ({"protocol": "SASL_SSL", "password": MARK}, "no user"),
        ({"protocol": "SASL_SSL", "user": "a", "password": MARK, "password_file": "f"}, "both"),
        ({"protocol": "SSL", "ca_file": "none.pem"}, "CA_FILE.*No such file"),
        ({"protocol": "SSL", "cert_file": "none.pem"}, "together"),
        ({"protocol": "SSL", "cert_file": "a.pem", "key_file": "b.pem"}, "No such file"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refused:
        kafka(**values)
    assert MARK not in str(refused.value)


def test_files_that_are_no_certificates_are_named(
    certificates: Certificates, tmp_path: Path
) -> None:
    text = tmp_path / "text.pem"
    text.write_text("hello")
    with pytest.raises(ConfigurationError, match="CA_FILE: expected certificates in PEM"):
        kafka(protocol="SSL", ca_file=text)
    with pytest.raises(ConfigurationError, match="KEY_FILE"):
        redis(cert_file=certificates.client, key_file=certificates.server_key)


def test_a_redis_url_and_settings_must_agree(certificates: Certificates) -> None:
    with pytest.raises(ConfigurationError, match="rediss://"):
        redis("redis://localhost/0", ca_file=certificates.ca)
    with pytest.raises(ConfigurationError, match="both") as refused:
        redis(f"rediss://ann:{MARK}@localhost/0", user="ann", password="other")
    assert MARK not in str(refused.value)
    with pytest.raises(ConfigurationError, match="PASSWORD"):
        redis(user="ann")
    found = redis(ca_file=certificates.ca, verify_hostname=False)
    assert found == {"ssl_ca_certs": str(certificates.ca), "ssl_check_hostname": False}


def test_servers_that_a_command_starts_itself_have_no_security() -> None:
    refuse_unnamed(Settings(kafka="h:1", kafka_security={"protocol": "SSL"}))
    with pytest.raises(ConfigurationError, match="HEADWATER_KAFKA beside"):
        refuse_unnamed(Settings(kafka_security={"protocol": "SSL"}))
    with pytest.raises(ConfigurationError, match="HEADWATER_REDIS beside"):
        refuse_unnamed(Settings(kafka="h:1", redis_security={"verify_hostname": False}))


def test_no_password_stands_in_a_repr(certificates: Certificates) -> None:
    settings = Settings(
        redis=f"rediss://ann:{MARK}@localhost/0",
        kafka_security={"password": MARK},
        redis_security={"password": MARK},
    )
    assert MARK not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()
    url = "rediss://localhost:6379/0"
    options = redis(url, user="ann", password=MARK)
    for client in (
        connect_redis(url, client_options=options),
        connect_redis(f"redis://ann:{MARK}@localhost/0"),
        connect_redis(f"redis://ann:{MARK}@localhost/0", is_cluster=True),
    ):
        assert MARK not in repr(client)
    assert MARK not in without_password(f"redis://:{MARK}@h:1/0?password={MARK}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADWATER_KAFKA_SECURITY", f'{{"password": "{MARK}", "protocol": "TLS"}}'),
        ("HEADWATER_KAFKA_SECURITY", f'{{"password": ["{MARK}"]}}'),
        ("HEADWATER_KAFKA_SECURITY", f'{{"password": "{MARK}"'),
        ("HEADWATER_REDIS_SECURITY", f'"{MARK}"'),
        ("HEADWATER_REDIS_SECURITY", f'{{"pasword": "{MARK}"}}'),
    ],
)
def test_a_setting_that_cannot_be_read_does_not_show_its_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert MARK not in str(refused.value)
    with pytest.raises(ConfigurationError) as refused:
        load_settings([f'redis=["{MARK}"]'])
    assert MARK not in str(refused.value)


def test_asking_why_ends_within_the_callers_bound_however_many_brokers_are_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    async def never(connection: AIOKafkaConnection) -> None:
        asked.append(connection)
        await asyncio.Event().wait()

    monkeypatch.setattr(AIOKafkaConnection, "connect", never)

    async def ask() -> str | None:
        async with asyncio.timeout(30.0):
            return await security.why_refused("one:1,two:2", {}, timeout_s=0.05)

    assert asyncio.run(ask()) is None
    assert len(asked) == 1


def test_a_look_at_kafka_hands_its_bound_on(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[float] = []

    async def why_refused(brokers: str, options: Any, *, timeout_s: float) -> None:
        bounds.append(timeout_s)

    monkeypatch.setattr(topics, "why_refused", why_refused)
    (found,) = asyncio.run(look_at_kafka(Settings(), "127.0.0.1:1", timeout_s=0.5))
    assert found.check == "kafka.reachable" and bounds == [0.5]
