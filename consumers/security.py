"""From security settings to options of clients: the one place that reads keys and passwords.

The same dictionary serves aiokafka and kafka-python; Faust and Redis have shapes of their own. What
contradicts itself is refused here, at start: a setting that changes nothing would be believed in.
Nothing here puts a password into a message.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest
from pydantic import SecretStr

from stream.errors import ConfigurationError
from stream.settings import KafkaSecuritySettings, RedisSecuritySettings, Settings

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})

_KAFKA = "HEADWATER_KAFKA_SECURITY__"
_REDIS = "HEADWATER_REDIS_SECURITY__"
# A password is one line; a file of more is another file.
_MAX_PASSWORD_BYTES = 4_096
# Longest that asking why a connection failed may take: who waits has waited already.
_ASK_TIMEOUT_S = 5.0
# How long a broker may take to answer a goodbye.
_GOODBYE_S = 1.0


def kafka_options(security: KafkaSecuritySettings) -> dict[str, Any]:
    """Return the options of aiokafka's and kafka-python's clients; none for a plain listener.

    Raises:
        ConfigurationError: Settings contradict each other, or a file cannot be used.
    """
    is_sasl = security.protocol.startswith("SASL")
    is_tls = security.protocol.endswith("SSL")
    _refuse_idle(security, is_sasl=is_sasl, is_tls=is_tls)
    if not (is_sasl or is_tls):
        return {}
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if is_tls:
        options["ssl_context"] = _context(security, _KAFKA)
    if is_sasl:
        password = _password(security.password, security.password_file, _KAFKA)
        if not security.user or password is None:
            missing = "password" if security.user else "user"
            message = (
                f"expected {_KAFKA}USER and {_KAFKA}PASSWORD (or PASSWORD_FILE) with "
                f"{_KAFKA}PROTOCOL={security.protocol}, got no {missing}"
            )
            raise ConfigurationError(message)
        options |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.user,
            "sasl_plain_password": password,
        }
    return options


def _refuse_idle(security: KafkaSecuritySettings, *, is_sasl: bool, is_tls: bool) -> None:
    """Raise ConfigurationError for a setting that the protocol makes nothing of."""
    for names, is_used, wanted in (
        (("ca_file", "cert_file", "key_file"), is_tls, "SSL or SASL_SSL"),
        (("user", "password", "password_file"), is_sasl, "SASL_SSL or SASL_PLAINTEXT"),
    ):
        for name in names:
            if getattr(security, name) is not None and not is_used:
                message = (
                    f"{_KAFKA}{name.upper()}: expected {_KAFKA}PROTOCOL={wanted} beside it, got "
                    f"{security.protocol}, which makes no use of it"
                )
                raise ConfigurationError(message)


def faust_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a Faust app that connect as :func:`kafka_options` says."""
    from faust.auth import SASLCredentials, SSLCredentials  # Slow to import: for a worker only.

    if not options:
        return {}
    context = options.get("ssl_context")
    if "sasl_mechanism" not in options:
        return {"broker_credentials": SSLCredentials(context)}
    credentials = SASLCredentials(
        username=options["sasl_plain_username"],
        password=options["sasl_plain_password"],
        mechanism=options["sasl_mechanism"],
        ssl_context=context,
    )
    return {"broker_credentials": credentials}


def redis_options(security: RedisSecuritySettings, url: str) -> dict[str, Any]:
    """Return the options of a Redis client for this URL; what the URL names itself wins.

    Raises:
        ConfigurationError: The URL is none, settings and it contradict each other, or a file
            cannot be used.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise invalid_url() from None
    options: dict[str, Any] = {}
    password = _password(security.password, security.password_file, _REDIS)
    if password is not None or security.user:
        if parts.username or parts.password:
            message = (
                f"expected user and password in HEADWATER_REDIS or in {_REDIS}USER and "
                f"{_REDIS}PASSWORD, got both: leave one of them out"
            )
            raise ConfigurationError(message)
        if password is None:
            message = f"expected {_REDIS}PASSWORD or PASSWORD_FILE beside USER, got none"
            raise ConfigurationError(message)
        options |= {"username": security.user, "password": password}
    names = ("ca_file", "cert_file", "key_file")
    if parts.scheme == "rediss":
        _context(security, _REDIS)  # redis-py makes its own, and would find mistakes much later.
        paths = [getattr(security, name) for name in names]
        keys = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
        options |= {key: str(path) for key, path in zip(keys, paths, strict=True) if path}
        options["ssl_check_hostname"] = security.verify_hostname
    elif any(getattr(security, name) for name in names):
        message = (
            f"{_REDIS}CA_FILE, CERT_FILE, KEY_FILE: expected a Redis URL with rediss:// beside "
            f"them, got {parts.scheme}://, which is not encrypted"
        )
        raise ConfigurationError(message)
    return options


def invalid_url() -> ConfigurationError:
    """Return the error for a URL of Redis that is none; neither it nor its parts are shown."""
    return ConfigurationError(
        "HEADWATER_REDIS: expected a URL like redis://host:port/0, it is none; are special "
        "characters of the password percent-encoded?"
    )


def refuse_unnamed(settings: Settings) -> None:
    """Refuse security of a server that no setting names: what a command starts itself has none.

    Raises:
        ConfigurationError: Settings say how to connect, and not where to.
    """
    for address, group, security in (
        ("HEADWATER_KAFKA", _KAFKA, settings.kafka_security),
        ("HEADWATER_REDIS", _REDIS, settings.redis_security),
    ):
        is_named = getattr(settings, address.removeprefix("HEADWATER_").lower()) is not None
        if not is_named and security != type(security)():
            message = (
                f"expected {address} beside {group}*, got none: the server that this command "
                "starts itself knows neither certificates nor users"
            )
            raise ConfigurationError(message)


def _password(secret: SecretStr | None, path: Path | None, prefix: str) -> str | None:
    if secret is not None and path is not None:
        message = f"expected {prefix}PASSWORD or {prefix}PASSWORD_FILE, got both"
        raise ConfigurationError(message)
    if secret is not None:
        if not secret.get_secret_value():
            message = f"{prefix}PASSWORD: expected a password, got an empty one: unset it for none"
            raise ConfigurationError(message)
        return secret.get_secret_value()
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_PASSWORD_BYTES + 1).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        message = f"{prefix}PASSWORD_FILE: expected a file that can be read, got {path}: {why}"
        raise ConfigurationError(message) from None
    if fault := _fault_of(text):
        message = f"{prefix}PASSWORD_FILE: expected one line with a password in {path}, got {fault}"
        raise ConfigurationError(message)
    return text


def _fault_of(text: str) -> str:
    """Return what keeps a file's text from being a password, or nothing."""
    if not text:
        return "nothing"
    if "\n" in text or len(text) > _MAX_PASSWORD_BYTES:
        return "several lines or too many bytes"
    if text.startswith("\ufeff"):
        return "a byte order mark before it: save the file without one"
    if "\0" in text:
        return "a NUL character: is it UTF-16, or cut off?"
    return ""


