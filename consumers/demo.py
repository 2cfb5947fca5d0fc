"""The demo: servers, one worker as a process of its own, the simulator, a live view, a summary.

Steps: 1. start Kafka and Redis where no setting names them; 2. create topics and start a worker;
3. simulate; 4. let the worker drain; 5. stop all, judge: nothing rejected, nothing lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.live import Live

from consumers.console import say
from consumers.demo_topics import as_environment, delete_topics, settings_apart
from consumers.demo_view import View, render
from consumers.lists import read_list
from consumers.produce import ProduceReport, Record, produce_interactions
from consumers.security import kafka_options, redis_options, refuse_unnamed
from consumers.stack import Stack
from consumers.stopping import stop_on_signals
from consumers.supervision import finish_or_stop
from local.process import ending_with_us
from local.scratch import ScratchFolder
from local.simulator import Simulator
from stream.errors import HeadwaterError, ServerUnreachable
from stream.settings import Settings

_ROOT = Path(__file__).resolve().parent.parent
# The weights that a documented command trained on the simulator's log (docs/weights.md).
DEMO_WEIGHTS = _ROOT / "models" / "demo_weights"
_START_BOUND_S = 600.0
_DRAIN_BOUND_S = 30.0
_ANSWER_BOUND = aiohttp.ClientTimeout(total=5.0)
_REFRESH_S = 0.25
_MAX_ACTIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the demo's command takes.

    Attributes:
        seconds: How long the simulator runs.
        headless: No live view.
        events_per_s: Events per second of wall time.
        speed: Seconds of the simulated world per second of wall time.
        num_users, num_items, seed: The simulated world.
    """

    seconds: float
    headless: bool
    events_per_s: float
    speed: float
    num_users: int
    num_items: int
    seed: int


