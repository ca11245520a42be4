"""Bodies of requests: how they come in, and what all of them together may hold of memory and disk.

A large body goes to disk while it comes in, so that an upload that trickles (slow POST) holds no memory. It claims its
share of the memory once it is whole, for as long as a child reads it; the picture in it stays on disk. A small body
stays in memory, is read at once, and never waits.
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
from services.edge.resources.child import child, lost, used_up_its_cpu
from services.edge.resources.spool import Disk, Spool

SUBMISSION_BYTES_MAX = 30 * 1024 * 1024  # an image of 20 MB as base64, and the fields
COPIES = 2
"""Of a body while it is read: the body itself, and the text of its picture."""
READER_BYTES = 16 * 1024 * 1024
"""What a child that reads has of its own."""
BODIES_BYTES_MIN = READER_BYTES + COPIES * SUBMISSION_BYTES_MAX
BODIES_BYTES_MAX = 96 * 1024 * 1024
BODIES_BYTES_LIMIT = 64 * 1024**3
"""Of what an operator may set."""
SHARE_WITHIN_S = 15.0
READ_WITHIN_S = 20.0


@dataclass(frozen=True)
class Submission:
    """A request, and its picture's `data:` URI if that was large enough to be kept apart."""

    request: JobRequest
    inline: Spool | None = None


class Bodies:
    """What bodies may hold. One for the process."""

    def __init__(self, bytes_max: int = BODIES_BYTES_MAX) -> None:
        self.memory = Budget(bytes_max, within_s=SHARE_WITHIN_S)
        self.disk = Disk()

    def spool(self) -> Spool:
        return Spool(self.disk)

    async def read(self, pieces: AsyncIterator[bytes], body: Spool, text: Spool) -> Submission:
        """The submission in these pieces; body and a large picture go to these spools.

        Raises `Invalid` or `Overloaded`.
        """
        async for piece in pieces:
            await body.add(piece)
        if (few := body.in_memory) is not None:
            return Submission(parse(few))
        async with self.memory.claim(READER_BYTES + COPIES * body.size_bytes):
            answer = await _read(body, text)
        body.close()
        if answer.request is None:
            raise Invalid(answer.objections)
        if not answer.is_inline:
            return Submission(answer.request)
        text.count_written()
        return Submission(answer.request, text)


async def _read(body: Spool, text: Spool) -> body_reader.Answer:
    descriptors = ((await body.file()).fileno(), (await text.file()).fileno())
    async with child("services.edge.body.body_reader", *map(str, descriptors), files=descriptors) as process:
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                said, words = await process.communicate()
        except TimeoutError as error:
            raise Overloaded from error
    if used_up_its_cpu(process):
        raise Invalid([Objection("body", "the body takes too long to read")])
    if process.returncode != 0:
        raise lost(process, words)
    return msgspec.json.decode(said, type=body_reader.Answer)
