"""A TCP proxy on loopback that does to a connection what networks and dying servers do.

In front of Redis: clients take ``proxy.port``. In front of Kafka: the broker must also *advertise*
the proxy, or clients leave it after their first request; :func:`proxied_listener` gives the
properties. The proxy has a thread and an event loop of its own, so that a plain program, an asyncio
test and another process can all use it, and so that it goes on while its client's loop is blocked.
Absent: anything on the level of packets; loss and reordering cannot be seen above TCP.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from local.ports import LOOPBACK, free_port

Direction = Literal["requests", "answers"]
# When each is due, on the loop's clock, and its bytes; no bytes are the end of a direction.
_Chunks = asyncio.Queue[tuple[float, bytes]]

_CHUNK_BYTES = 65_536
# Per direction of a connection; what is beyond it waits in the sender's socket.
_MAX_DELAYED_CHUNKS = 64
# A throttled line passes bytes this often, so that a slow line is slow and not jerky.
_THROTTLE_STEP_S = 0.02
_SWITCH_TIMEOUT_S = 60.0
_RESET_TIMEOUT_S = 10.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 s.


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with the line, all at once; the default is nothing.

    Attributes:
        refuse: New connections find nobody listening; those that stand go on.
        reset: New connections are accepted and reset at once.
        black_hole: Bytes of these directions are held, neither passed nor refused; on healing
            they go on, as TCP's own retransmission would have it.
        delay_ms: Added to each chunk's way, per direction; the order stays.
        jitter_ms: At most so much more, drawn per chunk.
        bytes_per_s: What a direction of a connection passes at most; None for no bound.
        cut_after_bytes: A connection is closed when it passed so many bytes of ``cut_direction``
            since this fault was set, or since its own begin where that came later; a pair draws
            from ``[low, high]``. None for never.
        cut_direction: Whose bytes are counted.
        num_cuts: How many connections are cut before the rest are left alone; None for all.
    """

    refuse: bool = False
    reset: bool = False
    black_hole: frozenset[Direction] = frozenset()
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    bytes_per_s: int | None = None
    cut_after_bytes: int | tuple[int, int] | None = None
    cut_direction: Direction = "answers"
    num_cuts: int | None = None


NO_FAULT = Fault()
REFUSED = Fault(refuse=True)
BLACK_HOLE = Fault(black_hole=frozenset({"requests", "answers"}))


