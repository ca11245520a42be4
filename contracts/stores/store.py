"""The store: whole files under short names, as the protocol that a folder and an S3 bucket both keep.

A file appears whole or not at all, and the first file of a name stays. Beside publishing there are plain reads and
deletes, and the times that a sweeper goes by, which are the store's own. Edge, state and rank 0 keep inputs,
checkpoints, videos and records in stores, which `configured` opens.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from mmap import mmap
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from contracts.stores.trouble import Trouble

CHUNK_BYTES = 256 * 1024
PROBE_PREFIX = ".probe-"
"""How the names of probes begin. A file of such a name is in no list and is never served."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64})?\.[a-z0-9]{1,12}")


class File(Struct, frozen=True):
    """The facts of a file in a store: `modified_at` in Unix seconds, and an `etag` that changes with the content."""

    name: str
    size_bytes: int
    modified_at: float
    etag: str


class Store(Protocol):
    """Files by name. Names look like `inputs/3f….png`, one folder deep at most; other names raise `ValueError`.

    A store that fails raises `OSError`, except in `delete` and `trouble`.
    """

    def draft(self, name: str) -> AbstractContextManager[Path]:
        """Yield the path of a new file on this machine to write to, with the name's ending; no file is there yet.

        The draft is removed at the end of the block, published or not.
        """
        ...

    async def publish(self, draft: Path, name: str) -> bool:
        """Make a draft of this store the file of a name, durably. Return False if the name has a file: it stays."""
        ...

    async def write(self, name: str, data: bytes | mmap) -> bool:
        """Publish bytes durably. Return False if the name has a file already: it stays, and counts as young again."""
        ...

    async def read(self, name: str) -> bytes | None:
        """Return the whole file; None if there is none."""
        ...

    async def exists(self, name: str) -> bool:
        """Return whether the name has a file."""
        ...

    async def facts(self, name: str) -> File:
        """Return the size, time and etag of a file. Raises `FileNotFoundError`."""
        ...

    def stream(self, name: str, part: range) -> AsyncIterator[bytes]:
        """Yield the bytes at the offsets of `part`, in pieces of about `CHUNK_BYTES`. Raises `FileNotFoundError`.

        `part` is consecutive, not empty and within the file: a bucket raises `OSError` for another one.
        """
        ...

    async def piece(self, name: str, part: range) -> tuple[File, bytes]:
        """Return the facts of a file, and those bytes at the offsets of `part` that it has. Raises `FileNotFoundError`.

        For parts that fit in memory; a folder looks and reads in one go.
        """
        file = await self.facts(name)
        there = range(file.size_bytes)[part.start : part.stop]
        return file, b"".join([chunk async for chunk in self.stream(name, there)]) if there else b""

    def local(self, name: str) -> AbstractAsyncContextManager[Path]:
        """Yield a path on this machine to read the file from, for the length of the block. Raises `FileNotFoundError`.

        A bucket copies the whole file; a folder yields the file itself, which must not be changed.
        """
        ...

    async def delete(self, name: str) -> None:
        """Delete a file for good if it exists. A failure is logged, and the file left to the sweeper."""
        ...

    async def trouble(self, room_bytes: int = 0) -> Trouble | None:
        """Return why no file could be published now; None if one could, with room for this many bytes.

        A probe is published in every folder of the store that is written to. A good answer holds for
        `last_check.CHECK_AGAIN_S`. A bucket always has room.
        """
        ...

    async def now(self) -> float:
        """Return the time by the clock that the files' times come from, in Unix seconds."""
        ...

    async def files(self, inside: str = "") -> list[File]:
        """Return the files in the store itself, or in a folder inside it, oldest first; empty without that folder.

        Files whose names are none of a store are left out.
        """
        ...

    async def delete_old(self, name: str, *, before: float) -> bool:
        """Delete a file last written at or before this moment of `now`, and return whether it was deleted.

        The time is read right before the deletion: the file may be young again.
        """
        ...

    async def delete_old_drafts(self, *, before: float) -> int:
        """Delete the drafts and probes last written at or before this moment of `now`, and return how many."""
        ...


async def overwrite(store: Store, name: str, data: bytes) -> None:
    """Publish bytes in place of any file of the name. A crash in between leaves no file. Raises `OSError`.

    If another process publishes the name in between, its file stays.
    """
    if not await store.write(name, data):
        await store.delete(name)
        await store.write(name, data)


def is_name(text: str) -> bool:
    """Return whether a text is a file name of a store."""
    return _NAME.fullmatch(text) is not None


def checked(name: str) -> str:
    """Return the text unchanged if it is a file name of a store. Raises `ValueError` if it is none."""
    if not is_name(name):
        raise ValueError(f"not a file name: {name[:80]!r}")
    return name
