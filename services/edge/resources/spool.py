"""Spool: bytes that come in piece by piece, few of them in memory and many in a file without a name.

A file is unlinked as it is made, so that nothing is left over however the process ends. All spools share one limit of
what they may have on disk. Writing is done in threads of their own: a disk that is slow does not hold up the loop.
"""

import asyncio
import mmap
import os
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, Self, cast

from services.edge.errors import Overloaded
from services.edge.resources.heap import give_back_memory

MEMORY_BYTES_MAX = 64 * 1024
DISK_BYTES_MAX = 4 * 1024**3
WRITERS = 4
"""Threads that write to files, and pieces that are on their way there. All other uploads are not read meanwhile."""


class Disk:
    """What all spools may have on disk together. One for the process."""

    def __init__(self, bytes_max: int = DISK_BYTES_MAX) -> None:
        self._bytes_max = self._free_bytes = bytes_max
        self.writers = ThreadPoolExecutor(WRITERS, "spool")
        self.turns = asyncio.Semaphore(WRITERS)

    def take(self, size_bytes: int) -> None:
        """Raises `Overloaded`."""
        if size_bytes > self._free_bytes:
            raise Overloaded
        self._free_bytes -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        self._free_bytes += size_bytes
        if size_bytes and self._free_bytes == self._bytes_max:  # the last one: what came in passed through memory
            self.writers.submit(give_back_memory)


class Spool:
    """One run of bytes, for the length of its block. A disk that is full or a lack of descriptors is `Overloaded`."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._few = bytearray()
        self._file: BinaryIO | None = None
        self._disk_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all bytes, perhaps before the block ends. A file is freed by a thread: that can take a while."""
        if self._file is not None:
            self._disk.writers.submit(self._file.close)
            self._file = None
        self._disk.give_back(self._disk_bytes)
        self._disk_bytes = 0
        self._few = bytearray()

    @property
    def size_bytes(self) -> int:
        return self._disk_bytes + len(self._few)

    @property
    def in_memory(self) -> bytes | None:
        """All of the bytes, if they are few; None if they are in a file."""
        return bytes(self._few) if self._file is None else None

    async def add(self, piece: bytes) -> None:
        self._few += piece
        if len(self._few) > MEMORY_BYTES_MAX:
            await self.file()

    async def file(self) -> BinaryIO:
        """The file, with all of the bytes in it. Whoever reads takes care of its position."""
        async with self._disk.turns:
            few, self._few = self._few, bytearray()
            self._disk.take(len(few))
            self._disk_bytes += len(few)
            writing = asyncio.get_running_loop().run_in_executor(self._disk.writers, self._write, few)
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait([writing])  # it has the file in hand
                raise
            except OSError as error:  # no room, or no descriptor
                raise Overloaded from error
        assert self._file is not None  # noqa: S101  # `_write` made it
        return self._file

    def _write(self, few: bytearray) -> None:
        if self._file is None:
            self._file = cast("BinaryIO", tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  # closed at the end of our block
        left = memoryview(few)
        while left:
            left = left[self._file.write(left) :]

    def count_written(self) -> None:
        """Count what another process wrote to the file, of which its own limits are the bound. Raises `Overloaded`."""
        assert self._file is not None  # noqa: S101  # asked for by who has called `file`
        written = os.fstat(self._file.fileno()).st_size - self._disk_bytes
        self._disk.take(written)
        self._disk_bytes += written

    @contextmanager
    def mapped(self) -> Generator[mmap.mmap, None, None]:
        """The file as memory, which counts as this process's own while its pages are touched."""
        assert self._file is not None  # noqa: S101  # asked for by who has called `file`
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            yield pages
