"""Read the bodies of submissions, within a limit of memory and disk for all of them together.

`submit` passes the pieces of a body and gets a `Submission`. A large body, or the picture in a form, goes to disk while
it comes in, so that a slow POST (an upload that trickles) holds no memory. Once a large body in JSON is whole, it
claims a share of the memory while a child parses it; the image in it stays on disk. A small body stays in memory, is
parsed at once, and never waits.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from contracts.cluster import Objection
from contracts.job import JobRequest
from services.edge.body import body_reader
from services.edge.body.dialect import Dialect
from services.edge.body.form import read_form
from services.edge.body.form_text import json_of
from services.edge.errors import Invalid, Overloaded
from services.edge.resources.budget import Budget
from services.edge.resources.child import lost, used_up_its_cpu
from services.edge.resources.sandbox import Sandbox
from services.edge.resources.spool import Disk, Spool

SUBMISSION_BYTES_MAX = 30 * 1024 * 1024  # an image of 20 MB as base64, and the fields
COPIES = 2
"""How often a body is in memory while it is read: the body itself, and the text of its image."""
READER_BYTES = 16 * 1024 * 1024
"""The memory of a child that reads, beside the body."""
BODIES_BYTES_MIN = READER_BYTES + COPIES * SUBMISSION_BYTES_MAX
BODIES_BYTES_MAX = 96 * 1024 * 1024
BODIES_BYTES_LIMIT = 64 * 1024**3
"""The most that an operator may set."""
SHARE_WITHIN_S = 15.0
READ_WITHIN_S = 20.0


@dataclass(frozen=True)
class Submission:
    """A parsed submission.

    `inline` holds its image's `data:` URI if that is large, and `picture` the file if the image was uploaded; `INLINE`
    then stands for it in the request.
    """

    request: JobRequest
    inline: Spool | None = None
    picture: Spool | None = None


class Content(NamedTuple):
    """A body that comes in: its pieces, its dialect, and the boundary of its parts if it is a form, else None."""

    pieces: AsyncIterator[bytes]
    dialect: Dialect
    boundary: str | None


class Bodies:
    """Reads bodies. One for the process. `memory`, of `bytes_max`, and `disk` are what all bodies and images share."""

    def __init__(self, sandbox: Sandbox, bytes_max: int = BODIES_BYTES_MAX) -> None:
        self._sandbox = sandbox
        self.memory = Budget(bytes_max, within_s=SHARE_WITHIN_S)
        self.disk = Disk()

    def spool(self) -> Spool:
        """Return a new spool, whose block the caller enters."""
        return Spool(self.disk)

    async def read(self, content: Content, body: Spool, text: Spool) -> Submission:
        """Return the submission in a body. `body` and `text` are two empty spools, of which it may hold one.

        Raises `Invalid` or `Overloaded`.
        """
        if content.boundary is not None:
            return await self._read_form(content, content.boundary, body, text)
        return await self._read_json(content, body, text)

    async def _read_json(self, content: Content, body: Spool, text: Spool) -> Submission:
        """Return the submission in JSON; `text` takes a large `data:` URI in it.

        A large body waits for memory, and is dropped once it is parsed.
        """
        async for piece in content.pieces:
            await body.add(piece)
        if (few := body.in_memory) is not None:
            return Submission(content.dialect.parse(few))
        answer = await self._parsed_by_child(content.dialect.name, body, text)
        if answer.request is None:
            raise Invalid(answer.objections)
        return Submission(answer.request, text if answer.is_inline else None)

    async def _read_form(self, content: Content, boundary: str, picture: Spool, text: Spool) -> Submission:
        """Return the submission in a form; the spools take the picture or a large text that refers to it."""
        dialect = content.dialect
        form = await read_form(content.pieces, boundary, dialect.parts, picture=picture, reference=text)
        request = dialect.parse(json_of(form.texts, dialect.parts.strings))
        if form.has_picture:
            return Submission(request, picture=picture)
        if not form.is_json:
            return Submission(request, text if form.has_large_text else None)
        answer = await self._parsed_by_child(body_reader.REFERENCE, text, picture)
        if not answer.is_inline:
            raise Invalid(answer.objections)
        return Submission(request, picture)

    async def _parsed_by_child(self, what: str, body: Spool, text: Spool) -> body_reader.Answer:
        """Have a child parse `body`, drop it, and return the child's answer. An inline image goes to `text`.

        `what` is in the body: a request of the dialect of this name, or `REFERENCE`. Waits for memory. Raises `Invalid`
        for a body that takes too much computing, or `Overloaded`, also after `READ_WITHIN_S`.
        """
        async with self.memory.claim(READER_BYTES + COPIES * body.size_bytes):
            files = ((await body.file()).fileno(), (await text.file()).fileno())
            async with self._sandbox.child("read_body", what, files=files) as child:
                try:
                    async with asyncio.timeout(READ_WITHIN_S):
                        said = await child.rest()
                except TimeoutError as error:
                    raise Overloaded from error
            if used_up_its_cpu(child):
                raise Invalid([Objection("body", "the body takes too long to read")])
            if child.returncode != 0:
                raise lost(child, said)
        body.close()
        answer = msgspec.json.decode(said, type=body_reader.Answer)
        if answer.is_inline:
            text.count_written()
        return answer
