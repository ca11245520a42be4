"""The loop of a fork server (a zygote): fork a child for each order of the edge, kill on demand, report each end.

`services.edge.sandboxed` calls `serve` once everything that children need is imported. The server reads no stranger's
bytes itself. It has one thread, since a fork copies no other one.
"""

import gc
import os
import select
import signal
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from contracts.process.die_with_parent import die_with_parent
from services.edge.resources import orders
from services.edge.resources.orders import BROKEN_EXIT, Ended, Fork, Kill, NotForked, Ready, Retire

STREAMS = 3
WORDS_CHARS_MAX = 2000

Work = Callable[[socket.socket, Sequence[int], Sequence[str]], int]
"""What a child does: with its socket to the edge, its files and its arguments. Returns the exit code."""


def serve(control: socket.socket, works: Mapping[str, Work]) -> None:
    """Serve the orders that come from `control`, until the edge is gone or says `Retire` and all children have ended.

    SIGINT and SIGTERM, which a terminal or a supervisor sends to whole groups, are ignored for good: the edge decides.
    """
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"the fork server has {threads} threads, of which a fork would copy one")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 2)  # until here an error was to be seen
    os.close(null)
    gc.collect()
    gc.freeze()  # or the first collection of each child would copy all pages
    _Server(control, works).run()


class _Running(NamedTuple):
    """A child that has not been reaped, so that its pid is not used anew."""

    number: int
    pid: int
    pidfd: int


class _Server:
    """Forks, kills and reaps. One for the process."""

    def __init__(self, control: socket.socket, works: Mapping[str, Work]) -> None:
        self._control, self._works, self._pid = control, works, os.getpid()
        self._running: dict[int, _Running] = {}
        """The children by their pidfd, which is readable once the child has ended."""
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._is_open = True

    def run(self) -> None:
        """Serve until no order can come any more and no child is left."""
        self._report(Ready())
        while self._is_open or self._running:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._running:
                    self._reap(self._running.pop(descriptor))
                else:
                    self._obey()

    def _obey(self) -> None:
        """Read one order and carry it out. The end of the edge ends all children."""
        data, files, flags = self._next_datagram()
        order: Fork | Kill | Retire | None = orders.decode_order(data) if data else None
        match order:
            case Fork() if self._is_open and not flags & socket.MSG_CTRUNC:
                self._fork(order, files)
            case Fork(number=number):
                self._report(NotForked(number, "its descriptors did not arrive"))
            case Kill(number=number):
                self._kill([running for running in self._running.values() if running.number == number])
            case Retire():
                self._is_open = False
            case None:
                self._is_open = False
                self._poll.unregister(self._control)
                self._kill(list(self._running.values()))
        for file in files:
            os.close(file)

    def _next_datagram(self) -> tuple[bytes, list[int], int]:
        """Return the bytes of a datagram, its descriptors and its flags; no bytes if the edge is gone."""
        try:
            data, files, flags, _ = socket.recv_fds(
                self._control, orders.MESSAGE_BYTES_MAX, orders.FILES_MAX, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            return b"", [], 0
        return data, files, flags

    def _fork(self, order: Fork, files: list[int]) -> None:
        """Fork a child for an order. Reports if that fails; the end of a child is reported by `_reap`."""
        try:
            pid = os.fork()
        except OSError as error:
            self._report(NotForked(order.number, repr(error)))
            return
        if pid == 0:
            _live(self._works[order.work], order.arguments, files, parent=self._pid)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._report(NotForked(order.number, repr(error)))
            return
        self._running[pidfd] = _Running(order.number, pid, pidfd)
        self._poll.register(pidfd, select.POLLIN)

    def _reap(self, ended: _Running) -> None:
        """Reap a child that has ended, and report its exit code."""
        self._poll.unregister(ended.pidfd)
        os.close(ended.pidfd)
        _, status = os.waitpid(ended.pid, 0)
        self._report(Ended(ended.number, os.waitstatus_to_exitcode(status)))

    @staticmethod
    def _kill(children: list[_Running]) -> None:
        for child in children:
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)

    def _report(self, report: Ready | Ended | NotForked) -> None:
        """Send a report. If the edge is gone, the next poll finds that."""
        with suppress(OSError):
            self._control.send(orders.encode(report))


def _live(work: Work, arguments: Sequence[str], files: list[int], *, parent: int) -> NoReturn:
    """Be the child: keep nothing of the server but the child's own descriptors, do the work, and end the process.

    The first of `files` is the socket to the edge. The words of an exception go there.
    """
    code = BROKEN_EXIT
    try:
        die_with_parent()
        if os.getppid() == parent:
            _close_all_but(files)
            talk = socket.socket(fileno=files[0])
            try:
                code = work(talk, files[1:], arguments)
            except BaseException:  # noqa: BLE001  # whatever it is, the edge logs it
                talk.sendall(traceback.format_exc()[-WORDS_CHARS_MAX:].encode())
    finally:
        os._exit(code)  # no clean-up of what belongs to the server


def _close_all_but(files: list[int]) -> None:
    """Close all descriptors but these and the standard streams, which then lead nowhere."""
    os.dup2(1, 0)  # standard input was the socket of the server
    start = STREAMS
    for file in sorted(files):
        os.closerange(start, file)
        start = file + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
