"""Read the answer to a fetch: the image's bytes, the target of a redirect, or a refusal. `fetch` calls it."""

import re

import aiohttp

from contracts.outbound.address import Parts, joined
from services.edge.errors import ImageRefused
from services.edge.image.decode import IMAGE_BYTES_MAX
from services.edge.resources.spool import Spool

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PICTURES = frozenset({200, 203})
"""Statuses whose body is the resource (RFC 9110, 15.3). The body of 206 is a part, that of 201 and 202 a report."""
CHUNK_BYTES = 64 * 1024

_STRAY_BYTE = re.compile("[\udc80-\udcff]")
"""A byte of a header that is not UTF-8, as aiohttp hands it on."""


def target_of(base: Parts, answer: aiohttp.ClientResponse) -> str:
    """Return the URL to which an answer redirects, with bytes that are not UTF-8 escaped. Raises `ImageRefused`."""
    if not (written := answer.headers.get("Location")):
        raise ImageRefused(f"its server answered {answer.status}, and says nothing of where to")
    return joined(base, _STRAY_BYTE.sub(lambda stray: f"%{ord(stray[0]) - 0xDC00:02X}", written))


async def add_body(answer: aiohttp.ClientResponse, picture: Spool) -> None:
    """Add the body of an answer to the picture, at most `IMAGE_BYTES_MAX`.

    Raises `ImageRefused` for more, a status not in `PICTURES` or a compressed body, `Overloaded`, or aiohttp's errors.
    """
    if answer.status not in PICTURES:
        raise ImageRefused(f"its server answered {answer.status}")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ImageRefused("its server sent it compressed")
    too_large = ImageRefused(f"it is larger than {IMAGE_BYTES_MAX // 1024**2} MB")
    if (answer.content_length or 0) > IMAGE_BYTES_MAX:
        raise too_large
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        await picture.add(chunk)
        if picture.size_bytes > IMAGE_BYTES_MAX:
            raise too_large
