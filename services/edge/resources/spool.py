"""A spool: bytes that come in piece by piece, and are kept in memory while they are few, then in a file without a name.

Bodies and images are spooled. A file is unlinked as soon as it is made, so that none is left over however the process
ends. All spools share one limit of bytes on disk. Threads write to the files, so that a slow disk does not stop the
event loop.
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
"""Threads that write to files, and pieces that may be on their way there. Other uploads are not read meanwhile."""


class Disk:
    """The bytes that all spools together may have on disk, and the threads that write. One for the process."""

    def __init__(self, bytes_max: int = DISK_BYTES_MAX) -> None:
        self._bytes_max = self._free_bytes = bytes_max
        self.writers = ThreadPoolExecutor(WRITERS, "spool")
        self.turns = asyncio.Semaphore(WRITERS)

    def take(self, size_bytes: int) -> None:
        """Take so many bytes of the limit. Raises `Overloaded` if they are not free."""
        if size_bytes > self._free_bytes:
            raise Overloaded
        self._free_bytes -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Free so many bytes of the limit. After the last ones, return the memory that they passed through."""
        self._free_bytes += size_bytes
        if size_bytes and self._free_bytes == self._bytes_max:
            self.writers.submit(give_back_memory)


class Spool:
    """A sequence of bytes, kept for the length of a `with` block.

    A full disk or a lack of descriptors raises `Overloaded`.
    """

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
        """Drop all bytes, perhaps before the block ends. A thread frees the file, because that can take a while."""
        if self._file is not None:
            self._disk.writers.submit(self._file.close)
            self._file = None
        self._disk.give_back(self._disk_bytes)
        self._disk_bytes = 0
        self._few = bytearray()

    @property
    def size_bytes(self) -> int:
        """Return how many bytes there are, in memory and in the file."""
        return self._disk_bytes + len(self._few)

    @property
    def in_memory(self) -> bytes | None:
        """Return all bytes if they are in memory; None if they are in a file."""
        return bytes(self._few) if self._file is None else None

    async def add(self, piece: bytes) -> None:
        """Add a piece. Beyond `MEMORY_BYTES_MAX` all bytes move to the file. Raises `Overloaded`."""
        self._few += piece
        if len(self._few) > MEMORY_BYTES_MAX:
            await self.file()

    async def file(self) -> BinaryIO:
        """Move all bytes to the file, which is made at the first call, and return it. Its position may be anywhere.

        Raises `Overloaded`.
        """
        async with self._disk.turns:
            few, self._few = self._few, bytearray()
            self._disk.take(len(few))
            self._disk_bytes += len(few)
            writing = asyncio.get_running_loop().run_in_executor(self._disk.writers, self._write, few)
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait([writing])  # the thread still uses the file
                raise
            except OSError as error:  # no room, or no descriptor
                raise Overloaded from error
        assert self._file is not None  # noqa: S101  # `_write` made it
        return self._file

    def _write(self, few: bytearray) -> None:
        """Append bytes to the file, which is made at the first call. Runs in a thread."""
        if self._file is None:
            self._file = cast("BinaryIO", tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  # `close` closes it
        left = memoryview(few)
        while left:
            left = left[self._file.write(left) :]

    def count_written(self) -> None:
        """Count the bytes that another process wrote to the file, which is there. Raises `Overloaded`."""
        assert self._file is not None  # noqa: S101  # the caller has called `file`
        written = os.fstat(self._file.fileno()).st_size - self._disk_bytes
        self._disk.take(written)
        self._disk_bytes += written

    @contextmanager
    def mapped(self) -> Generator[mmap.mmap, None, None]:
        """Map the file, which is there and not empty, for reading. Touched pages count as memory of this process."""
        assert self._file is not None  # noqa: S101  # the caller has called `file`
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            yield pages
