"""Headwater as a process of a test: servers and a worker, or one replay.

The engine lives in an environment of its own (a checkout, pipx, a container); nothing of it is
imported here. ``headwater up --json`` starts Kafka, Redis and a worker and says where they are;
``headwater replay FILE --json`` folds a log and prints figures.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from headwater_client.errors import EngineFailed

# The first start on a machine compiles kernels for some minutes.
START_BOUND_S = 600.0
REPLAY_BOUND_S = 600.0
_STOP_BOUND_S = 30.0
_ANSWER_BOUND_S = 10.0
_LAST_WORDS_S = 5.0
_POLL_S = 0.02
_SHOWN_CHARS = 2_000


Found = TypeVar("Found")


class Replayed(BaseModel):
    """What folding a log came to; ``read`` is the sum of the six counters after it.

    Attributes:
        read: Lines.
        applied: Events that changed state.
        duplicate: Events whose ``event_id`` their user had before.
        late: Events older than the grace.
        rejected: Lines that are no event.
        filtered: Events over a rate limit.
        routed: Events of another partition; none in a replay.
        users: Users known at the end.
        items: Items known at the end.
        digest: Hash of the state: the same log gives the same one, at the same ``partitions``.
        digest_rows: Hash of the co-occurrence rows.
        evicted: Users and items that had to go for want of room.
        overflowed: Pairs that found no room.
        seconds: How long it took.
    """

    model_config = ConfigDict(frozen=True)

    read: int
    applied: int
    duplicate: int
    late: int
    rejected: int
    filtered: int
    routed: int
    users: int
    items: int
    digest: str
    digest_rows: str
    evicted: int
    overflowed: int
    seconds: float


def find_command(command: str) -> list[str]:
    """Return the words of a command whose program exists.

    Raises:
        EngineFailed: There is no such program.
    """
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        message = (
            f"expected Headwater's command {command!r} on the PATH, it is not there: install the "
            f"engine in an environment of its own and name its command in --headwater-command or "
            f"HEADWATER_COMMAND"
        )
        raise EngineFailed(message)
    return words


def environment_with(settings: Mapping[str, object]) -> dict[str, str]:
    """Return the environment of the engine: ours, but of Headwater's settings only the given ones.

    A ``HEADWATER_KAFKA`` that names a real cluster must not bring a test's events there.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    return {**kept, **{f"HEADWATER_{name}": str(value) for name, value in settings.items()}}


