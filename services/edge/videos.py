"""Serve videos with Range, HEAD and ETag (RFC 9110), after a check of their checksums against their records.

`routes` calls `Videos.answer`, and for a small part `Videos.piece`; a picture of a video is answered whole. Litestar
offers none of these, and without 206 answers browsers cannot seek, and some cannot play.
"""

import hashlib
import re
from typing import Any

from litestar import Response
from litestar.response import Stream

from contracts import wire
from contracts.events import JobSucceeded
from contracts.job import video_name
from contracts.process import log
from contracts.recent import Recent
from contracts.record import video_record_name
from contracts.shared_answers import SharedAnswers
from contracts.stores import File, Store
from contracts.video_files import Variant, picture_name
from services.edge.errors import Damaged, NoSuchPart

CHECKED_MAX = 10_000
CHECKS_MAX = 100
"""How many checks that are under way can be shared."""
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})", re.IGNORECASE)


class Videos:
    """The videos in a store. One for the process.

    Each video is compared with its record before it is first served, and again whenever its file changes.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._checked = Recent[str, str](CHECKED_MAX)
        """The ETag of every video that equals its record, or has none; by job."""
        self._checks = SharedAnswers(self._check, kept_s=0.0, kept_max=CHECKS_MAX)

    async def answer(self, job_id: str, *, method: str, headers: dict[str, str]) -> Response[Any]:
        """Return the answer with a job's video: the whole (200), one range (206), or none if unchanged (304).

        To HEAD the answer has no body. `headers` are the request's, with names in lower case; a `Range` that is not one
        range of bytes counts as none. The first answer waits until the whole file has been hashed.
        Raises `Damaged`, `NoSuchPart` or `FileNotFoundError`.
        """
        name = video_name(job_id)
        file = await self._store.facts(name)
        common = await self._headers(job_id, file)
        etag = common["ETag"]
        if _is_known(headers, etag):
            return Response(None, status_code=304, headers=common)
        whole = range(file.size_bytes)
        part = _part(headers["range"], whole) if _counts(headers, etag) else None
        if part is None:
            status, part = 200, whole
        elif part:
            status, common["Content-Range"] = 206, f"bytes {part.start}-{part.stop - 1}/{file.size_bytes}"
        else:
            raise NoSuchPart(file.size_bytes, common)
        return Stream(
            self._store.stream(name, part) if method == "GET" and part else iter(()),
            status_code=status,
            media_type="video/mp4",
            headers={**common, "Content-Length": str(len(part))},
        )

    async def picture_answer(
        self, job_id: str, variant: Variant, *, method: str, headers: dict[str, str]
    ) -> Response[Any]:
        """Return the answer with a picture of a job's video: the whole WebP (200), or none if unchanged (304).

        To HEAD the answer has no body. `headers` are the request's, with names in lower case. Raises
        `FileNotFoundError`: the video may have no pictures, if no cluster could make them.
        """
        name = picture_name(job_id, variant)
        file = await self._store.facts(name)
        common = _cached(file)
        if _is_known(headers, common["ETag"]):
            return Response(None, status_code=304, headers=common)
        body = self._store.stream(name, range(file.size_bytes)) if method == "GET" and file.size_bytes else iter(())
        length = {"Content-Length": str(file.size_bytes)}
        return Stream(body, status_code=200, media_type="image/webp", headers={**common, **length})

    async def piece(self, job_id: str, part: range) -> tuple[dict[str, str], bytes]:
        """Return the headers and the body of a 206 with a part of a job's video, cut off at its end.

        `part` is not empty and fits in memory. Raises as `serve` does, and `OSError` if the file changes meanwhile.
        """
        file, body = await self._store.piece(video_name(job_id), part)
        headers = await self._headers(job_id, file)
        there = range(file.size_bytes)[part.start : part.stop]
        if not there:
            raise NoSuchPart(file.size_bytes, headers)
        if len(body) != len(there):
            raise OSError("the video's file changed while it was read")
        headers["Content-Range"] = f"bytes {there.start}-{there.stop - 1}/{file.size_bytes}"
        return headers, body

    async def _headers(self, job_id: str, file: File) -> dict[str, str]:
        """Return the headers of every answer with a job's video, once its file is checked. Raises `Damaged`."""
        if self._checked.get(job_id) != file.etag:
            await self._checks.get((job_id, file))
        return {"Accept-Ranges": "bytes", **_cached(file)}

    async def _check(self, which: tuple[str, File]) -> None:
        """Compare a job's video with its record, by size and SHA-256, and note its ETag as checked. Raises `Damaged`.

        A video without a readable record passes. All who ask for the video meanwhile wait for the same check.
        """
        job_id, file = which
        made = await self._as_made(job_id)
        if made is not None:
            if file.size_bytes != made.size_bytes:
                raise Damaged(f"{file.name} has {file.size_bytes} bytes, was made with {made.size_bytes}")
            if await self._sha256(file) != made.sha256:
                raise Damaged(f"{file.name} has another content than it was made with")
        self._checked[job_id] = file.etag

    async def _as_made(self, job_id: str) -> JobSucceeded | None:
        """Return the record of a video's making; None if there is no record, or none that can be read (logged)."""
        content = await self._store.read(video_record_name(job_id))
        try:
            ending = None if content is None else wire.decode_record(content).ending
        except wire.Undecodable as error:
            log.get().error("record_unreadable", job_id=job_id, error=str(error))
            return None
        return ending if isinstance(ending, JobSucceeded) else None

    async def _sha256(self, file: File) -> str:
        """Return the SHA-256 of a file in the store, in hexadecimal."""
        digest = hashlib.sha256()
        async for chunk in self._store.stream(file.name, range(file.size_bytes)):
            digest.update(chunk)
        return digest.hexdigest()


def _cached(file: File) -> dict[str, str]:
    """Return the headers by which a client keeps a file, which never changes under its name."""
    return {"ETag": f'"{file.etag}"', "Cache-Control": "private, max-age=31536000, immutable"}


def _is_known(headers: dict[str, str], etag: str) -> bool:
    """Return whether the client has the file with this quoted ETag already, by its `If-None-Match`."""
    return etag in headers.get("if-none-match", "") or headers.get("if-none-match") == "*"


def _counts(headers: dict[str, str], etag: str) -> bool:
    """Return whether the headers ask for a range, and by `If-Range` for one of the file with this quoted ETag."""
    return "range" in headers and headers.get("if-range", etag) == etag


def _part(asked: str, whole: range) -> range | None:
    """Return the bytes of the `whole` that a `Range` header asks for: empty if beyond the end, None to ignore it.

    A header is ignored that is malformed or has several ranges.
    """
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match[1] == match[2] == "":
        return None
    first, last = match[1], match[2]
    if first == "":
        return whole[max(0, len(whole) - int(last)) :] if int(last) else whole[:0]
    if last and int(last) < int(first):
        return None
    return whole[int(first) : int(last) + 1 if last else None]