def _context(
    security: KafkaSecuritySettings | RedisSecuritySettings, prefix: str
) -> ssl.SSLContext:
    """Return who is trusted, and our own certificate where there is one."""
    if (security.cert_file is None) != (security.key_file is None):
        message = f"expected {prefix}CERT_FILE and {prefix}KEY_FILE together, got one of them"
        raise ConfigurationError(message)
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
    except OSError as error:  # SSLError is one.
        message = (
            f"{prefix}CA_FILE: expected certificates in PEM, got {security.ca_file}: {_why(error)}"
        )
        raise ConfigurationError(message) from None
    context.check_hostname = security.verify_hostname
    if security.cert_file is not None:
        try:
            # An empty passphrase: without one OpenSSL would ask on the terminal.
            context.load_cert_chain(security.cert_file, security.key_file, password="")
        except OSError as error:
            message = (
                f"{prefix}CERT_FILE, KEY_FILE: expected a certificate and its key in PEM, without "
                f"a passphrase, got {security.cert_file} and {security.key_file}: {_why(error)}"
            )
            raise ConfigurationError(message) from None
    return context


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return error.strerror or type(error).__name__


async def why_refused(
    brokers: str, options: Mapping[str, Any], *, timeout_s: float = _ASK_TIMEOUT_S
) -> str | None:
    """Connect to each broker once more and say in words what stands in the way.

    aiokafka only says that no broker let it in.

    Args:
        brokers: Bootstrap servers, comma-separated.
        options: As :func:`kafka_options` gives them.
        timeout_s: Bound of all connections together, 5 s at most; a broker that is silent for so
            long does not refuse.

    Returns:
        The reason of the first that says one; None where one of them lets us in, or none answers.
    """
    names = ("security_protocol", "ssl_context", "sasl_mechanism")
    asked = {name: options[name] for name in names if name in options}
    asked |= {name: value for name, value in options.items() if name.startswith("sasl_plain_")}
    timeout_s = min(timeout_s, _ASK_TIMEOUT_S)
    asked["request_timeout_ms"] = round(timeout_s * 1000)
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            for host, port, _ in collect_hosts(brokers):
                error = await _try_once(AIOKafkaConnection(host, port, **asked))
                if error is None:
                    return None
                reason = _refusal(error, asked)
                if reason is not None:
                    return f"expected Kafka at {host}:{port} to let us in: it {reason}"
    return None


async def _try_once(connection: AIOKafkaConnection) -> Exception | None:
    """Connect, ask for something, close again, and return what stood in the way.

    A listener that wants a user tells its versions to anybody, and hangs up on what comes next.
    Waits until it is closed: over TLS that takes the broker's goodbye, which may come after ours,
    and a loop that ended before would leave the socket open.
    """
    failure = None
    try:
        await connection.connect()
        await connection.send(MetadataRequest([]))
    except (OSError, EOFError) as error:
        return error  # Nothing was made that asyncio has not closed.
    except KafkaError as error:
        failure = error
    await asyncio.wait({connection.close()}, timeout=_GOODBYE_S)
    return failure


def _refusal(error: BaseException, options: Mapping[str, Any]) -> str | None:
    protocol = options.get("security_protocol", "PLAINTEXT")
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"shows a certificate that is not trusted ({error.verify_message.rstrip('.')}): did "
            f"{_KAFKA}CA_FILE sign it?"
        )
    if isinstance(error, SaslAuthenticationFailed):
        return (
            f"does not accept this user and password with {options.get('sasl_mechanism')}: look at "
            f"{_KAFKA}USER, {_KAFKA}PASSWORD and {_KAFKA}SASL_MECHANISM"
        )
    if isinstance(error, UnsupportedSaslMechanismError | IllegalSaslStateError):
        return (
            f"does not take {options.get('sasl_mechanism')} there: look at "
            f"{_KAFKA}SASL_MECHANISM and {_KAFKA}PROTOCOL"
        )
    if isinstance(error, ConnectionRefusedError | TimeoutError):
        return None
    if isinstance(error, ssl.SSLError | ConnectionResetError | EOFError | KafkaError):
        return (
            f"closed a connection of {protocol}: is that what this listener speaks "
            f"({_KAFKA}PROTOCOL), and does it ask for a certificate of ours?"
        )
    return None