class EngineProcess:
    """Kafka, Redis and one worker; started by :meth:`start`, ended by :meth:`stop`.

    Attributes:
        kafka: Bootstrap servers, ``host:port``.
        redis: URL.
        health: URL of the worker's health address.

    Args:
        command: Words of the command ``headwater``.
        settings: Settings by their name in the environment, without the prefix.
        log_path: Where what it says goes.
    """

    def __init__(
        self, command: Sequence[str], *, settings: Mapping[str, object], log_path: Path
    ) -> None:
        self._command = [*command, "up", "--json"]
        self._settings = settings
        self._log_path = log_path
        self._process: subprocess.Popen[str] | None = None
        self.kafka = self.redis = self.health = ""

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def start(self) -> None:
        """Start it and wait until everything answers.

        Raises:
            EngineFailed: It ended, or took too long; with the end of what it said.
        """
        with self._log_path.open("w") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment_with(self._settings),
                # Ctrl-C goes to pytest alone, which then ends this one in order.
                start_new_session=True,
            )
        line = self._first_line(self._process)
        try:
            addresses = json.loads(line)
            self.kafka, self.redis = addresses["kafka"], addresses["redis"]
            self.health = addresses["health"]
        except (ValueError, KeyError, TypeError):
            # One that ends by itself says why at the very end.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_WORDS_S)
            self.stop()
            raise self._failed(line, act="print its addresses") from None

    def stop(self) -> None:
        """End it and what it started; safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_BOUND_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def stats(self) -> dict[str, Any]:
        """Return the worker's figures.

        Raises:
            EngineFailed: It does not answer.
        """
        try:
            with urllib.request.urlopen(f"{self.health}/stats", timeout=_ANSWER_BOUND_S) as answer:
                found: dict[str, Any] = json.load(answer)
        except (OSError, ValueError) as error:
            raise self._failed(repr(error), act="answer") from error
        return found

    def settle(self, timeout_s: float = 60.0) -> None:
        """Wait until every event sent so far has counted, and its user's list is in Redis to stay.

        The lists of similar items and the trending list follow at their own pace: wait for them
        with :meth:`until`.

        Raises:
            EngineFailed: It did not come to rest within the bound.
        """
        # Here, so that a plugin that pytest always loads costs little.
        from headwater_client.kafka_python import KafkaConsumer

        deadline = time.monotonic() + timeout_s
        consumer = KafkaConsumer(bootstrap_servers=self.kafka.split(","))
        try:
            while not self._is_settled(consumer):
                if time.monotonic() > deadline:
                    act = f"come to rest within {timeout_s:g} s"
                    raise self._failed(str(self.stats()), act=act)
                time.sleep(_POLL_S)
        finally:
            consumer.close()

    def until(self, read: Callable[[], Found | None], timeout_s: float = 60.0) -> Found:
        """Call again and again until something comes that is neither None nor empty; return it.

        Raises:
            EngineFailed: Nothing came within the bound.
        """
        deadline = time.monotonic() + timeout_s
        while not (found := read()):
            if time.monotonic() > deadline:
                act = f"bring about what was waited for within {timeout_s:g} s"
                raise self._failed(repr(found), act=act)
            time.sleep(_POLL_S)
        return found

    def _is_settled(self, consumer: Any) -> bool:
        from headwater_client.kafka_python import TopicPartition

        stats = self.stats()
        places = {}
        for place, offsets in stats["positions"].items():
            topic, _, partition = place.rpartition("/")
            # An event has counted for items too once its derived rows are acknowledged.
            places[TopicPartition(topic, int(partition))] = min(
                offsets["next"] or 0, offsets.get("acknowledged", offsets["next"]) or 0
            )
        if not places or consumer.end_offsets(list(places)) != places:
            return False
        return not stats["dirty"] and not stats["freshness_ms"]["outstanding"]

    def _first_line(self, process: subprocess.Popen[str]) -> str:
        """Return the first line of stdout; empty when it ended or took too long."""
        assert process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(
            target=lambda stream: lines.put(stream.readline()), args=(process.stdout,), daemon=True
        )
        reader.start()
        try:
            return lines.get(timeout=START_BOUND_S)
        except queue.Empty:
            # Only its end ends the thread that reads.
            process.kill()
            reader.join()
            return ""

    def _failed(self, came: str, *, act: str) -> EngineFailed:
        return EngineFailed(
            f"expected `{shlex.join(self._command)}` to {act}, got {came[:_SHOWN_CHARS]!r}; it "
            f"said:\n{self.log[-_SHOWN_CHARS:]}"
        )


def run_replay(
    command: Sequence[str],
    log: Path,
    *,
    items: Path | None,
    partitions: int,
    settings: Mapping[str, object],
) -> Replayed:
    """Fold a log in a process of its own and return the figures.

    Raises:
        EngineFailed: There is no such log, or it did not end well; with the end of what it said.
    """
    for path in (log, items):
        # The engine would take a name without a file for that of a topic.
        if path is not None and not path.exists():
            message = f"expected a log at {path}, there is nothing; is the path right from here?"
            raise EngineFailed(message)
    words = [*command, "replay", str(log), "--partitions", str(partitions), "--json"]
    if items is not None:
        words += ["--items", str(items)]
    try:
        done = subprocess.run(
            words,
            env=environment_with(_without_servers(settings)),
            capture_output=True,
            text=True,
            timeout=REPLAY_BOUND_S,
            check=False,
        )
        return Replayed.model_validate_json((done.stdout.splitlines() or [""])[-1])
    except subprocess.TimeoutExpired as error:
        message = f"expected `{shlex.join(words)}` to end within {REPLAY_BOUND_S:g} s, it did not"
        raise EngineFailed(message) from error
    except ValidationError:
        message = (
            f"expected `{shlex.join(words)}` to print its figures, it ended with exit code "
            f"{done.returncode} and said:\n{done.stderr[-_SHOWN_CHARS:]}"
        )
        raise EngineFailed(message) from None


def _without_servers(settings: Mapping[str, object]) -> dict[str, object]:
    """Leave out where servers are: a file is folded without any."""
    return {name: value for name, value in settings.items() if name not in ("KAFKA", "REDIS")}
