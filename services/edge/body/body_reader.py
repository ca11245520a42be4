"""The child that parses a large submission, with two files: the body, and an empty one for the text of its image.

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
from services.edge.body.submission import parse
from services.edge.errors import Invalid
from services.edge.image.data_uri import INLINE, is_inline
from services.edge.resources.child_limits import limit_this_process

CPU_S_MAX = 10
MEMORY_BYTES_MAX = 512 * 1024**2
TEXT_BYTES_MAX = 32 * 1024**2
PIECE_CHARS = 1024**2


class Answer(Struct, frozen=True):
    """The result of parsing: a request, or objections. `is_inline` says that the image is in the file TEXT."""

    request: JobRequest | None = None
    is_inline: bool = False
    objections: list[Objection] = []


def main(talk: socket.socket, files: Sequence[int], _arguments: Sequence[str]) -> int:
    """Parse the body in the first file, say an `Answer` as JSON, and return 0. Limits this process for good.

    An inline image goes to the second file.
    """
    limit_this_process(cpu_s=CPU_S_MAX, memory_bytes=MEMORY_BYTES_MAX, file_bytes=TEXT_BYTES_MAX)
    body, text = files
    try:
        answer = read(body, text)
    except Invalid as refusal:
        answer = Answer(objections=refusal.objections)
    except MemoryError:
        answer = Answer(objections=[Objection("body", "the body needs too much memory to be read")])
    talk.sendall(msgspec.json.encode(answer))
    return 0


def read(body: int, text: int) -> Answer:
    """Parse the body in the descriptor `body`, and write the `data:` URI of an inline image to the descriptor `text`.

    Raises `Invalid`.
    """
    request = parse(mmap.mmap(body, 0, access=mmap.ACCESS_READ))
    if not is_inline(request.image_url):
        return Answer(request)
    with os.fdopen(text, "wb", buffering=0, closefd=False) as file:
        for start in range(0, len(request.image_url), PIECE_CHARS):  # without a second copy of the text
            file.write(request.image_url[start : start + PIECE_CHARS].encode())
    return Answer(replace(request, image_url=INLINE), is_inline=True)
