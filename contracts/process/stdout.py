"""Give the log standard output for itself, so that no line of another stands between its lines. `log` calls it.

What is written there is whole lines, in order, from any thread. Nobody waits for ever for a reader that has stopped to
read: what a pipe does not take within `TAKEN_WITHIN_S` is lost, counted, and reported once the reader goes on.
"""

import asyncio
import atexit
import os
import select
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import RLock
from time import monotonic
from typing import TextIO

GATHERED_MAX = 256
"""Lines that wait at most for the end of the turn."""
TAKEN_WITHIN_S = 2.0
"""How long the process waits for a reader, once; until the reader goes on, further lines are lost without a wait."""
STDERR = 2
COMPLAINT = b"standard output takes no more lines of the log; they are lost until it does\n"

Report = Callable[[int], str]
"""Returns the line that reports so many lost lines; it is written once others are taken again."""


class Lines:
    """A file of lines: `write` and `flush` as other text files have them, and `gather` for lines that may wait.

    Gathered lines are written by the end of the turn of the event loop in which the first of them came, and before any
    other line; so a process that is killed loses those of one turn at most. One for the process, until its end.
    """

    def __init__(self, descriptor: int, encoding: str, report: Report) -> None:
        self.encoding, self._descriptor, self._report = encoding, descriptor, report
        self._room = None if stat.S_ISREG(os.fstat(descriptor).st_mode) else _room_of(descriptor)
        self._start()
        atexit.register(self.flush)
        os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        """Begin with nothing gathered, as a forked process does, whose parent writes what it has gathered."""
        self._lock = RLock()  # a finaliser may log while a line is written
        self._gathered = deque[Callable[[], str]]()
        self._flushed_by: asyncio.AbstractEventLoop | None = None
        self._lost, self._is_cut = 0, False
        """How many lines were lost that have not been reported; whether the last line was cut off."""

    def isatty(self) -> bool:
        """Return whether a person reads the lines."""
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Write whole lines, after what is gathered. Characters that the encoding does not have are escaped."""
        self._gathered.append(lambda: text)
        self.flush()
        return len(text)

    def gather(self, line: Callable[[], str]) -> None:
        """Have `line` return a line by the end of this turn of the event loop, and write it; at once without a loop."""
        self._gathered.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if self._flushed_by is not loop:
            self._flushed_by = loop
            loop.call_soon(self.flush)
        elif len(self._gathered) > GATHERED_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered, or lose it."""
        with self._lock:
            self._flushed_by = None  # before the first line is taken: whoever gathers one after the last sees it
            if lines := "".join(self._taken()).encode(self.encoding, "backslashreplace"):
                self._write_out(lines)

    def _taken(self) -> Iterator[str]:
        """Yield the gathered lines, in order, also those that other threads add meanwhile."""
        while self._gathered:
            yield self._gathered.popleft()()

    def _write_out(self, lines: bytes) -> None:
        """Write lines, or lose them."""
        pieces = _pieces(lines) if self._room else iter([lines])
        until = monotonic() + (0.0 if self._lost else TAKEN_WITHIN_S)
        for piece in pieces:
            if left := self._left_of(piece, until):
                self._lose(left + b"".join(pieces))
                return
        if self._lost:
            lost, self._lost = self._lost, 0
            self.write(self._report(lost))

    def _left_of(self, piece: bytes, until: float) -> bytes:
        """Write a piece, and return what was not taken of it. After a line that was cut off a new one begins."""
        left = whole = b"\n" + piece if self._is_cut else piece
        try:
            while left and (self._room is None or self._room.poll(max(0.0, 1000 * (until - monotonic())))):
                left = left[os.write(self._descriptor, left if self._room is None else left[: select.PIPE_BUF]) :]
        except OSError:
            pass  # the disk is full, or the reader gone
        if len(left) < len(whole):
            self._is_cut = left not in (b"", piece)
        return left[-len(piece) :]

    def _lose(self, lines: bytes) -> None:
        """Count lines that were not taken, and complain on standard error about the first ones."""
        if not self._lost:
            with suppress(OSError):
                if _room_of(STDERR).poll(0):
                    os.write(STDERR, COMPLAINT)
        self._lost += lines.count(b"\n")


def _room_of(descriptor: int) -> select.poll:
    """Return what waits until a pipe, a socket or a terminal takes `select.PIPE_BUF` bytes, or its reader is gone."""
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    return room


def _pieces(lines: bytes) -> Iterator[bytes]:
    """Yield whole lines, together as many as a pipe takes at once: other writers cannot come between. Else one line."""
    while len(lines) > select.PIPE_BUF:
        end = lines.rfind(b"\n", 0, select.PIPE_BUF) + 1 or lines.find(b"\n") + 1 or len(lines)
        yield lines[:end]
        lines = lines[end:]
    yield lines


class _Owned:
    """The stream that `owned` has made, for the life of the process."""

    stream: Lines | None = None


def owned(report: Report) -> Lines:
    """Return a stream on standard output; all else that this process writes there goes to standard error from now on.

    That holds for libraries in C too. Lost lines are reported by `report`. Call it again and the stream is the same.
    """
    if _Owned.stream is None:
        sys.stdout.flush()
        _Owned.stream = Lines(os.dup(1), sys.stdout.encoding, report)
        os.dup2(2, 1)
    return _Owned.stream


def shared() -> TextIO:
    """Return standard output, to which others may write too. It now escapes characters that its encoding lacks."""
    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        reconfigure(errors="backslashreplace")
    return sys.stdout
