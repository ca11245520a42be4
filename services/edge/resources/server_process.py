"""The fork server's process, as the edge sees it: start it, order children, hear of their ends, end it.

`sandbox` has one at a time, and another one while that finishes its last children.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from contracts.process import log
from services.edge.resources import orders
from services.edge.resources.child import Child
from services.edge.resources.orders import MESSAGE_BYTES_MAX, Ended, Fork, Kill, NotForked, Ready, Retire

ENVIRONMENT = {"PATH": ""}
"""All of it: no credentials, no addresses."""


class ForkServer:
    """A running `python -m module`, until it is lost, was killed, or has retired. Owns the process and its socket.

    `on_gone` is called once the process has ended and was reaped. `is_ready` says that it has imported everything, and
    `forked` how many children were ordered. Raises `OSError` if no process can be started.
    """

    def __init__(self, module: str, on_gone: Callable[["ForkServer"], None]) -> None:
        self._loop, self._on_gone = asyncio.get_running_loop(), on_gone
        self._ends: dict[int, asyncio.Future[int | None]] = {}
        self.is_ready = self.is_gone = False
        self.forked = 0
        self._control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with far:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", module], stdin=far.fileno(), stdout=subprocess.DEVNULL, env=ENVIRONMENT
                )
                self._pidfd = _pidfd_of(self._process)
        except OSError:
            self._control.close()
            raise
        self._control.setblocking(False)
        self._loop.add_reader(self._control, self._hear)
        self._loop.add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        """Return the pid of the server's process."""
        return self._process.pid

    def fork(self, work: str, arguments: tuple[str, ...], files: tuple[int, ...]) -> Child:
        """Order a child that does `work`, and return it. `files` are the descriptors that it gets.

        Raises `OSError` if no descriptor is left, or if the server is gone.
        """
        near, far = socket.socketpair()
        number = self.forked + 1
        with far:
            try:
                near.setblocking(False)
                order = orders.encode(Fork(number, work, arguments))
                socket.send_fds(self._control, [order], [far.fileno(), *files])
            except OSError:
                near.close()
                raise
        self.forked = number
        self._ends[number] = ended = self._loop.create_future()
        return Child(near, ended, partial(self._order, Kill(number)), self.kill)

    def retire(self) -> None:
        """Have the server end once its children have ended."""
        self._order(Retire())

    def kill(self) -> None:
        """Kill the server, with which the kernel kills its children (PDEATHSIG)."""
        self._process.kill()

    def _order(self, order: Kill | Retire) -> None:
        """Send an order. A server that cannot take it is killed, unless it is gone."""
        if self.is_gone:
            return
        try:
            self._control.send(orders.encode(order))
        except OSError:
            self.kill()

    def _hear(self) -> None:
        """Read the reports that are there. At the end of the socket, kill what is left of the server."""
        if self.is_gone:
            return
        with suppress(BlockingIOError):
            while data := self._next_datagram():
                report: Ready | Ended | NotForked = orders.decode_report(data)
                match report:
                    case Ready():
                        self.is_ready = True
                    case Ended(number=number, returncode=returncode):
                        self._settle(number, returncode)
                    case NotForked(number=number, error=error):
                        log.get().warning("child_not_started", error=error)
                        self._settle(number, None)
            self._loop.remove_reader(self._control)
            self.kill()

    def _next_datagram(self) -> bytes:
        """Return a report, or nothing at the end of the socket. Raises `BlockingIOError` if none is there."""
        try:
            return self._control.recv(MESSAGE_BYTES_MAX)
        except ConnectionError:
            return b""

    def _settle(self, number: int, returncode: int | None) -> None:
        ended = self._ends.pop(number, None)
        if ended is not None and not ended.done():
            ended.set_result(returncode)

    def _reap(self) -> None:
        """Reap the ended process, give up its children, close everything, and say so."""
        self._hear()  # what it reported right before its end
        self.is_gone = True
        self._process.wait()
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._control)
        os.close(self._pidfd)
        self._control.close()
        for number in list(self._ends):
            self._settle(number, None)
        self._on_gone(self)


def _pidfd_of(process: "subprocess.Popen[bytes]") -> int:
    """Return a descriptor that is readable once the process has ended. Kills the process if there is none left."""
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise
