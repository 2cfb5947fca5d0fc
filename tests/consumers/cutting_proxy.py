"""A TCP proxy that swallows the answers of a server and then cuts the line."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager


@asynccontextmanager
async def cutting_proxy(port: int, *, num_cuts: int, after_bytes: int):
    """Give the port of a proxy to ``port`` on loopback.

    Its first ``num_cuts`` connections pass requests on, but pass back only ``after_bytes`` of the
    answers and then close; later connections pass everything.
    """
    tasks: set[asyncio.Task[None]] = set()
    left = num_cuts

    async def pump(reader, writer, limit):
        try:
            while data := await reader.read(65_536):
                if limit is not None:
                    data = data[:limit]
                    limit -= len(data)
                writer.write(data)
                await writer.drain()
                if limit == 0:
                    return
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    async def serve(reader, writer):
        nonlocal left
        limit = after_bytes if left > 0 else None
        left -= 1
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        there = asyncio.create_task(pump(reader, upstream_writer, None))
        back = asyncio.create_task(pump(upstream_reader, writer, limit))
        tasks.update((there, back))
        await back
        there.cancel()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
