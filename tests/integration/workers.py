"""Workers as processes around real servers: started, watched, stopped and killed by pid.

A :class:`Deployment` has a group, topics and a data folder of its own on a shared Kafka. Whatever
it started is ended by :meth:`Deployment.close`, which the fixtures in ``conftest.py`` call.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from redis import Redis

from consumers.broker_offsets import BrokerOffsets
from consumers.configuration import make_engine, make_pipeline
from consumers.produce import ProduceReport, produce_interactions
from consumers.snapshot_digests import load_snapshots
from consumers.wire_log_files import records_of
from stream.digests import digests
from stream.engine import Engine
from stream.replay import Replay
from stream.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
# Generous: other work may share the machine. Nothing waits this long when all is well.
BOUND_S = 120.0
_POLL_S = 0.05
VERDICTS = ("applied", "duplicate", "late", "rejected", "filtered", "routed")


def until(condition: Callable[[], Any], what: str, bound_s: float = BOUND_S) -> Any:
    """Poll until a condition gives something true; return that, or fail with ``what``."""
    deadline = time.monotonic() + bound_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {bound_s:.0f} s: {what}"
        time.sleep(_POLL_S)


@dataclass(frozen=True)
class Code:
    """A version of the code: where it lies, and what its processes' environment has over ours."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = "this"


OURS = Code(ROOT)


