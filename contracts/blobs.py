"""The door to files: whole files under short names, in a folder. Knows nothing of jobs.

A file appears whole or not at all, and the first one of a name stays: temp file, fsync, create-only link, fsync of
the folder. Other than that, plain reads and deletes.
"""

import asyncio
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64})?\.[a-z0-9]{1,12}")
_TEMPORARY = ".tmp"


class Folder:
    """A folder of files, made where it is missing. Names look like `inputs/3f….png`, one folder deep at most."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary.mkdir(parents=True, exist_ok=True)

    @property
    def _temporary(self) -> Path:
        return self.root / _TEMPORARY

    def path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a file name: {name[:80]!r}")
        return self.root / name

    @contextmanager
    def draft(self, name: str) -> Generator[Path, None, None]:
        """A path beside the final one to write to; removed at the end of the block, published or not."""
        path = self._temporary / f"{Path(name).stem}.{uuid4().hex}{Path(name).suffix}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def publish(self, draft: Path, name: str) -> bool:
        """Make a draft the file of that name, durably. False where there is one already: that one stays."""
        final = self.path(name)
        final.parent.mkdir(exist_ok=True)
        _fsync(draft)
        try:
            os.link(draft, final)
        except FileExistsError:
            return False
        _fsync(final.parent)
        return True

    async def write(self, name: str, data: bytes) -> bool:
        """Publish these bytes; False where a file of that name is there already."""

        def write() -> bool:
            with self.draft(name) as draft:
                draft.write_bytes(data)
                return self.publish(draft, name)

        return await asyncio.to_thread(write)

    async def read(self, name: str) -> bytes | None:
        def read() -> bytes | None:
            try:
                return self.path(name).read_bytes()
            except FileNotFoundError:
                return None

        return await asyncio.to_thread(read)

    async def delete(self, name: str) -> None:
        """Delete a file; one that is not there is no error."""
        await asyncio.to_thread(self.path(name).unlink, missing_ok=True)

    async def writable(self) -> bool:
        def probe() -> bool:
            try:
                with self.draft("probe.bin") as draft:
                    draft.write_bytes(b"1")
            except OSError:
                return False
            return True

        return await asyncio.to_thread(probe)


def folder(url: str) -> Folder:
    """The store that a setting names. Raises `ValueError` for what is not a folder."""
    if "://" in url:
        raise ValueError(f"only folders are supported yet, was {url!r}")
    return Folder(Path(url).resolve())


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
