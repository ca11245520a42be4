"""Read the bodies of submissions, within a limit of memory and disk for all of them together.

`submit` passes the pieces of a body and gets a `Submission`. A large body goes to disk while it comes in, so that a
slow POST (an upload that trickles) holds no memory. Once the body is whole, it claims a share of the memory while a
child parses it; the image in it stays on disk. A small body stays in memory, is parsed at once, and never waits.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from contracts.cluster import Objection
from contracts.job import JobRequest
from services.edge.body import body_reader
from services.edge.body.submission import parse
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
    """A parsed submission. `inline` holds its image's `data:` URI if the body was large; then `INLINE` replaces it."""

    request: JobRequest
    inline: Spool | None = None


class Bodies:
    """Reads bodies. One for the process. `memory`, of `bytes_max`, and `disk` are what all bodies and images share."""

    def __init__(self, sandbox: Sandbox, bytes_max: int = BODIES_BYTES_MAX) -> None:
        self._sandbox = sandbox
        self.memory = Budget(bytes_max, within_s=SHARE_WITHIN_S)
        self.disk = Disk()

    def spool(self) -> Spool:
        """Return a new spool, whose block the caller enters."""
        return Spool(self.disk)

    async def read_submission(self, pieces: AsyncIterator[bytes], body: Spool, text: Spool) -> Submission:
        """Return the submission in these pieces of a body.

        `body` and `text` are empty spools: `body` takes the body, and `text` the `data:` URI in a large one. A large
        body waits for memory, and is dropped once it is parsed. Raises `Invalid` or `Overloaded`.
        """
        async for piece in pieces:
            await body.add(piece)
        if (few := body.in_memory) is not None:
            return Submission(parse(few))
        async with self.memory.claim(READER_BYTES + COPIES * body.size_bytes):
            answer = await self._parsed_by_child(body, text)
        body.close()
        if answer.request is None:
            raise Invalid(answer.objections)
        if not answer.is_inline:
            return Submission(answer.request)
        text.count_written()
        return Submission(answer.request, text)

    async def _parsed_by_child(self, body: Spool, text: Spool) -> body_reader.Answer:
        """Have a child parse the body, and return the child's answer. An inline image goes to the file of `text`.

        Raises `Invalid` for a body that takes too much computing, or `Overloaded`, also after `READ_WITHIN_S`.
        """
        files = ((await body.file()).fileno(), (await text.file()).fileno())
        async with self._sandbox.child("read_body", files=files) as child:
            try:
                async with asyncio.timeout(READ_WITHIN_S):
                    said = await child.rest()
            except TimeoutError as error:
                raise Overloaded from error
        if used_up_its_cpu(child):
            raise Invalid([Objection("body", "the body takes too long to read")])
        if child.returncode != 0:
            raise lost(child, said)
        return msgspec.json.decode(said, type=body_reader.Answer)