class WorkerProcess:
    """One ``headwater worker`` in a session of its own.

    Attributes:
        folder: Where its version of the code lies.
        signals: Numbers of all signals that were sent to it on purpose.
        may_crash: Whether it was started with a crash point.
    """

    log_level = "INFO"

    def __init__(
        self, environment: Mapping[str, str], log_path: Path, *, folder: Path = ROOT
    ) -> None:
        self.log_path, self.folder = log_path, folder
        self.signals: set[int] = set()
        self.may_crash = "HEADWATER_CRASH_AT" in environment
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "consumers.cli"]
                + ["--log-level", self.log_level, "worker", "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        self.health = ""

    def wait_ready(self) -> WorkerProcess:
        """Wait for the line with the health address."""
        line = read_line(self.process, BOUND_S)
        assert line, f"the worker ended: {self.log}"
        self.health = json.loads(line)["health"]
        return self

    @property
    def log(self) -> str:
        """What it logged so far."""
        return self.log_path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self.process.pid

    def stats(self, *, bound_s: float = 30.0) -> dict[str, Any]:
        """Return ``/stats``; fails with the log when the worker has ended."""
        assert self.process.poll() is None, f"the worker ended: {self.log}"
        with urllib.request.urlopen(f"{self.health}/stats", timeout=bound_s) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def send(self, number: int) -> None:
        """Send a signal; nothing happens where it has ended."""
        self.signals.add(number)
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.send(number)
        return self.wait()

    def kill(self) -> None:
        """End at once, as a crash would."""
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Return the exit code."""
        code = self.process.wait(BOUND_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def read_line(process: subprocess.Popen[bytes], bound_s: float) -> bytes:
    """Read one line of a process' stdout within a bound; empty when it ended."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], bound_s)
    assert ready, f"no line within {bound_s:.0f} s"
    return process.stdout.readline()


class Deployment:
    """Topics, group, data folder and Redis of one test, and the workers on them.

    Args:
        kafka: Bootstrap servers, shared.
        redis_url: A Redis of its own.
        folder: Data and logs.
        partitions: Of interactions and of item deltas.
        settings: Further settings by their name in the environment, without the prefix.
    """

    def __init__(
        self, *, kafka: str, redis_url: str, folder: Path, partitions: int = 3, **settings: object
    ) -> None:
        self.kafka, self.redis_url, self.partitions = kafka, redis_url, partitions
        self.folder = folder
        self.tag = uuid.uuid4().hex[:10]
        self.interactions = f"interactions-{self.tag}"
        self.item_deltas = f"item-deltas-{self.tag}"
        self.dead_letters = f"dead-letters-{self.tag}"
        self.group = f"group-{self.tag}"
        self.settings: dict[str, object] = {
            "KAFKA": kafka,
            "REDIS": redis_url,
            "DATA_DIR": folder / "data",
            "TOPICS__INTERACTIONS": self.interactions,
            "TOPICS__ITEMS": f"items-{self.tag}",
            "TOPICS__ITEM_DELTAS": self.item_deltas,
            "TOPICS__ITEM_SIGNALS": f"item-signals-{self.tag}",
            "TOPICS__DEAD_LETTERS": self.dead_letters,
            "TOPICS__PARTITIONS": partitions,
            "TOPICS__ITEM_PARTITIONS": partitions,
            "WORKER__GROUP": self.group,
            # What every broker accepts; the one from pip accepts less.
            "WORKER__SESSION_TIMEOUT_S": 6 if os.environ.get("HEADWATER_KAFKA") else 4,
            "WORKER__SNAPSHOT_INTERVAL_S": 0.3,
            # A row of some hundred neighbours may or may not crowd below its bound, depending on
            # the order in which ids came; with this much room none does, and rows compare.
            "ITEMS__MAX_ROW_PAIRS": 4096,
            "SIGNALS__INTERVAL_S": 0.2,
            "SIGNALS__TRENDING_INTERVAL_S": 0.2,
            **settings,
        }
        self.workers: list[WorkerProcess] = []
        self.redis = Redis.from_url(redis_url)

    def environment(self, **settings: object) -> dict[str, str]:
        """Return the environment of a command on this deployment; settings win."""
        ours = {**self.settings, **settings}
        kept = {name: value for name, value in os.environ.items() if "HEADWATER_" not in name}
        # An installed worker does not compile its modules at every start either.
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        return {**kept, **{f"HEADWATER_{name}": str(value) for name, value in ours.items()}}

    def start(self, *, code: Code = OURS, **settings: object) -> WorkerProcess:
        """Start a worker of some version of the code and return at once."""
        log_path = self.folder / f"worker-{len(self.workers)}.log"
        environment = {**self.environment(**settings), **code.environment}
        worker = WorkerProcess(environment, log_path, folder=code.folder)
        self.workers.append(worker)
        return worker

    def worker(self, **settings: object) -> WorkerProcess:
        """Start a worker and return when it is ready."""
        return self.start(**settings).wait_ready()

    @property
    def alive(self) -> list[WorkerProcess]:
        """Workers whose process runs."""
        return [worker for worker in self.workers if worker.process.poll() is None]

    def run(self, *command: str, **settings: object) -> subprocess.CompletedProcess[bytes]:
        """Run a command of ``headwater`` to its end."""
        return run_cli(*command, environment=self.environment(**settings))

    def produce(
        self, lines: Sequence[bytes], *, block: int = 500, rate: float | None = None
    ) -> None:
        """Produce wire-log lines, murmur2 by user, acknowledged; blocks make record batches."""
        blocks = [list(lines[begin : begin + block]) for begin in range(0, len(lines), block)]

        async def run() -> ProduceReport:
            return await produce_interactions(
                records_of(blocks),
                brokers=self.kafka,
                topic=self.interactions,
                rate=rate,
                stop=asyncio.Event(),
            )

        report = asyncio.run(run())
        assert report.acknowledged == len(lines), report

    def ends(self, topic: str, num_partitions: int | None = None) -> dict[str, int]:
        """Return ``topic/partition`` to the log's end."""
        wanted = [(topic, number) for number in range(num_partitions or self.partitions)]

        async def ask() -> dict[tuple[str, int], int]:
            offsets = BrokerOffsets(self.kafka)
            await offsets.start()
            try:
                return await offsets.ends(wanted)
            finally:
                await offsets.stop()

        return {f"{name}/{number}": end for (name, number), end in asyncio.run(ask()).items()}

    def positions(self) -> dict[str, dict[str, int]]:
        """Return the offsets of all partitions that living workers hold."""
        found: dict[str, dict[str, int]] = {}
        for worker in self.alive:
            if worker.health:
                found.update(worker.stats()["positions"])
        return found

    def drain(self, bound_s: float = BOUND_S) -> None:
        """Wait until all that was produced is folded, on the user side and on the item side.

        Rows derived below ``acknowledged`` are in the log, routed copies before them; so once it
        has reached the end of interactions, the end of item deltas stands still: unless a worker
        that was cut off sends late what it had, which its readers skip.
        """

        def users_are_done() -> bool:
            ends, positions = self.ends(self.interactions), self.positions()
            done = all(
                positions.get(key, {}).get("acknowledged") == end for key, end in ends.items()
            )
            return done and ends == self.ends(self.interactions)

        def items_are_done() -> bool:
            positions = self.positions()
            return all(
                positions.get(key, {}).get("next") == end
                for key, end in self.ends(self.item_deltas).items()
            )

        until(users_are_done, "interactions are folded", bound_s)
        until(items_are_done, "item deltas are folded", bound_s)

    def stop_all(self) -> None:
        """Stop every worker gracefully; each ends with exit code 0."""
        for worker in self.alive:
            worker.send(signal.SIGTERM)
        for worker in self.workers:
            if worker.process.returncode is None:
                assert worker.wait() == 0, worker.log

    def engine(self) -> Engine:
        """Return the state that stopped workers left behind; it reaches the end of both logs."""
        engine = load_snapshots(self._worker_settings())
        for number, shard in engine.users.items():
            assert (
                shard.tables.next_offset
                == self.ends(self.interactions)[f"{self.interactions}/{number}"]
            )
        for number, items in engine.items.items():
            assert items.next_offset == self.ends(self.item_deltas)[f"{self.item_deltas}/{number}"]
        return engine

    def replay(self, lines: Sequence[bytes]) -> dict[str, Any]:
        """Return the figures of the log, replayed here at as many partitions."""
        settings = self._worker_settings()
        engine = make_engine(settings)
        Replay(make_pipeline(settings, engine), signals_interval_ms=1_000).feed(lines)
        return figures(engine)

    def _worker_settings(self) -> Settings:
        nested: dict[str, Any] = {}
        for name, value in self.settings.items():
            group, _, field = name.lower().partition("__")
            if field:
                nested.setdefault(group, {})[field] = value
            else:
                nested[group] = value
        return Settings(**nested)

    def committed(self) -> dict[str, int]:
        """Return ``topic/partition`` to the offset committed to the group."""
        admin = KafkaAdminClient(bootstrap_servers=self.kafka)
        try:
            found = admin.list_group_offsets({self.group: None})[self.group]
        finally:
            admin.close()
        return {f"{tp.topic}/{tp.partition}": int(each.offset) for tp, each in found.items()}

    def newest_list(self, user_id: str) -> dict[bytes, bytes]:
        """Return a user's hash in Redis, empty when there is none."""
        found: dict[bytes, bytes] = self.redis.hgetall(f"rec:{{{user_id}}}")
        return found

    def records(self, topic: str, num_partitions: int) -> Iterator[Any]:
        """Yield every record of a topic, up to its ends."""
        consumer = KafkaConsumer(bootstrap_servers=self.kafka, consumer_timeout_ms=30_000)
        try:
            tps = [TopicPartition(topic, number) for number in range(num_partitions)]
            consumer.assign(tps)
            consumer.seek_to_beginning()
            ends = consumer.end_offsets(tps)
            while any(consumer.position(tp) < end for tp, end in ends.items()):
                for records in consumer.poll(timeout_ms=500).values():
                    yield from records
        finally:
            consumer.close()

    def close(self) -> None:
        """End everything; safe at any time."""
        for worker in self.workers:
            worker.process.kill()
            worker.wait()
        self.redis.close()


def run_cli(
    *command: str, environment: Mapping[str, str], bound_s: float = BOUND_S
) -> subprocess.CompletedProcess[bytes]:
    """Run a command of ``headwater`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "consumers.cli", *command],
        env=dict(environment),
        cwd=ROOT,
        capture_output=True,
        timeout=bound_s,
        check=False,
    )


def summary_of(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """Return the JSON object on the last line of a command's stdout."""
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def figures(engine: Engine) -> dict[str, Any]:
    """Return what a replay's summary and workers' state have in common."""
    whole = digests(engine)
    return {
        **engine.counters(),
        "users": engine.num_users,
        "items": engine.num_items,
        "digest": whole.state,
        "digest_rows": whole.rows,
        "evicted": engine.num_evicted,
        "overflowed": engine.num_overflowed,
    }
