"""Serving one whole file: Range, HEAD, ETag (RFC 9110). Knows files, not jobs.

Litestar has none of it, and without 206 answers a browser neither seeks nor, some of them, plays.
"""

import re
from typing import Any

from litestar import Response
from litestar.response import Stream

from contracts.blobs import Store
from services.edge.errors import Damaged, NoSuchPart

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


async def serve(
    store: Store, name: str, *, method: str, headers: dict[str, str], size_bytes: int | None = None
) -> Response[Any]:
    """The file, a part of it (206) or nothing new (304).

    `size_bytes` is how long it should be, where that is known. Raises `Damaged`, `NoSuchPart` or `FileNotFoundError`.
    """
    file = await store.facts(name)
    if size_bytes not in (None, file.size_bytes):
        raise Damaged(f"{name} has {file.size_bytes} bytes, was made with {size_bytes}")
    etag = f'"{file.etag}"'
    common = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
    if etag in headers.get("if-none-match", "") or headers.get("if-none-match") == "*":
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
        store.stream(name, part) if method == "GET" and part else iter(()),
        status_code=status,
        media_type="video/mp4",
        headers={**common, "Content-Length": str(len(part))},
    )


def _counts(headers: dict[str, str], etag: str) -> bool:
    """Whether a range is asked for, of this very file."""
    return "range" in headers and headers.get("if-range", etag) == etag


def _part(asked: str, whole: range) -> range | None:
    """The bytes that a single range asks for: empty where there are none, None where it is malformed or several."""
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if first == "":
        return whole[max(0, len(whole) - int(last)) :] if int(last) else whole[:0]
    if last and int(last) < int(first):
        return None
    return whole[int(first) : int(last) + 1 if last else None]
