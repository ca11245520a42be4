"""The door to files: whole files under short names, in a folder or an object store. Knows nothing of jobs.

A file appears whole or not at all, and the first one of a name stays: temp file, fsync, create-only link, fsync of
the folder. Other than that, plain reads and deletes, and the times that a sweeper goes by, which are the store's own.
"""

import asyncio
import errno
import math
import os
import re
import shutil
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
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

from contracts.process import log
from contracts.stores import trouble
from contracts.stores.trouble import Trouble

CHUNK_BYTES = 256 * 1024

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64})?\.[a-z0-9]{1,12}")
_TEMPORARY = ".tmp"
PROBE_PREFIX = ".probe-"
"""How the names of probes begin. A file of such a name is in no list and is never served."""

CHECK_AGAIN_S = 1.0


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

    async def trouble(self, room_bytes: int = 0) -> Trouble | None:
        """Return why nothing could be published now, or None if it could, and as much as this would find room.

        Tried in every folder of the store that is written to, by a probe that goes the way of a file. That it could
        holds for `CHECK_AGAIN_S`. A bucket always has room.
        """
        ...

    async def now(self) -> float:
        """The time by the clock that the files' times come from, in Unix seconds. Raises `OSError`."""
        ...

    async def files(self, inside: str = "") -> list[File]:
        """The files that lie in the store itself or in one folder inside it, oldest first."""
        ...

    async def delete_old(self, name: str, *, before: float) -> bool:
        """Delete a file last written at or before this moment of `now`; whether it was.

        Asked at the last moment: the file may be young again.
        """
        ...

    async def delete_old_drafts(self, *, before: float) -> int:
        """Delete the drafts and probes last written at or before this moment of `now`, and return how many."""
        ...


def store(url: str, *, setting: str = "", folders: tuple[str, ...] = ("",)) -> Store:
    """The store that a setting names: a folder's path, or `s3://bucket/prefix`. Raises `ValueError` for another one.

    `folders` are those that will be written to; the empty name is the store itself.
    """
    if url.startswith("s3://"):
        from contracts.stores.s3 import Bucket  # noqa: PLC0415  # obstore is an extra, installed where it is used

        return Bucket(url, setting=setting, folders=folders)
    if "://" in url:
        raise ValueError(f"a store is a folder or s3://…, was {url!r}")
    return Folder(Path(url).resolve(), setting=setting, folders=folders)


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


class LastCheck:
    """The last check of a store, shared by all who asked while it ran. Logs what changes.

    A good one is shared for `CHECK_AGAIN_S` longer; a bad one is not, so that a store that comes right is seen at once.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._holds_until = -math.inf
        self._found: Trouble | None = None

    async def found(self, check: Callable[[], Awaitable[Trouble | None]]) -> Trouble | None:
        asked_at = time.monotonic()
        async with self._lock:
            if asked_at > self._holds_until:
                before, self._found = self._found, await check()
                self._holds_until = time.monotonic() + (CHECK_AGAIN_S if self._found is None else 0)
                _log_change(before, self._found)
            return self._found


def _log_change(before: Trouble | None, found: Trouble | None) -> None:
    if found is not None and (before is None or found.plain != before.plain):
        log.get().error("store_unusable", **found.fields)
    elif found is None and before is not None:
        log.get().info("store_usable_again", store=before.setting, path=before.path)


class Folder:
    """A store in a folder, which is made with its first file. `setting` and `folders` as in `store`."""

    def __init__(self, root: Path, *, setting: str = "", folders: tuple[str, ...] = ("",)) -> None:
        self.root = root
        self._setting, self._folders = setting, folders
        self._probe_name = PROBE_PREFIX + uuid4().hex  # of one process: they do not disturb each other
        self._last_check = LastCheck()

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
        return _link(draft, self.path(name))

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

    async def trouble(self, room_bytes: int = 0) -> Trouble | None:
        found = await self._last_check.found(self._check)
        if found is not None or not room_bytes:
            return found
        try:
            free_bytes = (await asyncio.to_thread(shutil.disk_usage, self.root)).free
        except OSError as error:
            return trouble.of_folder(self._setting, str(self.root), error)
        if free_bytes >= room_bytes:
            return None
        return trouble.too_small(self._setting, str(self.root), free_bytes, room_bytes)

    async def _check(self) -> Trouble | None:
        try:
            await asyncio.to_thread(self._probe)
        except OSError as error:
            return trouble.of_folder(self._setting, str(self.root), error)
        return None

    def _probe(self) -> None:
        """Do all that publishing a file does, in every folder, and remove it. Raises `OSError`."""
        with self.draft("probe.bin") as draft:
            draft.write_bytes(b"1")
            for folder in self._folders:
                place = self.root / folder / self._probe_name
                try:
                    _link(draft, place)
                finally:
                    place.unlink(missing_ok=True)

    # -- for the sweeper -------------------------------------------------------------------------------------------

    async def now(self) -> float:
        def touch() -> float:
            # A folder can be touched on a full disk too. Without times given, a server sets those of its own clock.
            self._temporary.mkdir(parents=True, exist_ok=True)
            os.utime(self._temporary)
            return self._temporary.stat().st_mtime

        return await asyncio.to_thread(touch)

    async def files(self, inside: str = "") -> list[File]:
        def look() -> list[File]:
            found = [
                _file(f"{inside}/{path.name}" if inside else path.name, facts)
                for path, facts in _regular_files(self.root / inside)
            ]
            return sorted((file for file in found if is_name(file.name)), key=lambda file: file.modified_at)

        return await asyncio.to_thread(look)

    async def delete_old(self, name: str, *, before: float) -> bool:
        return await asyncio.to_thread(_delete_old, self.path(name), before)

    async def delete_old_drafts(self, *, before: float) -> int:
        def sweep() -> int:
            drafts = [path for path, _ in _regular_files(self._temporary)]
            for folder in self._folders:
                drafts += [path for path, _ in _regular_files(self.root / folder) if path.name.startswith(PROBE_PREFIX)]
            return sum(_delete_old(path, before) for path in drafts)

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


def _delete_old(path: Path, before: float) -> bool:
    with suppress(FileNotFoundError):
        if path.stat().st_mtime <= before:
            path.unlink()
            return True
    return False


def _link(draft: Path, final: Path) -> bool:
    """Make a draft a file, durably. False if there is one of that name already: that one stays."""
    final.parent.mkdir(exist_ok=True)
    _fsync(draft)
    try:
        os.link(draft, final)
    except FileExistsError:
        return False
    _fsync(final.parent)
    return True


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
