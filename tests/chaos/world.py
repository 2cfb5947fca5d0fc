"""World: one scenario's servers, workers, load and probes, and the hands that break and mend.

All workers have static membership by slot: slot 0 restarted is the member that it was. A worker
that ends by itself is started again after half a second, as a supervisor would, unless the
scenario has taken that over (``is_supervised``). A slot has a version of the code, this checkout's
where nothing else is said.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from local.kafka import KafkaServer
from local.redis import RedisServer
from tests.chaos.exits import reason_of
from tests.chaos.load import Load, Mix, Sending, events
from tests.chaos.probes import CommitProbe, ListProbe, Probe, WorkerProbe, durable_offsets
from tests.chaos.scenarios import Scenario
from tests.chaos.verdicts import Verdicts
from tests.integration.workers import OURS, Code, Deployment, WorkerProcess, until

ROOT = Path(__file__).resolve().parents[2]
RESTART_S = 0.5
_RESTORED = re.compile(
    r"(\S+)/(\d+): (?:restored at offset|no snapshot, reading from offset) (\d+)"
)


@dataclass
class Slot:
    """A place for a worker, with the settings that it is started with.

    Attributes:
        number: Part of its static membership id.
        settings: Beside the deployment's.
        worker: The newest process.
        code: Its version of the code.
        is_supervised: Whether it is started again when it ends by itself.
    """

    number: int
    settings: dict[str, object]
    worker: WorkerProcess
    code: Code = OURS
    is_supervised: bool = True
    is_expected_to_end: bool = False
    exits: list[str] = field(default_factory=list)


class World:
    """What a scenario plays in.

    Attributes:
        scenario: The row.
        random: Seeded; the only source of choices.
        seed: Its seed.
        old: Commit of the version to roll from, where two versions are played.
        kafka: The broker; may be killed and started.
        redis: This scenario's own Redis server; may be killed and started.
        deployment: Topics, group, folder.
        slots: Workers.
        load: Events; see :meth:`start_load`.
        lists, offsets, commits: What the probes saw.
        healed_s: Monotonic time of the newest :meth:`heal`.
        recoveries_s: From a fault to the first accepted write of the partitions it hit.
        restarts_cpu_s: What workers that were started again had computed by then: on a machine
            that others use this says more about them than the time does.
        replayed: Records read again after restarts.
        verdicts: What was judged so far; a scenario may settle before its own end.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int,
        kafka: KafkaServer,
        redis: RedisServer,
        folder: Path,
        old: str = "",
    ) -> None:
        self.scenario, self.seed, self.old = scenario, seed, old
        self.random = random.Random(f"{seed} {scenario.name}")
        self.kafka, self.redis = kafka, redis
        self.deployment = Deployment(
            kafka=kafka.bootstrap,
            redis_url=redis.url,
            folder=folder,
            partitions=scenario.partitions,
            **scenario.settings,
        )
        self._kafka_pid = kafka.pid
        self.verdicts = Verdicts()
        self.slots: list[Slot] = []
        self.loads: list[Load] = []
        self.recoveries_s: list[float] = []
        self.restarts_cpu_s: list[float] = []
        self.replayed = 0
        self.healed_s = time.monotonic()
        self.redis_away_s = 0.0
        self._is_closing = threading.Event()
        self._slots_lock = threading.RLock()
        deployment = self.deployment
        self.lists = ListProbe(redis.url, num_partitions=scenario.partitions)
        self.offsets = WorkerProbe(lambda: deployment.alive)
        topics = {"users": deployment.interactions, "items": deployment.item_deltas}
        self.commits = CommitProbe(
            kafka.bootstrap,
            deployment.group,
            lambda: durable_offsets(folder / "data" / "snapshots", topics),
        )
        self._probes = [
            Probe(self.lists.look, every_s=0.05, name="lists"),
            Probe(self.offsets.look, every_s=0.4, name="workers"),
            Probe(self.commits.look, every_s=0.5, name="commits"),
            Probe(self._supervise, every_s=0.1, name="supervisor"),
        ]

    # Workers.

    def start_workers(self, count: int, *, code: Code = OURS, **settings: object) -> list[Slot]:
        """Start workers at once and return when all are ready."""
        slots = [self.add_slot(code=code, **settings) for _ in range(count)]
        for slot in slots:
            slot.worker.wait_ready()
        return slots

    def add_slot(self, *, code: Code = OURS, **settings: object) -> Slot:
        """Start one more worker; returns at once."""
        with self._slots_lock:
            number = len(self.slots)
            slot = Slot(number, dict(settings), self._launch(number, code, settings), code)
            self.slots.append(slot)
        return slot

    def _launch(self, number: int, code: Code, settings: dict[str, object]) -> WorkerProcess:
        member = {"WORKER__INSTANCE_ID": f"chaos-{number}", **settings}
        wanted = {k: v for k, v in member.items() if v is not None}
        return self.deployment.start(code=code, **wanted)

    def launch(self, slot: Slot, **settings: object) -> WorkerProcess:
        """Start a worker in a slot whose worker has ended; returns at once.

        Settings hold for this life only.
        """
        with self._slots_lock:
            slot.worker = self._launch(slot.number, slot.code, {**slot.settings, **settings})
            slot.is_expected_to_end = False
        return slot.worker

    def replace(self, slot: Slot, code: Code, *, number: int = signal.SIGTERM) -> WorkerProcess:
        """Put a worker of another version in the place of one, which may have ended; at once."""
        with self._slots_lock:
            slot.is_expected_to_end = True
            slot.worker.send(number)
            slot.worker.wait()
            slot.code = code
            return self.launch(slot)

    def kill(self, slot: Slot, number: int = signal.SIGKILL) -> set[int]:
        """End a worker by a signal; it is not started again. Returns its user partitions."""
        held = self.partitions_of(slot)
        slot.is_expected_to_end = True
        slot.worker.send(number)
        slot.worker.wait()
        return held

    def partitions_of(self, slot: Slot) -> set[int]:
        """Return the user partitions that a worker held when last asked."""
        prefix = f"{self.deployment.interactions}/"
        return {
            int(key.removeprefix(prefix))
            for key, pid in self.offsets.owners.items()
            if pid == slot.worker.pid and key.startswith(prefix)
        }

    def kill_and_restart(self, slot: Slot, **settings: object) -> None:
        """Kill -9 a worker, start it half a second later, and wait for its first list written."""
        with self.counting_replays():
            begin_s = time.monotonic()
            held = self.kill(slot)
            time.sleep(RESTART_S)
            restarted_s = time.monotonic()
            self.launch(slot, **settings).wait_ready()
            self.note_recovery(begin_s, held, since_s=restarted_s)
            times = psutil.Process(slot.worker.pid).cpu_times()
            self.restarts_cpu_s.append(times.user + times.system)
        self.heal()

    def note_recovery(self, begin_s: float, partitions: set[int], *, since_s: float) -> None:
        """Wait for the first accepted list of these partitions' users; keep how long it took.

        Args:
            begin_s: When the fault began: recovery counts from here.
            partitions: User partitions that it hit.
            since_s: Lists seen before this may have been under way when it began.
        """
        if partitions:
            at_s = until(
                lambda: self.lists.first_write_after(since_s, partitions), "a list is written again"
            )
            self.recoveries_s.append(at_s - begin_s)

    def applied(self) -> dict[str, int]:
        """Return ``topic/partition`` to the next offset that its owner wanted when last asked."""
        return {key: each["next"] or 0 for key, each in self.offsets.positions.items()}

    @contextmanager
    def counting_replays(self) -> Iterator[None]:
        """Count what is read again of interactions, by whomever, because of what happens inside.

        A partition that comes into memory says where it goes on; that is compared with what its
        owner had applied before.
        """
        before, lengths = self.applied(), self._log_lengths()
        yield
        for path, text in self._logs().items():
            for topic, partition, offset in _RESTORED.findall(text[lengths.get(path, 0) :]):
                if topic == self.deployment.interactions:
                    self.replayed += max(0, before.pop(f"{topic}/{partition}", 0) - int(offset))

    def _logs(self) -> dict[str, str]:
        return {worker.log_path.name: worker.log for worker in self.deployment.workers}

    def _log_lengths(self) -> dict[str, int]:
        return {name: len(text) for name, text in self._logs().items()}

    def _supervise(self) -> None:
        for slot in list(self.slots):
            with self._slots_lock:
                code = slot.worker.process.poll()
                if code is None or slot.is_expected_to_end or self._is_closing.is_set():
                    continue
                slot.is_expected_to_end = True
                ended = slot.worker
                slot.exits.append(f"code {code}: {reason_of(ended.log)[:300] or 'no reason'}")
            if slot.is_supervised:
                time.sleep(RESTART_S)
                with self._slots_lock:
                    if slot.worker is not ended:  # A scenario was faster.
                        continue
                    started = self.launch(slot)
                with suppress(AssertionError):
                    started.wait_ready()

    # Events.

    def start_load(
        self,
        rate: float = 250.0,
        *,
        mix: Mix = Mix(),  # noqa: B008
        sendings: Iterable[Sending] | None = None,
        bootstrap: str | None = None,
    ) -> Load:
        """Send events at a rate until the scenario ends or ``load.stop()``; rate 0 sends none."""
        load = Load(
            bootstrap or self.kafka.bootstrap,
            self.deployment.interactions,
            sendings or events(self.seed, mix, num_partitions=self.scenario.partitions),
            self.lists.expect,
        )
        self.loads.append(load)
        if rate:
            load.start(rate)
        return load

    def wait_durable(self, records: int) -> None:
        """Wait until snapshots hold so many more records of interactions than now."""
        wanted = self.num_durable() + records
        until(lambda: self.num_durable() >= wanted, "snapshots hold more of the log")

    def num_durable(self) -> int:
        """Return how many records of interactions snapshots hold."""
        prefix = self.deployment.interactions
        return sum(at for key, at in self.durable().items() if key.startswith(prefix))

    def durable(self) -> dict[str, int]:
        """Return ``topic/partition`` to the next offset of its newest snapshot."""
        topics = {"users": self.deployment.interactions, "items": self.deployment.item_deltas}
        return durable_offsets(self.deployment.folder / "data" / "snapshots", topics)

    def wait_applied(self, records: int) -> None:
        """Wait until workers have folded so many more records of interactions than now."""

        def applied() -> int:
            prefix = self.deployment.interactions
            return sum(at for key, at in self.applied().items() if key.startswith(prefix))

        wanted = applied() + records
        until(lambda: applied() >= wanted, "more of the log is folded")

    # Faults.

    def heal(self) -> None:
        """Say that nothing is broken any more: from here lists must catch up."""
        self.healed_s = time.monotonic()

    @contextmanager
    def redis_away(self) -> Iterator[None]:
        """Mark a time in which Redis is away on purpose: reads may fail in it."""
        failed, begin_s = self.lists.failed_reads, time.monotonic()
        try:
            yield
        finally:
            time.sleep(0.2)  # A read that began in it ends in it.
            self.redis_away_s += time.monotonic() - begin_s
            self.lists.failed_reads = failed
            self.heal()

    def is_calm(self) -> bool:
        """Say whether nothing made anybody read a record twice, or stopped a worker amid its work.

        A record that is read again is sent to dead-letters again where it cannot be used.
        """
        harm = {signal.SIGKILL, signal.SIGSTOP}
        workers = self.deployment.workers
        is_same_broker = self.kafka.is_running and self.kafka.pid == self._kafka_pid
        return is_same_broker and not any(
            harm & worker.signals or worker.process.poll() for worker in workers
        )

    # The end.

    def stop_probes(self) -> None:
        """End the supervisor and every probe."""
        self._is_closing.set()
        probes, self._probes = self._probes, []
        for probe in probes:
            probe.stop()
        self.commits.close()

    def close(self) -> None:
        """End everything that this scenario started; safe at any time."""
        self._is_closing.set()
        try:
            for load in self.loads:
                load.close()
            self.stop_probes()
        finally:
            for slot in self.slots:
                with suppress(ProcessLookupError):
                    os.kill(slot.worker.pid, signal.SIGCONT)
            self.deployment.close()
            self.lists.close()
