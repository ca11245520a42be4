"""One child of the fork server, as the edge sees it: hear it, tell it a line, wait for its end, kill it.

`bodies` reads large bodies in one, and `normalise` decodes images. The signal that ended a child says whose fault that
was: SIGXCPU, its CPU limit, means the bytes; SIGKILL means a machine that is out of memory.
"""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from contracts.process import log
from services.edge.errors import Overloaded

STDERR_CHARS_MAX = 500
PIECE_BYTES = 64 * 1024
HEARD_BYTES_MAX = 1024 * 1024
"""The most that a child may say."""
KILLED_WITHIN_S = 5.0
FAULTS = frozenset(
    -number for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE, signal.SIGTRAP)
)
"""The ends of a child whose memory was in disorder, as by an exploit that fails."""


class Child:
    """A forked process. It lives for a block of `Sandbox.child`.

    `talk` is the socket to it. `ended` gets its exit code, or None if the fork server was lost with it. `kill` has the
    server kill it, and `give_up` ends the server with all its children.
    """

    def __init__(
        self,
        talk: socket.socket,
        ended: "asyncio.Future[int | None]",
        kill: Callable[[], None],
        give_up: Callable[[], None],
    ) -> None:
        self._talk, self._ended, self._kill, self._give_up = talk, ended, kill, give_up
        self._heard = bytearray()

    @property
    def returncode(self) -> int | None:
        """Return the exit code, negative for a signal; None while the child lives, or if the server was lost."""
        return self._ended.result() if self._ended.done() else None

    async def line(self) -> bytes | None:
        """Return the next line that the child says, without its end; None if the child ends without one."""
        while b"\n" not in self._heard:
            if not await self._hear():
                return None
        line, _, rest = self._heard.partition(b"\n")
        self._heard = rest
        return bytes(line)

    async def rest(self) -> bytes:
        """Return all that the child still says, once it has ended. Raises `Overloaded` for a lost child."""
        while await self._hear():
            pass
        if await asyncio.shield(self._ended) is None:
            raise lost(self, bytes(self._heard))
        return bytes(self._heard)

    async def _hear(self) -> bool:
        """Add a piece of what the child says; return False at its end. Raises `Overloaded` if it says too much."""
        try:
            piece = await asyncio.get_running_loop().sock_recv(self._talk, PIECE_BYTES)
        except ConnectionError:  # it ended before it had read all that it was told
            return False
        self._heard += piece
        if len(self._heard) > HEARD_BYTES_MAX:
            raise lost(self, b"it says too much")
        return piece != b""

    def tell(self, line: bytes) -> None:
        """Send the child a short line, unless it has ended."""
        with suppress(OSError):
            self._talk.send(line)

    async def end(self) -> None:
        """Kill the child if it lives, and wait until it is reaped. If that takes too long, give up its server."""
        try:
            if not self._ended.done():
                self._kill()
                _, late = await asyncio.wait([self._ended], timeout=KILLED_WITHIN_S)
                if late:
                    self._give_up()
        finally:
            self._talk.close()


def used_up_its_cpu(child: Child) -> bool:
    """Return whether the child was ended by its CPU limit."""
    return child.returncode == -signal.SIGXCPU


def was_killed(child: Child) -> bool:
    """Return whether the child was killed, as the kernel does when memory is short."""
    return child.returncode == -signal.SIGKILL


def lost(child: Child, words: bytes) -> Overloaded:
    """Log the end of a child that failed through no fault of its input, and return what to raise for that.

    `words` is what it said.
    """
    text = words.decode(errors="replace")[-STDERR_CHARS_MAX:]
    log.get().error("child_lost", returncode=child.returncode, error=text)
    return Overloaded()
