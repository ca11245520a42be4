"""Run a child process on a stranger's bytes: a sandbox by limits. The child is killed at the latest when a block ends.

The children are forked by a fork server (a zygote), a process with everything imported that they need, which costs a
fiftieth of what a new interpreter does. The server is started by the edge, started again when it is lost, and ends with
the edge.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Self

from contracts.process import log
from services.edge.errors import Overloaded
from services.edge.resources.child import FAULTS, Child
from services.edge.resources.server_process import ForkServer

MODULE = "services.edge.sandboxed"
START_AFTER_S = 1.0
"""The server is started so long after the edge, whose own start it would delay, or with the first child."""
FORKS_MAX = 1000
"""After so many children a new server, with another layout of memory, takes over; likewise after a child's fault."""
BACKOFF_S, BACKOFF_S_MAX = 0.1, 5.0
"""The pause after a server that ended before it was ready. It doubles with each further one."""
GONE_WITHIN_S = 5.0


class Sandbox:
    """Gives children. One for the process; as a block, it ends the server and all children when the block ends."""

    def __init__(self, module: str = MODULE) -> None:
        self._module = module
        self._server: ForkServer | None = None
        self._alive: set[ForkServer] = set()
        self._none_left = asyncio.Event()
        self._failures = 0
        self._not_before = 0.0
        self._starting: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._starting = asyncio.get_running_loop().call_later(START_AFTER_S, self._start_unless_there)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._starting is not None:
            self._starting.cancel()
        self._server = None
        for server in self._alive:
            server.kill()
        if self._alive:
            self._none_left.clear()
            with suppress(TimeoutError):  # the kernel ends them with the edge
                async with asyncio.timeout(GONE_WITHIN_S):
                    await self._none_left.wait()

    @property
    def server_pids(self) -> list[int]:
        """Return the pids of the servers that live: one, none before the first child, more while some retire."""
        return [server.pid for server in self._alive]

    @asynccontextmanager
    async def child(self, work: str, *arguments: str, files: tuple[int, ...]) -> AsyncGenerator[Child, None]:
        """Fork a child that does `work` with these arguments, and kill it when the block ends.

        `files` are the descriptors that the child gets; it has no environment. Raises `Overloaded` if no process can be
        started.
        """
        try:
            server, child = self._forked(work, arguments, files)
        except OSError as error:  # no process, no memory or no descriptor is left
            log.get().warning("child_not_started", module=work, error=repr(error))
            raise Overloaded from error
        try:
            yield child
        finally:
            await child.end()
            if child.returncode in FAULTS or server.forked >= FORKS_MAX:
                self._retire(server)

    def _forked(self, work: str, arguments: tuple[str, ...], files: tuple[int, ...]) -> tuple[ForkServer, Child]:
        """Return a new child and its server: a new server if the last one was lost, as its socket says.

        Raises `OSError`, or `Overloaded` while no server is to be started.
        """
        if self._server is not None:
            try:
                return self._server, self._server.fork(work, arguments, files)
            except ConnectionError:  # it has ended, and nothing else has said so yet
                self._lose(self._server)
        server = self._started()
        return server, server.fork(work, arguments, files)

    def _started(self) -> ForkServer:
        """Start a server, and return it. Raises `OSError`, or `Overloaded` during the pause after a failed start."""
        if asyncio.get_running_loop().time() < self._not_before:
            raise Overloaded
        self._server = server = ForkServer(self._module, self._on_gone)
        self._alive.add(server)
        return server

    def _start_unless_there(self) -> None:
        if self._server is None:
            try:
                self._started()
            except (OSError, Overloaded) as error:  # the next child says so
                log.get().warning("child_not_started", module=self._module, error=repr(error))

    def _retire(self, server: ForkServer) -> None:
        """Have a server end with its last child, and start the next one."""
        if self._server is server:
            server.retire()
            self._server = None
            self._start_unless_there()

    def _on_gone(self, server: ForkServer) -> None:
        """Forget a server that has ended. If it never was ready, wait before the next start."""
        self._alive.discard(server)
        self._lose(server)
        self._failures = 0 if server.is_ready else self._failures + 1
        if self._failures:
            pause_s = min(BACKOFF_S * 2 ** (self._failures - 1), BACKOFF_S_MAX)
            self._not_before = asyncio.get_running_loop().time() + pause_s
        if not self._alive:
            self._none_left.set()

    def _lose(self, server: ForkServer) -> None:
        """Use a server no more, and log that it was lost, unless another one has taken over."""
        if self._server is server:
            self._server = None
            server.kill()
            log.get().error("fork_server_lost", pid=server.pid, was_ready=server.is_ready, forked=server.forked)
