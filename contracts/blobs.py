"""The door to files: whole files under short names, in a folder or an object store. Knows nothing of jobs.

A file appears whole or not at all, and the first one of a name stays: temp file, fsync, create-only link, fsync of
the folder. Other than that, plain reads and deletes, and the ages that a sweeper goes by.
"""

import asyncio
import errno
import os
import re
import shutil
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from mmap import mmap
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import uuid4

from msgspec import Struct

from contracts import log

CHUNK_BYTES = 256 * 1024

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64})?\.[a-z0-9]{1,12}")
_TEMPORARY = ".tmp"


class File(Struct, frozen=True):
    """A file as it lies there; `modified_at` in Unix seconds. `etag` changes with the content."""

    name: str
    size_bytes: int
    modified_at: float
    etag: str


class Store(Protocol):
    """Names look like `inputs/3f….png`, one folder deep at most. A store that fails raises `OSError`."""

    def draft(self, name: str) -> AbstractContextManager[Path]:
        """A path of this machine to write to; removed at the end of the block, published or not."""
        ...

    async def publish(self, draft: Path, name: str) -> bool:
        """Make a draft the file of that name, durably. False where there is one already: that one stays."""
        ...

    async def write(self, name: str, data: bytes | mmap) -> bool:
        """Publish these bytes; False where a file of that name is there already, which then counts as young again."""
        ...

    async def read(self, name: str) -> bytes | None:
        """The whole file; None where there is none."""
        ...

    async def exists(self, name: str) -> bool: ...

    async def facts(self, name: str) -> File:
        """Raises `FileNotFoundError`."""
        ...

    def stream(self, name: str, part: range) -> AsyncIterator[bytes]:
        """Some of the bytes, in pieces. Raises `FileNotFoundError`."""
        ...

    def local(self, name: str) -> AbstractAsyncContextManager[Path]:
        """The file at a path of this machine, for the length of the block. Raises `FileNotFoundError`."""
        ...

    async def delete(self, name: str) -> None:
        """Delete a file, if it is there and the store lets us: what stays is left to the sweeper."""
        ...

    async def writable(self, room_bytes: int = 0) -> bool:
        """Whether something could be written now, and as much as this would find room. A bucket always has room."""
        ...

    async def files(self, inside: str = "") -> list[File]:
        """The files that lie in the store itself or in one folder inside it, oldest first."""
        ...

    async def delete_old(self, name: str, *, age_s: float) -> bool:
        """Delete a file that has this age by now; whether it had. Asked at the last moment: it may be young again."""
        ...

    async def delete_old_drafts(self, *, age_s: float) -> int:
        """Delete the drafts that nobody has written to for so long, and tell how many."""
        ...


def store(url: str) -> Store:
    """The store that a setting names: a folder's path, or `s3://bucket/prefix`. Raises `ValueError` for another one."""
    if url.startswith("s3://"):
        from contracts.bucket import Bucket  # noqa: PLC0415  # obstore is an extra, installed where it is used

        return Bucket(url)
    if "://" in url:
        raise ValueError(f"a store is a folder or s3://…, was {url!r}")
    return Folder(Path(url).resolve())


async def overwrite(store: Store, name: str, data: bytes) -> None:
    """Publish these bytes in place of whatever is there; a crash in between leaves nothing. Raises `OSError`."""
    if not await store.write(name, data):
        await store.delete(name)
        await store.write(name, data)


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def checked(name: str) -> str:
    """The name, where it is one. Raises `ValueError`."""
    if not is_name(name):
        raise ValueError(f"not a file name: {name[:80]!r}")
    return name


class Folder:
    """A store in a folder, which is made with its first file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def _temporary(self) -> Path:
        return self.root / _TEMPORARY

    def path(self, name: str) -> Path:
        return self.root / checked(name)

    @contextmanager
    def draft(self, name: str) -> Generator[Path, None, None]:
        self._temporary.mkdir(parents=True, exist_ok=True)
        path = self._temporary / f"{Path(name).stem}.{uuid4().hex}{Path(name).suffix}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def publish(self, draft: Path, name: str) -> bool:
        return await asyncio.to_thread(self._publish, draft, name)

    def _publish(self, draft: Path, name: str) -> bool:
        final = self.path(name)
        final.parent.mkdir(exist_ok=True)
        _fsync(draft)
        try:
            os.link(draft, final)
        except FileExistsError:
            return False
        _fsync(final.parent)
        return True

    async def write(self, name: str, data: bytes | mmap) -> bool:
        def write() -> bool:
            with self.draft(name) as draft:
                draft.write_bytes(data)
                while not self._publish(draft, name):
                    with suppress(FileNotFoundError):  # just swept away: publish once more
                        os.utime(self.path(name))
                        return False
                return True

        return await asyncio.to_thread(write)

    async def read(self, name: str) -> bytes | None:
        def read() -> bytes | None:
            try:
                return self.path(name).read_bytes()
            except FileNotFoundError:
                return None

        return await asyncio.to_thread(read)

    async def exists(self, name: str) -> bool:
        return await asyncio.to_thread(self.path(name).exists)

    async def facts(self, name: str) -> File:
        facts = await asyncio.to_thread(os.lstat, self.path(name))
        if not stat.S_ISREG(facts.st_mode):
            raise FileNotFoundError(name)
        return _file(name, facts)

    async def stream(self, name: str, part: range) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(_open, self.path(name))
        with file:
            await asyncio.to_thread(file.seek, part.start)
            left = len(part)
            while left and (chunk := await asyncio.to_thread(file.read, min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    @asynccontextmanager
    async def local(self, name: str) -> AsyncGenerator[Path, None]:
        await self.facts(name)
        yield self.path(name)

    async def delete(self, name: str) -> None:
        try:
            await asyncio.to_thread(self.path(name).unlink, missing_ok=True)
        except OSError as error:
            log.get().warning("file_not_deleted", name=name, error=repr(error))

    async def writable(self, room_bytes: int = 0) -> bool:
        def probe() -> bool:
            try:
                with self.draft("probe.bin") as draft:
                    draft.write_bytes(b"1")
                return shutil.disk_usage(self._temporary).free >= room_bytes
            except OSError:
                return False

        return await asyncio.to_thread(probe)

    # -- for the sweeper -------------------------------------------------------------------------------------------

    async def files(self, inside: str = "") -> list[File]:
        def look() -> list[File]:
            found = [
                _file(f"{inside}/{path.name}" if inside else path.name, facts)
                for path, facts in _regular_files(self.root / inside)
            ]
            return sorted((file for file in found if is_name(file.name)), key=lambda file: file.modified_at)

        return await asyncio.to_thread(look)

    async def delete_old(self, name: str, *, age_s: float) -> bool:
        return await asyncio.to_thread(_delete_old, self.path(name), age_s)

    async def delete_old_drafts(self, *, age_s: float) -> int:
        def sweep() -> int:
            return sum(_delete_old(path, age_s) for path, _ in _regular_files(self._temporary))

        return await asyncio.to_thread(sweep)


def no_room(error: OSError) -> bool:
    """Whether the store is full or may not be written to, which is nobody's fault and may pass."""
    return error.errno in _NO_ROOM


def _file(name: str, facts: os.stat_result) -> File:
    return File(name, facts.st_size, facts.st_mtime, f"{facts.st_size:x}-{facts.st_mtime_ns:x}")


def _open(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _regular_files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files of a folder; one that goes meanwhile, or a folder that is not there, is no error."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), entry.stat(follow_symlinks=False)


def _delete_old(path: Path, age_s: float) -> bool:
    with suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime >= age_s:
            path.unlink()
            return True
    return False


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