class FaultProxy:
    """A line to ``target_port`` whose faults are switched while it runs.

    ``with FaultProxy(redis.port, seed=3) as proxy: ... proxy.set(Fault(delay_ms=200)); ...``.
    Every switch is in force when the call returns. What is drawn for the n-th connection is a
    function of seed and n.

    Args:
        target_port: Where it leads, on loopback; nothing need listen there yet.
        port: Where it listens; None for a free one, kept while refused.
        seed: For jitter and for cuts.
        fault: What is wrong from the start.
        max_connections: More are reset at once.
    """

    def __init__(
        self,
        target_port: int,
        *,
        port: int | None = None,
        seed: int = 0,
        fault: Fault = NO_FAULT,
        max_connections: int = 1_000,
    ) -> None:
        self.target_port = target_port
        self.port = free_port() if port is None else port
        self.seed = seed
        self.fault = fault
        self.num_accepted = 0
        self.num_cut = 0
        self.num_bytes: dict[Direction, int] = {"requests": 0, "answers": 0}
        self._max_connections = max_connections
        self._lines: set[_Line] = set()
        self._cuts_before = 0
        self._listener: socket.socket | None = None
        self._accepted: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._switched = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FaultProxy:
        """Listen, unless refused from the start."""
        self._thread.start()
        self._do(self._apply(self.fault))
        return self

    def __exit__(self, *_: object) -> None:
        """Reset every connection and end the thread."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SWITCH_TIMEOUT_S)
        self._loop.close()

    @property
    def bootstrap(self) -> str:
        """``host:port`` of the proxy."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def redis_url(self) -> str:
        """``redis://host:port/0`` of the proxy."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def num_open(self) -> int:
        """Connections that stand now."""
        return len(self._lines)

    def set(self, fault: Fault) -> None:
        """Make this what is wrong from now on, instead of what was."""
        self._do(self._apply(fault))

    def heal(self) -> None:
        """Make nothing wrong any more; connections that stand go on."""
        self.set(NO_FAULT)

    def reset_all(self) -> int:
        """Reset each connection that stands now (RST, both ends); return how many."""
        return self._do(self._reset_all())

    def redirect(self, target_port: int) -> None:
        """Lead new connections elsewhere and reset those that stand: a fail-over."""
        self.target_port = target_port
        self.reset_all()

    def _do(self, switch: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(switch, self._loop).result(_SWITCH_TIMEOUT_S)

    async def _apply(self, fault: Fault) -> None:
        self.fault = fault
        self._cuts_before = self.num_cut
        self._switched.set()  # Wakes whoever holds or slows bytes for the fault before.
        self._switched = asyncio.Event()
        if fault.refuse and self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        elif not fault.refuse and self._listener is None:
            # Our own, not an asyncio.Server: that one leaves a connection hanging which it
            # accepted just before it was closed.
            self._listener = socket.create_server((LOOPBACK, self.port), backlog=1_024)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _reset_all(self) -> int:
        lines = list(self._lines)
        for line in lines:
            line.reset()
        for line in lines:
            try:
                await asyncio.wait_for(line.ended.wait(), _RESET_TIMEOUT_S)
            except TimeoutError:
                message = f"expected a connection to end when it is reset, it did not: {line!r}"
                raise AssertionError(message) from None
        return len(lines)

    async def _end(self) -> None:
        await self._apply(REFUSED)
        await self._reset_all()
        await asyncio.gather(*self._accepted, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # It left before it was met.
        self.num_accepted += 1
        if self.fault.reset or len(self._lines) >= self._max_connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            connection.close()
            return
        line = _Line(self, random.Random(f"{self.seed}-{self.num_accepted}"))
        self._lines.add(line)
        task = line.serving = self._loop.create_task(line.run(connection))
        self._accepted.add(task)

        def end(_: object) -> None:
            # Not in the task itself: one that is cancelled before it began runs no "finally".
            self._accepted.discard(task)
            self._lines.discard(line)
            line.ended.set()
            if not line.has_begun:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                connection.close()

        task.add_done_callback(end)

    def may_cut(self) -> bool:
        """Say whether the fault in force still has connections to cut; called by its lines."""
        bound = self.fault.num_cuts
        return bound is None or self.num_cut - self._cuts_before < bound

    async def wait_switched(self, timeout_s: float | None) -> None:
        """Wait for the next switch, at most so long; called by its lines."""
        try:
            await asyncio.wait_for(self._switched.wait(), timeout_s)
        except TimeoutError:
            return


class _Line:
    """One connection: two directions, each a reader and a writer with a bounded queue between."""

    def __init__(self, proxy: FaultProxy, draw: random.Random) -> None:
        self.ended = asyncio.Event()
        self.has_begun = False
        self._proxy = proxy
        self._draw = draw
        self._ends: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Future[None]] = []
        self.serving: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<line of {self._ends}: {self._tasks}, {self.serving}>"

    def reset(self) -> None:
        """End both ends with RST."""
        for writer in self._ends:
            _reset(writer)
        for task in self._tasks:
            task.cancel()
        if not self._tasks and self.serving is not None:
            self.serving.cancel()  # It still waits for its other end.

    async def run(self, connection: socket.socket) -> None:
        """Pass bytes both ways until an end closes or a fault ends it."""
        self.has_begun = True
        from_client, to_client = await asyncio.open_connection(sock=connection)
        self._ends.append(to_client)
        try:
            port = self._proxy.target_port
            from_target, to_target = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            _reset(to_client)
            return
        self._ends.append(to_target)
        there: _Chunks = asyncio.Queue(_MAX_DELAYED_CHUNKS)
        back: _Chunks = asyncio.Queue(_MAX_DELAYED_CHUNKS)
        steps = (
            self._read(from_client, there),
            self._pass("requests", there, to_target),
            self._read(from_target, back),
            self._pass("answers", back, to_client),
        )
        self._tasks = [asyncio.ensure_future(step) for step in steps]
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        if not all(task.done() for task in self._tasks):
            self.reset()  # One end was reset: so is the other.
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._ends:
            writer.close()
        for result in results:
            # Cancelled: reset or cut. An OSError: an end that was reset.
            if isinstance(result, Exception) and not isinstance(result, OSError):
                raise result

    async def _read(self, reader: asyncio.StreamReader, chunks: _Chunks) -> None:
        """Queue what comes, each chunk with the time at which it is due."""
        loop = asyncio.get_running_loop()
        while True:
            data = await reader.read(_CHUNK_BYTES)
            fault = self._proxy.fault
            delay_ms = fault.delay_ms + self._draw.random() * fault.jitter_ms
            await chunks.put((loop.time() + delay_ms / 1_000, data))
            if not data:
                return

    async def _pass(
        self, direction: Direction, chunks: _Chunks, writer: asyncio.StreamWriter
    ) -> None:
        """Write each chunk when it is due, as the fault in force at that moment lets it."""
        loop = asyncio.get_running_loop()
        fault: Fault | None = None
        left: int | None = None
        while True:
            due, data = await chunks.get()
            while self._proxy.fault.delay_ms and loop.time() < due:
                await self._proxy.wait_switched(due - loop.time())
            while direction in self._proxy.fault.black_hole:
                await self._proxy.wait_switched(None)
            if not data:
                writer.write_eof()
                return
            while data:
                while direction in self._proxy.fault.black_hole:
                    await self._proxy.wait_switched(None)
                if fault is not self._proxy.fault:
                    fault = self._proxy.fault
                    left = self._draw_cut(direction)
                size = len(data) if fault.bytes_per_s is None else _step(fault.bytes_per_s)
                size = min(size, len(data))
                is_cut = left is not None and size >= left and self._proxy.may_cut()
                if is_cut:
                    size = left
                await self._write(direction, data[:size], writer)
                if is_cut:
                    self._cut(writer)
                    return
                data = data[size:]
                left = None if left is None else left - size
                if fault.bytes_per_s is not None:
                    await self._proxy.wait_switched(size / fault.bytes_per_s)

    async def _write(self, direction: Direction, data: bytes, writer: asyncio.StreamWriter) -> None:
        self._proxy.num_bytes[direction] += len(data)
        writer.write(data)
        await writer.drain()

    def _draw_cut(self, direction: Direction) -> int | None:
        fault = self._proxy.fault
        if fault.cut_direction != direction:
            return None
        if isinstance(fault.cut_after_bytes, tuple):
            return self._draw.randint(*fault.cut_after_bytes)
        return fault.cut_after_bytes

    def _cut(self, passed_to: asyncio.StreamWriter) -> None:
        self._proxy.num_cut += 1
        for writer in self._ends:
            # The end that bytes went to must receive them all: FIN, where RST could overtake.
            if writer is passed_to:
                writer.close()
            else:
                _reset(writer)
        for task in self._tasks:
            task.cancel()


def proxied_listener(
    *, port: int, behind_port: int, proxy_port: int, controller_port: int
) -> dict[str, str | int]:
    """Return properties of a Kafka node with a second listener that clients reach by the proxy.

    ``KafkaServer(folder, port=port, properties=proxied_listener(...))``: a client that bootstraps
    at ``port`` goes past the proxy (an oracle, a producer of load), one that bootstraps at
    ``proxy_port`` stays behind it, since ``behind_port`` advertises that.
    """
    broker, behind = f"{LOOPBACK}:{port}", f"{LOOPBACK}:{behind_port}"
    controller = f"{LOOPBACK}:{controller_port}"
    return {
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"PLAINTEXT://{broker},PROXIED://{behind},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker},PROXIED://{LOOPBACK}:{proxy_port}",
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
    }


def _step(bytes_per_s: int) -> int:
    return max(1, int(bytes_per_s * _THROTTLE_STEP_S))


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
