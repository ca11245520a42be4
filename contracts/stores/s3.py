"""A store in an S3-compatible bucket. `open.open_store` makes it for a setting that is an `s3://` URL.

An object appears whole or not at all by itself; a put that only creates keeps the first object of a name. Credentials
and address come from the usual variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …), read when the store is made.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from mmap import mmap
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from contracts.process import log
from contracts.stores import s3_trouble
from contracts.stores.last_check import LastCheck
from contracts.stores.store import CHUNK_BYTES, PROBE_PREFIX, File, Store, checked, is_name
from contracts.stores.trouble import Trouble

CONNECT_WITHIN = timedelta(seconds=5)
ANSWER_WITHIN = timedelta(seconds=60)  # the largest object in one request
RETRIES_MAX = 3
RETRY_WITHIN = timedelta(seconds=30)
CHECK_WITHIN_S = 10.0
_OLD_PROBE = "probe.bin"  # left over by versions that overwrote one object again and again
_LASTING = ("FileNotFoundError", "NotFoundError", "NotSupportedError")
"""Errors that waiting does not cure: there is no such bucket, or its server knows no put that only creates."""


class Bucket(Store):
    """A `Store` of the objects under `s3://bucket/prefix`; `Store` says what methods do. Drafts are temporary files.

    `setting` and `folders` as in `open_store`. Raises `ValueError` if the variables cannot be right.
    """

    def __init__(self, url: str, *, setting: str = "", folders: tuple[str, ...] = ("",)) -> None:
        self._url, self._setting, self._folders = url, setting, folders
        self._probe_name = PROBE_PREFIX + uuid4().hex  # its own, so that processes do not disturb each other
        self._last_check = LastCheck()
        # obstore's own types leave the rest of a configuration open.
        options: Any = {"timeout": ANSWER_WITHIN, "connect_timeout": CONNECT_WITHIN, "allow_http": True}
        retries: Any = {"max_retries": RETRIES_MAX, "retry_timeout": RETRY_WITHIN}
        s3_trouble.check_endpoint()
        try:
            self._store = S3Store.from_url(url, client_options=options, retry_config=retries)
        except BaseError as error:
            raise ValueError(s3_trouble.reason(error)) from error

    @contextmanager
    def draft(self, name: str) -> Generator[Path, None, None]:
        with tempfile.TemporaryDirectory(prefix="wanjet-") as folder:
            yield Path(folder) / Path(checked(name)).name

    async def publish(self, draft: Path, name: str) -> bool:
        return await self._create(name, draft)

    async def write(self, name: str, data: bytes | mmap) -> bool:
        """Do as `Store.write` says. To count as young, a file that is there already is written again as it is."""
        created = await self._create(name, data)
        if not created:
            await self._make_young(name)
        return created

    async def _create(self, name: str, content: Path | bytes | mmap) -> bool:
        """Put an object, from a file or from bytes. Return False if there is one of this name: it stays unchanged."""
        with s3_trouble.as_os_error(self._setting):
            try:
                await obstore.put_async(self._store, checked(name), content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    async def _make_young(self, name: str) -> None:
        """Put an object's bytes again, if it exists: its age cannot be changed alone."""
        if (data := await self.read(name)) is not None:
            with s3_trouble.as_os_error(self._setting):
                await obstore.put_async(self._store, name, data, mode="overwrite", use_multipart=False)

    async def read(self, name: str) -> bytes | None:
        with s3_trouble.as_os_error(self._setting), suppress(FileNotFoundError):
            answer = await obstore.get_async(self._store, checked(name))
            return bytes(await answer.bytes_async())
        return None

    async def exists(self, name: str) -> bool:
        with suppress(FileNotFoundError):
            await self.facts(name)
            return True
        return False

    async def facts(self, name: str) -> File:
        with s3_trouble.as_os_error(self._setting):
            return _file(name, await obstore.head_async(self._store, checked(name)))

    async def stream(self, name: str, part: range) -> AsyncIterator[bytes]:
        """Do as `Store.stream` says, by one request; raises `OSError` for an empty `part`."""
        with s3_trouble.as_os_error(self._setting):
            # S3 refuses an empty range, and an object of no bytes has no other range.
            answer = await obstore.get_async(self._store, checked(name), options={"range": (part.start, part.stop)})
            async for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    @asynccontextmanager
    async def local(self, name: str) -> AsyncGenerator[Path, None]:
        """Do as `Store.local` says: copy the file into a draft, and remove that at the end of the block."""
        whole = range((await self.facts(name)).size_bytes)
        with self.draft(name) as copy:
            with copy.open("wb") as file:
                async for chunk in self.stream(name, whole):
                    file.write(chunk)
            yield copy

    async def delete(self, name: str) -> None:
        try:
            with s3_trouble.as_os_error(self._setting), suppress(FileNotFoundError):
                await obstore.delete_async(self._store, checked(name))
        except OSError as error:
            log.get().warning("file_not_deleted", name=name, error=repr(error))

    async def trouble(self, room_bytes: int = 0) -> Trouble | None:  # noqa: ARG002  # the protocol
        return await self._last_check.found(self._check)

    async def _check(self) -> Trouble | None:
        """Return the trouble of probing every folder now, within `CHECK_WITHIN_S`; None for none."""
        try:
            async with asyncio.timeout(CHECK_WITHIN_S):
                await asyncio.gather(*(self._probe(folder) for folder in self._folders))
        except TimeoutError:
            text = s3_trouble.silence(CHECK_WITHIN_S)
            return Trouble(self._setting, self._url, TimeoutError.__name__, "does not answer", text)
        except OSError as error:
            cause = error.__cause__ or error
            name, text = type(cause).__name__, f"object store: {s3_trouble.reason(cause)}"
            return Trouble(self._setting, self._url, name, "cannot be written to", text, lasting=name in _LASTING)
        return None

    async def _probe(self, folder: str) -> None:
        """Create an object in a folder and remove it. Raises `OSError`."""
        place = _inside(folder, self._probe_name)
        with s3_trouble.as_os_error(self._setting):
            with suppress(AlreadyExistsError):  # an earlier probe that could not be removed
                await obstore.put_async(self._store, place, b"1", mode="create", use_multipart=False)
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, place)

    async def now(self) -> float:
        """Do as `Store.now` says, by the time that the bucket gives an object written for this and deleted."""
        place = _inside(self._folders[0], PROBE_PREFIX + uuid4().hex)
        with s3_trouble.as_os_error(self._setting):
            await obstore.put_async(self._store, place, b"1", mode="create", use_multipart=False)
            written = await obstore.head_async(self._store, place)
            await obstore.delete_async(self._store, place)
        return written["last_modified"].timestamp()

    async def files(self, inside: str = "") -> list[File]:
        with s3_trouble.as_os_error(self._setting):
            found = await obstore.list_with_delimiter_async(self._store, inside or None)
        files = [_file(str(facts["path"]), facts) for facts in found["objects"] if facts["path"] != _OLD_PROBE]
        return sorted((file for file in files if is_name(file.name)), key=lambda file: file.modified_at)

    async def delete_old(self, name: str, *, before: float) -> bool:
        """Do as `Store.delete_old` says, in two requests: a file that becomes young between them is deleted too."""
        with suppress(FileNotFoundError):
            if (await self.facts(name)).modified_at <= before:
                with s3_trouble.as_os_error(self._setting):
                    await obstore.delete_async(self._store, name)
                return True
        return False

    async def delete_old_drafts(self, *, before: float) -> int:
        """Delete old probes, left by processes that were killed as they checked: no drafts lie in the bucket."""
        old: list[str] = []
        with s3_trouble.as_os_error(self._setting):
            for folder in self._folders:
                found = await obstore.list_with_delimiter_async(self._store, folder or None)
                old += [
                    str(facts["path"])
                    for facts in found["objects"]
                    if str(facts["path"]).rpartition("/")[2].startswith((PROBE_PREFIX, _OLD_PROBE))
                    and facts["last_modified"].timestamp() <= before
                ]
            for path in old:
                with suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, path)
        return len(old)


def _inside(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _file(name: str, facts: Any) -> File:
    return File(name, facts["size"], facts["last_modified"].timestamp(), (facts["e_tag"] or "").strip('"'))
