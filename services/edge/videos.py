"""Serving one whole file: Range, HEAD, ETag (RFC 9110). Knows files, not jobs.

Litestar has none of it, and without 206 answers a browser neither seeks nor, some of them, plays.
"""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
from litestar import Response
from litestar.response import Stream

CHUNK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


def serve(path: Path, *, method: str, headers: dict[str, str]) -> Response[Any]:
    """The file, a part of it (206), nothing new (304) or an unsatisfiable range (416). Raises `FileNotFoundError`."""
    facts = path.stat()
    etag = f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"'
    common = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
    if etag in headers.get("if-none-match", "") or headers.get("if-none-match") == "*":
        return Response(None, status_code=304, headers=common)
    asked = headers.get("range") if headers.get("if-range", etag) == etag else None
    part = whole = range(facts.st_size)
    if asked is not None:
        part = _part(asked, whole)
        if not part:
            return Response(None, status_code=416, headers={**common, "Content-Range": f"bytes */{facts.st_size}"})
    if part != whole:
        common["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{facts.st_size}"
    return Stream(
        iter(()) if method == "HEAD" else _bytes(path, part),
        status_code=200 if part == whole else 206,
        media_type="video/mp4",
        headers={**common, "Content-Length": str(len(part))},
    )


def _part(asked: str, whole: range) -> range:
    """The bytes that a single range asks for: empty where there are none, all where it is malformed or several."""
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match[0] == "bytes=-":
        return whole
    first, last = match[1], match[2]
    if first == "":
        return whole[max(0, len(whole) - int(last)) :] if int(last) else whole[:0]
    if last and int(last) < int(first):
        return whole
    return whole[int(first) : int(last) + 1 if last else None]


async def _bytes(path: Path, part: range) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb", opener=_no_link) as file:
        await file.seek(part.start)
        left = len(part)
        while left and (chunk := await file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)
