"""The Faust app: created with the defaults that Headwater needs, run inside an asyncio program.

Faust's own worker command is absent: it takes over logging, signals and the loop, and starts a web
server. :func:`run_app` starts an app where a loop already runs and raises what ended it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import faust
from faust.transport.drivers import TRANSPORTS
from mode.supervisors import CrashingSupervisor
from yarl import URL

from consumers.faust_private import NoTables
from consumers.group_session import GroupSession
from consumers.ledger import OffsetLedger
from consumers.records import MAX_BATCH_BYTES, MAX_SLAB_BYTES
from consumers.transport import SlabOptions
from stream.errors import ConfigurationError
from stream.slab import Slab

logger = logging.getLogger(__name__)

# Slabs that wait in front of an agent: two keep it busy, more only cost memory (1 MiB each).
MAX_WAITING_SLABS = 2

# How often a running app is asked whether it crashed.
_CRASH_TICK_S = 0.25
# How long a crashed app may take to stop.
CRASHED_STOP_S = 10.0

# Never: a worker without partitions fetches nothing, and aiokafka would make it leave its group for
# good after this long (Faust's default is 1,000 s). Who hangs is our watchdog's business.
_MAX_POLL_INTERVAL_S = 10 * 366 * 86_400.0

# Brokers accept a session timeout between 6 s and 30 min by default.
DEFAULT_SESSION_TIMEOUT_S = 10.0

# A member hears by its next heartbeat that another one has left or wants to join: until then nobody
# reads what that one gave up. However long the session is, a hand-over should take about a second.
MAX_HEARTBEAT_S = 1.0


class App(faust.App):
    """A Faust app with a ledger; the slab transport reads all three attributes.

    Attributes:
        ledger: Where offsets come from.
        session: The lease on the partitions.
        slab_options: Which topics are slabs, and their bounds.
        slab_topics: Names of the slab topics.
    """

    ledger: OffsetLedger
    session: GroupSession
    slab_options: SlabOptions

    @property
    def slab_topics(self) -> frozenset[str]:
        """Names of the slab topics."""
        return self.slab_options.topics

    def slab_topic(self, name: str) -> Any:
        """Return the Faust topic of a slab topic, for ``@app.agent(app.slab_topic(name))``.

        The agent reads ``stream.noack().events()``; ``event.value`` is a
        :class:`stream.slab.Slab` and ``event.ack()`` frees it.
        """
        return self.topic(
            name,
            key_serializer="raw",
            value_serializer="raw",
            key_type=bytes,
            value_type=bytes,
        )


# Of every worker's app.
_ALWAYS: dict[str, Any] = {
    "autodiscover": False,
    "web_enabled": False,
    "store": "memory://",
    "key_serializer": "raw",
    "value_serializer": "raw",
    "agent_supervisor": CrashingSupervisor,
    "TableManager": NoTables,
    "consumer_auto_offset_reset": "earliest",
    "broker_max_poll_interval": _MAX_POLL_INTERVAL_S,
    "topic_allow_declare": False,
    "topic_disable_leader": True,
    # 0 would silently swap in an assignor that does not keep partitions where they are.
    "table_standby_replicas": 1,
    "stream_wait_empty": False,
    # Of the agent's own queue; a topic's maxsize is not handed on to it.
    "stream_buffer_maxsize": MAX_WAITING_SLABS,
}


def create_app(
    *,
    brokers: str,
    group: str,
    topics: Iterable[str],
    ledger: OffsetLedger,
    data_dir: Path,
    session_timeout_s: float = DEFAULT_SESSION_TIMEOUT_S,
    instance_id: str | None = None,
    max_slab_bytes: int = MAX_SLAB_BYTES,
    max_batch_bytes: int = MAX_BATCH_BYTES,
    fetch_max_wait_ms: int = 20,
    commit_interval_s: float = 1.0,
    request_timeout_s: float = 30.0,
    **faust_settings: Any,
) -> App:
    """Create the app; agents are declared on it before :func:`run_app`.

    Args:
        brokers: ``host:port``, several separated by commas.
        group: Consumer group, also Faust's app id.
        topics: Slab topics; each needs an agent.
        ledger: Where offsets come from.
        data_dir: Folder for Faust's own files; nothing of ours is in it.
        session_timeout_s: After this long without a heartbeat the group gives partitions away.
            Brokers accept 6 s and more by default.
        instance_id: Static membership: a worker restarted under the same name gets its partitions
            back without waiting for its old session; None for none.
        max_slab_bytes: Bound on one slab, and on one partition's part of a fetch.
        max_batch_bytes: Cap on one batch's decompressed bytes.
        fetch_max_wait_ms: Longest wait of the broker for new records.
        commit_interval_s: How often durable offsets that have grown are committed.
        request_timeout_s: Bound on one request to a broker.
        **faust_settings: Further settings of :class:`faust.App`; they win over the ones here.

    Raises:
        ConfigurationError: The folder cannot be made.
    """
    # The entry point in pyproject does this for an installed Headwater, this line for a checkout.
    TRANSPORTS.aliases.setdefault("slab", "consumers.transport:Transport")
    _raise_record_logging()
    _make_folder(data_dir)
    settings: dict[str, Any] = {
        **_ALWAYS,
        "broker": [URL(f"slab://{broker.strip()}") for broker in brokers.split(",")],
        # Faust takes it for a format string.
        "datadir": str(data_dir).replace("{", "{{").replace("}", "}}"),
        "consumer_max_fetch_size": max_slab_bytes,
        "consumer_group_instance_id": instance_id,
        "broker_session_timeout": session_timeout_s,
        "broker_heartbeat_interval": min(session_timeout_s / 5, MAX_HEARTBEAT_S),
        "broker_request_timeout": max(request_timeout_s, session_timeout_s),
        "broker_commit_interval": commit_interval_s,
    }
    app = App(group, **{**settings, **faust_settings})
    app.ledger = ledger
    app.session = GroupSession(timeout_s=session_timeout_s)
    app.slab_options = SlabOptions(
        topics=frozenset(topics),
        max_slab_bytes=max_slab_bytes,
        max_batch_bytes=max_batch_bytes,
        fetch_max_wait_ms=fetch_max_wait_ms,
    )
    return app


def hand_slabs_over(app: App, accept: Callable[[Slab], Awaitable[None]]) -> None:
    """Declare one agent per slab topic that awaits ``accept(slab)`` for each slab."""
    for topic in sorted(app.slab_topics):

        async def hand_over(stream: Any) -> None:
            async for event in stream.noack().events():
                await accept(event.value)
                event.ack()

        app.agent(app.slab_topic(topic), name=topic)(hand_over)


def _make_folder(data_dir: Path) -> None:
    """Make Faust's folder: it does so itself, but not what holds it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"HEADWATER_DATA_DIR: expected a folder that is there or can be made, got {data_dir}: "
            f"{error.strerror or error}"
        )
        raise ConfigurationError(message) from error


