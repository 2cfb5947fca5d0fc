"""HealthServer: ``/healthz``, ``/readyz``, ``/metrics`` and ``/stats``, on loopback by default.

Alive means works: ``/healthz`` asks the watchdog's question, not whether the process answers.
Absent on purpose: any address but the one given. Paths that show state come from
``consumers.questions`` and answer nobody but this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from consumers.metrics_registry import MetricsRegistry
from stream.errors import ConfigurationError

Reasons = Callable[[], Sequence[str]]

_TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


class HealthServer:
    """A small HTTP server beside the worker, on its event loop.

    Args:
        registry: What ``/metrics`` shows.
        why_stuck: Reasons why the worker does not work; empty when it does. 503 with reasons.
        why_not_ready: Reasons why lists are not fresh yet (catching up, Redis away); empty when
            ready. A worker that is not ready lives: nobody should restart it for that.
        stats: Figures that ``/stats`` answers as one JSON object; never an id.
        routes: Further paths.
        host: Loopback unless a setting says otherwise.
        port: 0 takes a free one.
    """

    def __init__(
        self,
        *,
        registry: MetricsRegistry,
        why_stuck: Reasons,
        why_not_ready: Reasons,
        stats: Callable[[], Mapping[str, Any]] = dict,
        routes: Sequence[web.RouteDef] = (),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._registry = registry
        self._why_stuck = why_stuck
        self._why_not_ready = why_not_ready
        self._stats = stats
        self._routes = tuple(routes)
        self._host = host
        self._asked_port = port
        self._port: int | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """``http://host:port`` once started; where it listens everywhere, the loopback address."""
        assert self._port is not None, "call start() first"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: The port is taken, or may not be used.
        """
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/stats", self._read_stats),
                *self._routes,
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._asked_port)
        try:
            await site.start()
        except OSError as error:
            message = (
                f"expected to listen on {self._host}:{self._asked_port} for health and metrics, "
                f"came {error.strerror or error}: set HEADWATER_WORKER__HEALTH_PORT to a free "
                "port, or to 0, and HEADWATER_WORKER__HEALTH_HOST to an address of this machine"
            )
            raise ConfigurationError(message) from error
        self._port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close; safe to call at any time."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _verdict(self._why_stuck())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _verdict([*self._why_stuck(), *self._why_not_ready()])

    async def _read_stats(self, _: web.Request) -> web.Response:
        return web.json_response(dict(self._stats()))

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._registry.expose(), headers={"Content-Type": _TEXT_FORMAT})


def _verdict(reasons: Sequence[str]) -> web.Response:
    if not reasons:
        return web.json_response({"status": "ok"})
    return web.json_response({"status": "failing", "reasons": list(reasons)}, status=503)
