"""The child that parses a large submission, or a large part of one.

It has two files: what is to be parsed, and an empty one for the image.

`bodies` has it forked, so that parsing delays no other request. It says its answer as JSON. An image in the body goes
to the second file, as the `data:` URI that it is, and `INLINE` replaces it in the request.
"""

import mmap
import os
import socket
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from contracts.cluster import Objection
from contracts.job import JobRequest
from services.edge.body.dialect import DIALECTS
from services.edge.body.references import picture_in
from services.edge.errors import Invalid
from services.edge.image.data_uri import INLINE, is_inline
from services.edge.resources.child_limits import limit_this_process

CPU_S_MAX = 10
MEMORY_BYTES_MAX = 512 * 1024**2
TEXT_BYTES_MAX = 32 * 1024**2
PIECE_CHARS = 1024**2
REFERENCE = "reference"
"""The work on a part of a form that is JSON and refers to a picture."""


class Answer(Struct, frozen=True):
    """The result of parsing: a request, or objections. `is_inline` says that the image is in the second file."""

    request: JobRequest | None = None
    is_inline: bool = False
    objections: list[Objection] = []


def main(talk: socket.socket, files: Sequence[int], arguments: Sequence[str]) -> int:
    """Parse the body in the first file, say an `Answer` as JSON, and return 0. Limits this process for good.

    The one argument says what is in it. An inline image goes to the second file.
    """
    limit_this_process(cpu_s=CPU_S_MAX, memory_bytes=MEMORY_BYTES_MAX, file_bytes=TEXT_BYTES_MAX)
    body, text = files
    try:
        answer = read(arguments[0], body, text)
    except Invalid as refusal:
        answer = Answer(objections=refusal.objections)
    except MemoryError:
        answer = Answer(objections=[Objection("body", "the body needs too much memory to be read")])
    talk.sendall(msgspec.json.encode(answer))
    return 0


def read(what: str, body: int, text: int) -> Answer:
    """Parse the body in the descriptor `body`, and write the `data:` URI of an inline image to the descriptor `text`.

    `what` is the name of a dialect, or `REFERENCE`. Raises `Invalid`.
    """
    content = mmap.mmap(body, 0, access=mmap.ACCESS_READ)
    if what == REFERENCE:
        return _read_reference(content, text)
    request = DIALECTS[what].parse(content)
    if not is_inline(request.image_url):
        return Answer(request)
    _write(request.image_url, text)
    return Answer(replace(request, image_url=INLINE), is_inline=True)


def _read_reference(content: mmap.mmap, text: int) -> Answer:
    """Write the `data:` URI in a reference to a picture to the descriptor `text`. Raises `Invalid`."""
    url = msgspec.json.decode(picture_in(content), type=str)
    if not is_inline(url):
        raise Invalid([Objection("image_reference", "image_reference is too long; only a data: URI may be large")])
    _write(url, text)
    return Answer(is_inline=True)


def _write(uri: str, text: int) -> None:
    """Write a text to a descriptor in pieces, without a second copy of it."""
    with os.fdopen(text, "wb", buffering=0, closefd=False) as file:
        for start in range(0, len(uri), PIECE_CHARS):
            file.write(uri[start : start + PIECE_CHARS].encode())
