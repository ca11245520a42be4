"""A store in a folder, kept crash-safe with POSIX calls. `open.open_store` makes it for a setting that is a path.

A file appears whole or not at all, and the first file of a name stays: write a temporary file, fsync it, link it under
its name (which only creates), fsync the folder.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from mmap import mmap
from pathlib import Path
from uuid import uuid4

from contracts.process import log
from contracts.stores import posix, trouble
from contracts.stores.last_check import LastCheck
from contracts.stores.store import CHUNK_BYTES, PROBE_PREFIX, File, Store, checked, is_name
from contracts.stores.trouble import Trouble

_TEMPORARY = ".tmp"


class Folder(Store):
    """A `Store` in a folder, which is made with its first file; `Store` says what the methods do.

    `setting` and `folders` as in `open_store`.
    """

    def __init__(self, root: Path, *, setting: str = "", folders: tuple[str, ...] = ("",)) -> None:
        self.root = root
        self._setting, self._folders = setting, folders
        self._probe_name = PROBE_PREFIX + uuid4().hex  # its own, so that processes do not disturb each other
        self._last_check = LastCheck()

    @property
    def _temporary(self) -> Path:
        return self.root / _TEMPORARY

    def path(self, name: str) -> Path:
        """Return the path of a file of this name, which need not exist. Raises `ValueError` if it is no name."""
        return self.root / checked(name)

    @contextmanager
    def draft(self, name: str) -> Generator[Path, None, None]:
        """Do as `Store.draft` says, in a folder `.tmp` of the store, which is made if need be."""
        self._temporary.mkdir(parents=True, exist_ok=True)
        path = self._temporary / f"{Path(name).stem}.{uuid4().hex}{Path(name).suffix}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def publish(self, draft: Path, name: str) -> bool:
        return await asyncio.to_thread(self._publish, draft, name)

    def _publish(self, draft: Path, name: str) -> bool:
        """Do what `publish` does, blocking."""
        return posix.link(draft, self.path(name))

    async def write(self, name: str, data: bytes | mmap) -> bool:
        """Do as `Store.write` says. To count as young, a file that is there already is touched."""

        def write() -> bool:
            with self.draft(name) as draft:
                draft.write_bytes(data)
                while not self._publish(draft, name):
                    with suppress(FileNotFoundError):  # the sweeper has just deleted it: publish once more
                        os.utime(self.path(name))
                        return False
                return True

        return await asyncio.to_thread(write)

    async def read(self, name: str) -> bytes | None:
        """Do as `Store.read` says."""
        with suppress(FileNotFoundError):
            return await asyncio.to_thread(self.path(name).read_bytes)
        return None

    async def exists(self, name: str) -> bool:
        return await asyncio.to_thread(self.path(name).exists)

    async def facts(self, name: str) -> File:
        return await asyncio.to_thread(self._facts, name)

    def _facts(self, name: str) -> File:
        """Do what `facts` does, blocking."""
        facts = os.lstat(self.path(name))
        if not stat.S_ISREG(facts.st_mode):
            raise FileNotFoundError(name)
        return _file(name, facts)

    async def piece(self, name: str, part: range) -> tuple[File, bytes]:
        """Do as `Store.piece` says. Each call in a thread costs as much as the reading."""
        return await asyncio.to_thread(lambda: (self._facts(name), posix.part_of(self.path(name), part)))

    async def stream(self, name: str, part: range) -> AsyncIterator[bytes]:
        """Do as `Store.stream` says. A file that is deleted meanwhile is yielded to its end."""
        file, chunk = await asyncio.to_thread(posix.opened_at, self.path(name), part, bytes_max=CHUNK_BYTES)
        with file:
            left = len(part) - len(chunk)
            while chunk:
                yield chunk
                chunk = await asyncio.to_thread(file.read, min(CHUNK_BYTES, left)) if left else b""
                left -= len(chunk)

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
        """Do as `Store.trouble` says; the free space of the disk is asked for each time."""
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
        """Return the trouble of publishing a probe now; None if it could be published."""
        try:
            await asyncio.to_thread(self._probe)
        except OSError as error:
            return trouble.of_folder(self._setting, str(self.root), error)
        return None

    def _probe(self) -> None:
        """Publish a probe in every folder, as a file is published, and remove it, blocking. Raises `OSError`."""
        with self.draft("probe.bin") as draft:
            draft.write_bytes(b"1")
            for folder in self._folders:
                place = self.root / folder / self._probe_name
                try:
                    posix.link(draft, place)
                finally:
                    place.unlink(missing_ok=True)

    # -- for the sweeper -------------------------------------------------------------------------------------------

    async def now(self) -> float:
        """Do as `Store.now` says, by the time that the file system gives a folder that is touched."""

        def touch() -> float:
            # A folder can be touched on a full disk too. Without times given, a file server sets its own clock's.
            self._temporary.mkdir(parents=True, exist_ok=True)
            os.utime(self._temporary)
            return self._temporary.stat().st_mtime

        return await asyncio.to_thread(touch)

    async def files(self, inside: str = "") -> list[File]:
        """Do as `Store.files` says; symbolic links count as no files."""

        def look() -> list[File]:
            found = [
                _file(f"{inside}/{path.name}" if inside else path.name, facts)
                for path, facts in posix.regular_files(self.root / inside)
            ]
            return sorted((file for file in found if is_name(file.name)), key=lambda file: file.modified_at)

        return await asyncio.to_thread(look)

    async def delete_old(self, name: str, *, before: float) -> bool:
        return await asyncio.to_thread(posix.delete_if_old, self.path(name), before)

    async def delete_old_drafts(self, *, before: float) -> int:
        """Do as `Store.delete_old_drafts` says, in `.tmp` and in every folder that is probed."""

        def sweep() -> int:
            drafts = [path for path, _ in posix.regular_files(self._temporary)]
            for folder in self._folders:
                drafts += [
                    path for path, _ in posix.regular_files(self.root / folder) if path.name.startswith(PROBE_PREFIX)
                ]
            return sum(posix.delete_if_old(path, before) for path in drafts)

        return await asyncio.to_thread(sweep)


def _file(name: str, facts: os.stat_result) -> File:
    return File(name, facts.st_size, facts.st_mtime, f"{facts.st_size:x}-{facts.st_mtime_ns:x}")
