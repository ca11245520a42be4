"""The edge: `python -m services.edge` serves HTTP until SIGTERM, and then finishes what it has begun."""

import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from socket import socket

import uvicorn
import uvloop

from contracts import env, lifetime, log, stores
from services.edge.app import Settings, app
from services.edge.guard import Guarded

KEEP_ALIVE_S = 15
GRACE_S = 20
CLOSE_WITHIN_S = 2  # for connections whose requests are done
CONNECTIONS_MAX = 1000
BACKLOG = 256


class _Server(uvicorn.Server):
    """uvicorn, ending in our order.

    1. No new connections; those that are open may still ask whether this edge is ready.
    2. Requests in flight are finished, for up to `GRACE_S`.
    3. uvicorn's own end: connections are closed, requests that took longer are cancelled, the app's lifetime ends.
    """

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals are ours: uvicorn would raise them again at its end, and the exit code not be 0

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        for listener in self.servers:
            listener.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                while self.server_state.tasks:
                    await asyncio.wait(self.server_state.tasks)
        await super().shutdown(sockets)


async def serve(settings: Settings) -> bool:
    """True where it was told to stop, False where the connection to the broker is lost for good."""
    lost, draining = asyncio.Event(), asyncio.Event()
    server = _Server(
        uvicorn.Config(
            app(settings, lost, draining),
            host=settings.server_host,
            port=settings.server_port,
            http=Guarded,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=CLOSE_WITHIN_S,
            limit_concurrency=CONNECTIONS_MAX,
            backlog=BACKLOG,
        )
    )
    stop = lifetime.stop_on_signals()
    serving = asyncio.create_task(server.serve())
    ending = asyncio.create_task(lifetime.first_of(lost, stop))
    await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
    draining.set()
    server.should_exit = True
    await serving
    ending.cancel()
    return not lost.is_set()


if __name__ == "__main__":
    settings = env.read(Settings)
    log.configure("edge")
    stores.check(settings.video_store_url, settings.scratch_store_url)
    sys.exit(0 if uvloop.run(serve(settings)) else 1)