class WorkerProcess:
    """A ``headwater worker`` as a child process, ended with us.

    Args:
        settings: Handed on through the environment.
        kafka: Bootstrap servers.
        redis: Redis URL.
        data_dir: Snapshots of this run.
        log_path: Where the worker logs.
    """

    def __init__(
        self, settings: Settings, *, kafka: str, redis: str, data_dir: Path, log_path: Path
    ) -> None:
        self._environment = {
            **os.environ,
            **as_environment(settings),
            "HEADWATER_KAFKA": kafka,
            "HEADWATER_REDIS": redis,
            "HEADWATER_DATA_DIR": str(data_dir),
        }
        if settings.ranking.weights is None and DEMO_WEIGHTS.is_dir():
            self._environment["HEADWATER_RANKING__WEIGHTS"] = str(DEMO_WEIGHTS)
        if settings.kafka is None:
            # One worker, and a log that ends with us: each further partition would be a batch more.
            for name in ("PARTITIONS", "ITEM_PARTITIONS"):
                self._environment.setdefault(f"HEADWATER_TOPICS__{name}", "1")
        self._log_path = log_path
        self._process: asyncio.subprocess.Process | None = None
        self.health = ""

    async def start(self) -> None:
        """Start the worker and return when it is ready.

        Raises:
            HeadwaterError: If it ended, or was not ready within its bound.
        """
        with self._log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *ending_with_us([sys.executable, "-m", "consumers.cli", "worker", "--json"]),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment,
                cwd=_ROOT,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _START_BOUND_S)
        except TimeoutError:
            line = b""
        if not line:
            await self.stop()
            message = f"the worker did not start; its last words:\n{self.last_words()}"
            raise HeadwaterError(message)
        self.health = json.loads(line)["health"]

    def last_words(self) -> str:
        """Return the end of the worker's log."""
        with contextlib.suppress(OSError):
            return self._log_path.read_text(errors="replace")[-2000:]
        return ""

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process is None or self._process.returncode is not None

    async def stats(self, session: aiohttp.ClientSession) -> dict[str, Any] | None:
        """Return the worker's figures; None where it does not answer: it may just have ended."""
        try:
            async with session.get(f"{self.health}/stats", timeout=_ANSWER_BOUND) as response:
                found: dict[str, Any] = await response.json()
                return found
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def stop(self) -> int:
        """End the worker gracefully, then hard; return its exit code."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), _DRAIN_BOUND_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        return self._process.returncode or 0


async def run_demo(settings: Settings, options: DemoOptions) -> tuple[dict[str, Any], bool]:
    """Run the demo; return the summary and whether it was good.

    Raises:
        HeadwaterError: A signal came before the worker was ready.
    """
    refuse_unnamed(settings)
    async with stop_on_signals() as stop:
        return await _run_until(settings, options, stop)


async def _run_until(
    settings: Settings, options: DemoOptions, stop: asyncio.Event
) -> tuple[dict[str, Any], bool]:
    started = time.monotonic()
    if settings.kafka is not None:
        settings = settings_apart(settings, f"headwater-demo-{uuid.uuid4().hex[:8]}")
        say(f"on {settings.kafka} with topics of its own, {settings.worker.group}-...")
    if settings.redis is not None:
        say("lists of simulated users go to the Redis that HEADWATER_REDIS names")
    with ScratchFolder("headwater-demo-") as scratch:
        stack = Stack(
            kafka=settings.kafka,
            redis=settings.redis.get_secret_value() if settings.redis else None,
            data_dir=scratch,
            say=say,
        )
        await asyncio.to_thread(stack.start)
        worker = WorkerProcess(
            settings,
            kafka=stack.kafka,
            redis=stack.redis,
            data_dir=scratch / "state",
            log_path=scratch / "worker.log",
        )
        try:
            say("starting a worker (the first time kernels are compiled: about a minute)")
            if stop.is_set() or not await finish_or_stop(worker.start(), stop):
                message = "stopped before the worker was ready"
                raise HeadwaterError(message)
            say(f"worker ready after {time.monotonic() - started:.1f} s, health {worker.health}")
            return await _Run(settings, options, stack, worker, started).play(stop)
        finally:
            await worker.stop()
            if settings.kafka is not None:
                connection = kafka_options(settings.kafka_security)
                await delete_topics(stack.kafka, settings.topics, client_options=connection)
            await asyncio.to_thread(stack.stop)


class _Run:
    """One demo from the first event to the summary."""

    def __init__(
        self,
        settings: Settings,
        options: DemoOptions,
        stack: Stack,
        worker: WorkerProcess,
        started: float,
    ) -> None:
        self._settings = settings
        self._options = options
        self._stack = stack
        self._worker = worker
        self._started = started
        self._report = ProduceReport()
        self._view = View()
        self._first_list_s: float | None = None
        self._places: dict[bytes, int] = {}

    def _followed(self, blocks: Iterator[Sequence[Record]]) -> Iterator[Sequence[Record]]:
        """Pass blocks on; note what the user does whose list is shown."""
        for block in blocks:
            for _, topic, key, value, _ in block:
                if topic == "interactions" and key is not None and value is not None:
                    self._note(key, value)
            yield block

    def _note(self, key: bytes, value: bytes) -> None:
        """Follow the first user who acts a third time, for good: one whose list moves."""
        view = self._view
        if not view.user_id:
            self._places[key] = self._places.get(key, 0) + 1
            if self._places[key] < 3:
                return
            view.user_id = key.decode()
        if key.decode() == view.user_id:
            event = json.loads(value)
            view.actions.insert(0, f"{event['type']} {event.get('item_id', '')}")
            del view.actions[_MAX_ACTIONS:]

    async def play(self, stop: asyncio.Event) -> tuple[dict[str, Any], bool]:
        """Simulate until the time is over or ``stop`` is set; watch, drain, judge."""
        options = self._options
        simulator = Simulator(
            seed=options.seed,
            num_users=options.num_users,
            num_items=options.num_items,
            events_per_s=options.events_per_s / options.speed,
            # A faster world starts in the past: an event from the future would be refused.
            start_ms=round((time.time() - options.seconds * (options.speed - 1.0)) * 1000),
        )
        async with aiohttp.ClientSession() as session:
            producing = asyncio.create_task(
                produce_interactions(
                    self._followed(simulator.blocks()),
                    brokers=self._stack.kafka,
                    topic=self._settings.topics.interactions,
                    items_topic=self._settings.topics.items,
                    speed=options.speed,
                    on_progress=self._on_progress,
                    stop=stop,
                    client_options=kafka_options(self._settings.kafka_security),
                )
            )
            asyncio.get_running_loop().call_later(options.seconds, stop.set)
            await self._watch(session, stop, producing)
            self._report = await producing
            stats = await self._drain(session)
        exit_code = await self._worker.stop()
        if exit_code:
            say(f"the worker's last words:\n{self._worker.last_words()}")
        return self._judge(stats, exit_code)

    def _on_progress(self, report: ProduceReport) -> None:
        self._report = report

    async def _watch(
        self, session: aiohttp.ClientSession, stop: asyncio.Event, producing: asyncio.Task[Any]
    ) -> None:
        begun = time.monotonic()
        live = Live(console=Console(), screen=False, auto_refresh=False)
        with contextlib.nullcontext() if self._options.headless else live:
            before: tuple[float, int, int] = (begun, 0, 0)
            while not stop.is_set() and not producing.done():
                await asyncio.sleep(_REFRESH_S)
                if self._worker.has_ended:
                    stop.set()
                    break
                stats = await self._worker.stats(session)
                if stats is None:
                    continue
                now = time.monotonic()
                if self._first_list_s is None and stats["lists_written"]:
                    self._first_list_s = now - self._started
                self._view.stats = stats
                self._view.seconds = now - begun
                self._view.produced = self._report.acknowledged
                if now - before[0] >= 1.0:
                    span = now - before[0]
                    self._view.events_per_s = (stats["applied"] - before[1]) / span
                    self._view.lists_per_s = (stats["lists_written"] - before[2]) / span
                    before = (now, stats["applied"], stats["lists_written"])
                if not self._options.headless:
                    await self._show_user()
                    live.update(render(self._view), refresh=True)

    async def _show_user(self) -> None:
        """Show one active user's list, and what changed after each action."""
        view = self._view
        if not view.user_id:
            return
        url = self._stack.redis
        options = redis_options(self._settings.redis_security, url)
        found = await read_list(url, view.user_id, client_options=options)
        if found is None:
            return
        ids = tuple(str(item["id"]) for item in found["items"])
        shown = tuple(str(item["id"]) for item in view.items)
        if ids != shown:
            view.previous_ids = shown
            view.items = found["items"]
        view.model, view.age_ms = found["model"], found["age_ms"]

    async def _drain(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        """Wait until every produced event is read, folded by item and answered, within a bound."""
        deadline = time.monotonic() + _DRAIN_BOUND_S
        stats: dict[str, Any] = dict(self._view.stats)
        while not self._worker.has_ended and time.monotonic() < deadline:
            stats = await self._worker.stats(session) or stats
            if stats and self._is_drained(stats):
                break
            await asyncio.sleep(0.05)
        return stats

    def _is_drained(self, stats: dict[str, Any]) -> bool:
        own = stats["read"] - stats["routed"]
        is_answered = not stats["freshness_ms"]["outstanding"]
        return own >= self._report.acknowledged and is_answered and not stats["lag"]

    def _judge(self, stats: dict[str, Any], exit_code: int) -> tuple[dict[str, Any], bool]:
        if not stats:
            message = f"the worker ended early:\n{self._worker.last_words()}"
            raise ServerUnreachable(message)
        freshness = stats["freshness_ms"]
        summary: dict[str, Any] = {"produced": self._report.acknowledged}
        for name in ("read", "applied", "duplicate", "late", "rejected", "filtered", "routed"):
            summary[name] = stats[name]
        summary |= {
            "lists_written": stats["lists_written"],
            "users_with_list": stats["users_with_list"],
            "first_list_s": None if self._first_list_s is None else round(self._first_list_s, 2),
            "freshness_ms": {name: freshness[name] for name in ("p50", "p99", "max")},
            "lag_end": stats["lag"],
            "model": stats["model"],
        }
        reasons = []
        if summary["produced"] != stats["read"] - stats["routed"]:
            reasons.append(
                f"produced {summary['produced']} but read {stats['read'] - stats['routed']}"
            )
        if stats["lag"]:
            reasons.append(f"{stats['lag']} records not read")
        if stats["rejected"]:
            reasons.append(f"{stats['rejected']} rejected")
        if freshness["outstanding"]:
            reasons.append(f"{freshness['outstanding']} events without a list")
        if self._report.failed or self._report.error:
            reasons.append(f"producing failed: {self._report.error}")
        if exit_code:
            reasons.append(f"the worker ended with exit code {exit_code}")
        summary["exit_reason"] = "; ".join(reasons) or "done"
        return summary, not reasons
