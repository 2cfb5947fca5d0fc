"""Probes: what a bystander sees of a deployment while things break; each on a thread of its own.

They look from outside: lists as a client reads them, offsets as the group and the folder of
snapshots hold them, processes as the kernel counts them. Nothing here stops a scenario; what was
seen is judged afterwards (:mod:`tests.chaos.judgement`).
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression
from typing import Any

import psutil
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.chaos.load import THING, Accepted
from tests.chaos.oracle_records import partition_of
from tests.integration.workers import WorkerProcess
from tests.list_versions import parse_version

# Users whose lists are read twenty times a second: the first that were heard of.
_MAX_USERS = 500
# Lists that no user has: for strangers, and what is similar to the items that most events name.
_SHARED = ("rec:trending", *(f"sim:{{{THING}-{number}}}" for number in range(20)))
# A worker that was stopped keeps whoever asks it waiting, and the others are asked after it.
_STOPPED_S = 1.0
_SNAPSHOT = re.compile(r"(users|items)\.(\d{5})\.(\d{16})\.(\d{10})\.snapshot")


class Probe:
    """A loop on a thread until :meth:`stop`."""

    def __init__(self, look: Callable[[], None], *, every_s: float, name: str) -> None:
        self._look, self._every_s = look, every_s
        self._stop = threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._every_s):
                self._look()
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        """End the loop; raises what it failed with."""
        self._stop.set()
        self._thread.join(60)
        if self.failure is not None:
            raise self.failure


class ListProbe:
    """Reads lists as a client does: versions, their age, and whether Redis answers.

    Attributes:
        went_back: Lists, also of items and for strangers, whose version was lower than one seen.
        stale_s_max: Longest time that an accepted event was not in its user's list.
        reads: Rounds of reads; ``failed_reads`` of them had no answer.
        newest: User to the next offset of the newest list seen.
        gone: Users whose list was there and then was not; ``erased`` is who asked for that.
        writes: Per user partition the times at which a list became newer.
    """

    def __init__(self, redis_url: str, *, num_partitions: int) -> None:
        self._redis = Redis.from_url(
            redis_url, socket_timeout=2.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)
        )
        self._num_partitions = num_partitions
        self._waiting: dict[str, deque[Accepted]] = defaultdict(deque)
        self._versions: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self.newest: dict[str, int] = {}
        self.gone: set[str] = set()
        self.erased: set[str] = set()
        self.writes: dict[int, list[float]] = defaultdict(list)
        self.went_back: list[str] = []
        self.stale_s_max = 0.0
        self.reads = 0
        self.failed_reads = 0
        self.empty_reads = 0
        self._had_trending = False

    def expect(self, accepted: Accepted) -> None:
        """Take an acknowledged event that a list should reflect."""
        user, value = accepted.sending.user, accepted.sending.value or b""
        if b'"erase"' in value:  # Also where it is misplaced, so that it is nobody's here.
            with suppress(ValueError, LookupError):
                self.erased.add(json.loads(value)["user_id"])
        if user is None:
            return
        with self._lock:
            if user not in self._waiting and len(self._waiting) >= _MAX_USERS:
                return
            if accepted.sending.is_erase:
                self._waiting[user].clear()
            else:
                self._waiting[user].append(accepted)

    def look(self) -> None:
        """Read every known user's list, and the list for strangers."""
        with self._lock:
            users = sorted(self._waiting)
        self.reads += 1
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for user in users:
                pipeline.hget(f"rec:{{{user}}}", "version")
            for key in _SHARED:
                pipeline.hget(key, "version")
            answers = pipeline.execute()
        except (RedisError, OSError):
            self.failed_reads += 1
        else:
            has_trending = bool(answers[len(users)])
            self._take(users, answers[: len(users)])
            for key, version in zip(_SHARED, answers[len(users) :], strict=True):
                self._is_newer(key, version)
            # A stranger's list is there some time after the first event, and from then on.
            self.empty_reads += self._had_trending and not has_trending
            self._had_trending = self._had_trending or has_trending
        self._age(users)

    def _take(self, users: list[str], versions: list[bytes | None]) -> None:
        now_s = time.monotonic()
        for user, version in zip(users, versions, strict=True):
            if version is None and user in self.newest:
                self.gone.add(user)
            if version is None or not self._is_newer(user, version):
                continue
            self.newest[user] = parse_version(version.decode()).next_offset
            self.writes[partition_of(user.encode(), self._num_partitions)].append(now_s)

    def _is_newer(self, name: str, version: bytes | None) -> bool:
        """Take a list's version; return whether it is another one, and note where it went back."""
        before = self._versions.get(name)
        if version is None or version == before:
            return False
        if before is not None and version < before:
            self.went_back.append(f"{name}: {before!r} to {version!r}")
        self._versions[name] = version
        return True

    def _age(self, users: list[str]) -> None:
        now_s = time.monotonic()
        with self._lock:
            for user in users:
                waiting = self._waiting[user]
                while waiting and waiting[0].offset < self.newest.get(user, 0):
                    waiting.popleft()
                if waiting:
                    self.stale_s_max = max(self.stale_s_max, now_s - waiting[0].at_s)

    def first_write_after(self, since_s: float, partitions: set[int]) -> float | None:
        """Return when a list of one of these partitions' users first became newer."""
        times = [at for number in partitions for at in list(self.writes[number]) if at > since_s]
        return min(times, default=None)

    def longest_gap(self, partitions: set[int], since_s: float) -> float:
        """Return the longest time without a newer list in any of these partitions, until now."""
        gaps = [0.0]
        for number in partitions:
            times = [since_s, *(at for at in list(self.writes[number]) if at > since_s)]
            gaps += [later - earlier for earlier, later in pairwise([*times, time.monotonic()])]
        return max(gaps)

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()