def _raise_record_logging() -> None:
    # Faust formats a DEBUG record for every message it sends, also where nobody listens.
    for name in ("faust.topics", "faust.transport.drivers.aiokafka"):
        stock = logging.getLogger(name)
        if stock.level < logging.INFO:
            stock.setLevel(logging.INFO)


async def run_app(app: App, *, crashed_stop_s: float = CRASHED_STOP_S) -> None:
    """Run the app in the running loop until ``app.stop()`` or cancellation; then stop cleanly.

    A clean stop releases all partitions through the ledger, commits their durable offsets and
    leaves the group. After a crash nothing is released.

    Args:
        app: With its agents.
        crashed_stop_s: How long a crashed app may take to stop; whatever hangs then is left behind.

    Raises:
        HeadwaterError: What ended the app, where it was one of ours.
        Exception: Whatever else crashed the app.
    """
    app.loop = asyncio.get_running_loop()
    app.finalize()
    running = asyncio.create_task(_start_and_wait(app), name="faust-app")
    try:
        # Looked at, not only waited for: an app that crashes while it starts may never say so.
        while not app.crashed:
            done, _ = await asyncio.wait({running}, timeout=_CRASH_TICK_S)
            if done:
                break
    finally:
        running.cancel()
        crash = app.crash_reason if app.crashed else None
        try:
            async with asyncio.timeout(None if crash is None else crashed_stop_s):
                await app.stop()
        except TimeoutError:
            logger.error("the crashed app did not stop within %g s", crashed_stop_s)
    if crash is None and running.done() and not running.cancelled():
        crash = running.exception()
    if crash is not None:
        raise crash


async def _start_and_wait(app: App) -> None:
    await app.start()
    await app.wait_until_stopped()
