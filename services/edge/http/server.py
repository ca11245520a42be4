"""uvicorn's server with a graceful shutdown of bounded length, whatever clients do. `__main__` runs it.

1. No new connection is accepted; an open one may still ask whether this edge is ready.
2. Requests in flight are finished, for up to `DRAIN_S`.
3. The rest is cut off, with a 503 if no answer has begun, and the tasks that work on the answers are cancelled.
4. Answers get `CLOSE_S` to leave, then connections are reset, and the app's lifetime ends.
"""

import asyncio
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from socket import IPPROTO_TCP, TCP_NOTSENT_LOWAT, socket
from typing import Any, Protocol, cast, runtime_checkable

import uvicorn

from contracts.process import log
from contracts.process.listening import BACKLOG
from services.edge.http import security_headers
from services.edge.http.certificates import Certificates
from services.edge.http.crowd import Crowd
from services.edge.http.heads import Headers
from services.edge.http.limited_protocol import LimitedHttpProtocol
from services.edge.http.limits import HttpLimits
from services.edge.http.reader import reading
from services.edge.http.tls_protocol import encrypting

ACCEPTED_AT_ONCE = 8
"""How many descriptors listen on each socket. The event loop accepts one connection a descriptor in each of its turns:
with one descriptor a burst of connections would wait for as many turns."""
DRAIN_S = 12.0
CANCEL_S = 1.0
CLOSE_S = 1.0
LIFETIME_S = 3.0
POLL_S = 0.05

SOCKET_BYTES_MAX = 1024
"""The largest message that a client may send over a WebSocket, where none is expected."""
UNSENT_BYTES_MAX = 128 * 1024
"""How much unsent data the kernel takes for a connection: without a limit some 4 MB, if the client does not read."""


@runtime_checkable
class _Open(Protocol):
    """A connection as its end goes: one of HTTP, or after an upgrade one of a WebSocket."""

    def cut(self) -> bool: ...
    def drop(self) -> None: ...


class Server(uvicorn.Server):
    """The HTTP server of one edge, from `serve` until its shutdown is over.

    `serve` gets the open sockets for `host` and `port`. A connection without a request is kept for `keep_alive_s`. Of
    peer and headers `client_of` returns the client's address, for the log. With `certificates`, TLS is all that is
    spoken.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        host: str,
        port: int,
        crowd: Crowd,
        *,
        keep_alive_s: float,
        limits: HttpLimits,
        client_of: Callable[[str, Headers], str],
        certificates: Certificates | None = None,
    ) -> None:
        protocol = partial(LimitedHttpProtocol, crowd=crowd, limits=limits, client_of=client_of)
        if certificates is None:
            connections: Callable[..., asyncio.BufferedProtocol] = reading(protocol)
        else:
            connections = encrypting(protocol, certificates, crowd, limits)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=cast("type[asyncio.Protocol]", connections),
            ws="none",  # `limited_protocol` hands over to its own
            ws_max_size=SOCKET_BYTES_MAX,
            ws_per_message_deflate=False,  # takes memory for each connection
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            headers=security_headers.of_all(encrypted=certificates is not None),
            timeout_keep_alive=cast("int", keep_alive_s),  # the loop, which gets it, takes fractions
            backlog=BACKLOG,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `__main__`: uvicorn would raise them again at its end, so that the exit code were not 0."""
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start the app, and listen on the sockets, each by `ACCEPTED_AT_ONCE` descriptors."""
        await super().startup(sockets)
        opened = [each for listener in self.servers for each in listener.sockets]
        for each in opened:
            each.setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)  # its connections inherit it
            for _ in range(ACCEPTED_AT_ONCE - 1):
                self.servers.append(await self._listener(socket(fileno=os.dup(each.fileno()))))

    async def _listener(self, opened: socket) -> asyncio.Server:
        """Return a server that listens on a bound socket, with connections as uvicorn makes them. Raises `OSError`."""
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)

        def connection() -> asyncio.Protocol:  # as uvicorn makes it
            return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

        return await asyncio.get_running_loop().create_server(connection, sock=opened, backlog=BACKLOG)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:  # noqa: ARG002  # the listeners have them
        """Stop accepting, let requests end for `DRAIN_S`, cut off the rest, reset connections, and end the app.

        Takes no more than the sum of `DRAIN_S`, `CANCEL_S`, `CLOSE_S` and `LIFETIME_S`.
        """
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
        """Cut off all connections, with a 503 where no answer has begun, cancel all requests, and log their number."""
        cut = [connection.cut() for connection in self._connections()]
        for task in self.server_state.tasks:
            task.cancel()
        if any(cut):
            log.get().warning("requests_cut_off", count=sum(cut))

    def _connections(self) -> list[_Open]:
        return [each for each in self.server_state.connections if isinstance(each, _Open)]

    async def _until(self, over: Callable[[], bool], *, within_s: float) -> None:
        """Wait until a condition holds, or for `within_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not over():  # noqa: ASYNC110  # no event says that a connection is gone
                    await asyncio.sleep(POLL_S)