@dataclass
class Position:
    """What one sample saw of a partition: committed, then durable, then applied."""

    committed: int = 0
    durable: int = 0
    applied: int | None = None


class WorkerProbe:
    """Asks living workers and the folder of snapshots; counts what processes hold.

    Attributes:
        positions: By ``topic/partition``, the newest answers of owners: offsets of ``/stats``.
        owners: By ``topic/partition``, pid of the worker that holds it.
        ahead: Where durable was above applied.
        two_owners_s: Longest time that two workers held a partition.
        memory_mb, descriptors, threads, tasks: Most that any worker had.
    """

    def __init__(self, workers: Callable[[], list[WorkerProcess]]) -> None:
        self._workers = workers
        self.positions: dict[str, dict[str, int | None]] = {}
        self.owners: dict[str, int] = {}
        self.ahead: list[str] = []
        self.two_owners_s = 0.0
        self._doubled_since: dict[str, float] = {}
        self.memory_mb = 0.0
        self.descriptors = 0
        self.threads = 0
        self.tasks = 0
        self._memory: dict[int, list[tuple[float, float]]] = defaultdict(list)

    def look(self) -> None:
        """Take one sample."""
        holders: dict[str, list[int]] = defaultdict(list)
        for worker in self._workers():
            self._count(worker.pid)
            if not worker.health:
                continue
            try:
                found = worker.stats(bound_s=_STOPPED_S)
            except (OSError, AssertionError, ValueError):
                continue  # It ends, or it is stopped.
            self.tasks = max(self.tasks, found.get("tasks", 0))  # An older version does not say.
            for key, offsets in found["positions"].items():
                holders[key].append(worker.pid)
                self.positions[key] = offsets
                self.owners[key] = worker.pid
                if (offsets["durable"] or 0) > (offsets["next"] or 0):
                    self.ahead.append(f"{key}: durable {offsets['durable']}, {offsets['next']}")
        self._note_doubles({key for key, pids in holders.items() if len(pids) > 1})

    def _note_doubles(self, doubled: set[str]) -> None:
        now_s = time.monotonic()
        self._doubled_since = {key: self._doubled_since.get(key, now_s) for key in doubled}
        longest = max((now_s - since for since in self._doubled_since.values()), default=0.0)
        self.two_owners_s = max(self.two_owners_s, longest)

    def _count(self, pid: int) -> None:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            memory_mb = process.memory_info().rss / 2**20
            self.memory_mb = max(self.memory_mb, memory_mb)
            self.descriptors = max(self.descriptors, process.num_fds())
            self.threads = max(self.threads, process.num_threads())
            self._memory[pid].append((time.monotonic(), memory_mb))

    def memory_slope(self, pid: int) -> float | None:
        """Return a process' growth in MB per minute over the later half of its life."""
        samples = self._memory[pid][len(self._memory[pid]) // 2 :]
        if len(samples) < 20:
            return None
        seconds, sizes = zip(*samples, strict=True)
        return round(float(linear_regression(seconds, sizes).slope) * 60.0, 2)


def durable_offsets(folder: Path, topics: dict[str, str]) -> dict[str, int]:
    """Return ``topic/partition`` to the highest offset that a snapshot's name says.

    Args:
        folder: Of snapshots.
        topics: Kind in a snapshot's name to topic.
    """
    found: dict[str, int] = {}
    for path in folder.glob("*.snapshot"):
        if match := _SNAPSHOT.fullmatch(path.name):
            key = f"{topics[match[1]]}/{int(match[2])}"
            found[key] = max(found.get(key, 0), int(match[3]))
    return found


@dataclass
class CommitProbe:
    """Compares what the group has committed with what is durable: in this order (I2).

    Attributes:
        samples: Answers of the group.
        ahead: Where committed was above durable.
    """

    bootstrap: str
    group: str
    durable: Callable[[], dict[str, int]]
    samples: int = 0
    ahead: list[str] = field(default_factory=list)
    _admin: Any = None

    def look(self) -> None:
        """Take one sample; a broker that is away gives none."""
        try:
            if self._admin is None:
                self._admin = KafkaAdminClient(
                    bootstrap_servers=self.bootstrap, request_timeout_ms=3_000
                )
            found = self._admin.list_group_offsets({self.group: None})[self.group]
        except (KafkaError, OSError, KeyError):
            self.close()
            return
        committed = {f"{tp.topic}/{tp.partition}": int(each.offset) for tp, each in found.items()}
        durable = self.durable()
        self.samples += 1
        for key, offset in committed.items():
            if offset > durable.get(key, 0):
                self.ahead.append(f"{key}: committed {offset}, durable {durable.get(key, 0)}")

    def close(self) -> None:
        """Close the client."""
        admin, self._admin = self._admin, None
        if admin is not None:
            with suppress(KafkaError, OSError):
                admin.close()
