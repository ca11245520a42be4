"""uvicorn's server, which ends in an order of ours, within a time that adds up whatever clients do.

1. No new connections; those that are open may still ask whether this edge is ready.
2. Requests in flight are finished, for up to `DRAIN_S`.
3. What is left is cut off, with a 503 where no answer has begun, and whoever answers it is cancelled.
4. Answers get `CLOSE_S` to leave, then connections are reset, and the app's lifetime ends.
"""

import asyncio
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from socket import IPPROTO_TCP, TCP_NOTSENT_LOWAT, socket
from typing import Any, cast

import uvicorn

from contracts.process import log
from services.edge.http.crowd import Crowd
from services.edge.http.limited_protocol import Guarded
from services.edge.http.listening import BACKLOG
from services.edge.http.reader import reading

ACCEPTED_AT_ONCE = 8
"""The event loop takes one connection of a listening descriptor in each of its turns, so there are several of it: else
a burst of connections waits for as many turns."""
DRAIN_S = 12.0
CANCEL_S = 1.0
CLOSE_S = 1.0
LIFETIME_S = 3.0
POLL_S = 0.05

UNSENT_BYTES_MAX = 128 * 1024
"""What the kernel takes of a connection's answers beyond what is on its way: else some 4 MB, if nobody reads."""

NOSNIFF = ("X-Content-Type-Options", "nosniff")


class Server(uvicorn.Server):
    """The HTTP server of one edge."""

    def __init__(self, app: Callable[..., Any], host: str, port: int, crowd: Crowd, *, keep_alive_s: float) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=cast("type[asyncio.Protocol]", reading(partial(Guarded, crowd=crowd))),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            headers=[NOSNIFF],
            timeout_keep_alive=cast("int", keep_alive_s),  # handed to the loop, which takes fractions
            backlog=BACKLOG,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals are ours: uvicorn would raise them again at its end, and the exit code not be 0

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        opened = [one for listener in self.servers for one in listener.sockets]
        for one in opened:
            one.setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)  # its connections inherit it
            for _ in range(ACCEPTED_AT_ONCE - 1):
                self.servers.append(await self._listener(socket(fileno=os.dup(one.fileno()))))

    async def _listener(self, opened: socket) -> asyncio.Server:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)

        def connection() -> asyncio.Protocol:  # as uvicorn makes it
            return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

        return await asyncio.get_running_loop().create_server(connection, sock=opened, backlog=BACKLOG)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:  # noqa: ARG002  # its listeners have them
        for listener in self.servers:
            listener.close()
        await self._until(lambda: not self.server_state.tasks, within_s=DRAIN_S)
        self._cut()
        await self._until(lambda: not self.server_state.tasks, within_s=CANCEL_S)
        await self._until(lambda: not self.server_state.connections, within_s=CLOSE_S)
        for connection in self._connections():
            connection.drop()
        with suppress(TimeoutError):
            async with asyncio.timeout(LIFETIME_S):
                await self.lifespan.shutdown()

    def _cut(self) -> None:
        cut = [connection.cut() for connection in self._connections()]
        for task in self.server_state.tasks:
            task.cancel()
        if any(cut):
            log.get().warning("requests_cut_off", count=sum(cut))

    def _connections(self) -> list[Guarded]:
        return [one for one in self.server_state.connections if isinstance(one, Guarded)]

    async def _until(self, over: Callable[[], bool], *, within_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not over():  # noqa: ASYNC110  # connections tell nobody that they are gone
                    await asyncio.sleep(POLL_S)
