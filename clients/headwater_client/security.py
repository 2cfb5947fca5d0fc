"""How to be let in: ``client_options`` for producers and readers, from certificates and users.

Absent on purpose: reading the environment. Where a password comes from is the application's affair;
no error of this package holds one.
"""

from __future__ import annotations

import ssl
from os import PathLike
from typing import Any, Literal

from headwater_client.errors import InvalidAddress

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Path = str | PathLike[str]


def kafka_security(
    *,
    is_tls: bool = True,
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    user: str | None = None,
    password: str | None = None,
    mechanism: Mechanism = "SCRAM-SHA-512",
) -> dict[str, Any]:
    """Return ``client_options`` of both event producers.

    Args:
        is_tls: Whether the listener speaks TLS.
        ca_file: PEM file of who signs the brokers' certificates; None for the system's.
        cert_file: PEM file of the application's own certificate, where Kafka asks for one.
        key_file: PEM file of its key, without a passphrase.
        user: SASL user; None where Kafka asks for none.
        password: Its password.
        mechanism: How the password is shown.

    Raises:
        InvalidAddress: The arguments do not fit each other, or a file cannot be used.
    """
    if (user is None) != (password is None):
        message = "expected user and password, or neither, got one of them"
        raise InvalidAddress(message)
    if not is_tls and (ca_file or cert_file or key_file):
        message = "expected is_tls=True with files of certificates, got is_tls=False"
        raise InvalidAddress(message)
    protocol = ("SASL_SSL" if is_tls else "SASL_PLAINTEXT") if user else "SSL"
    options: dict[str, Any] = {"security_protocol": protocol if user or is_tls else "PLAINTEXT"}
    if is_tls:
        options["ssl_context"] = _context(ca_file, cert_file, key_file)
    if user is not None:
        options |= {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": user,
            "sasl_plain_password": password,
        }
    return options


def redis_security(
    *,
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    user: str | None = None,
    password: str | None = None,
) -> dict[str, Any]:
    """Return ``client_options`` of both readers; certificates need a URL with ``rediss://``.

    Args:
        ca_file: PEM file of who signs the server's certificate; None for the system's.
        cert_file: PEM file of the application's own certificate, where Redis asks for one.
        key_file: PEM file of its key, without a passphrase.
        user: ACL user; None for the default user, or where the URL names one.
        password: Its password.

    Raises:
        InvalidAddress: The arguments do not fit each other, or a file cannot be used.
    """
    if user is not None and password is None:
        message = "expected a password beside the user, got none"
        raise InvalidAddress(message)
    files = {"ssl_ca_certs": ca_file, "ssl_certfile": cert_file, "ssl_keyfile": key_file}
    if any(files.values()):
        _context(ca_file, cert_file, key_file)  # redis-py would find mistakes at the first read.
    words = {"username": user, "password": password}
    options: dict[str, Any] = {name: str(path) for name, path in files.items() if path}
    return options | {name: value for name, value in words.items() if value is not None}


def _context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    if (cert_file is None) != (key_file is None):
        message = "expected cert_file and key_file together, got one of them"
        raise InvalidAddress(message)
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if cert_file is not None:
            # An empty passphrase: without one OpenSSL would ask on the terminal.
            context.load_cert_chain(cert_file, key_file, password="")
    except OSError as error:  # SSLError is one.
        message = (
            "expected files in PEM (ca_file, cert_file, key_file without a passphrase), got "
            f"{', '.join(str(each) for each in (ca_file, cert_file, key_file) if each)}: {error}"
        )
        raise InvalidAddress(message) from None
    return context
