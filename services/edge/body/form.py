"""Read a form (`multipart/form-data`, RFC 7578) while it comes in: the picture to disk, and few texts in memory.

`Bodies.read_form` calls `read_form` with the pieces of a body. Parts are found by the push parser of `multipart`, which
holds a line of a head at most. What is not well-formed, or too much of something, ends in `Invalid`.
"""

from collections.abc import AsyncIterator
from typing import Any, cast

from msgspec import Struct
from multipart import (  # pyright: ignore[reportMissingTypeStubs]  # it has its types in itself
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
)

from contracts.cluster import Objection
from services.edge.body.parts import Parts
from services.edge.body.unknown_fields import ECHO_CHARS_MAX
from services.edge.errors import Invalid
from services.edge.image.data_uri import DATA_URI_CHARS_MAX, INLINE, is_inline
from services.edge.image.decode import IMAGE_BYTES_MAX
from services.edge.resources.spool import Spool

PARTS_MAX = 64
PART_HEADERS_MAX = 8
PART_HEADER_BYTES_MAX = 1024
PREAMBLE_BYTES_MAX = 1024
"""The most that may stand before the first part."""
TEXTS_BYTES_MAX = 64 * 1024
"""The size of all texts together, but for the one that may hold the picture."""
BEGINNING_BYTES = 1024
"""How much of a large text is looked at to tell whether it is a `data:` URI."""
PLAIN_ENCODINGS = ("", "7bit", "8bit", "binary")
TEXT_KINDS = (None, "text/plain", "application/json")


class Form(Struct, frozen=True):
    """The content of a form: its short texts by name, and which of the spools hold something.

    With `has_picture` that for the picture has its file, and with `has_large_text` the other one, which then holds a
    `data:` URI or, if `is_json`, JSON with one in it. `INLINE` stands for either among the texts.
    """

    texts: list[tuple[str, str]]
    has_picture: bool
    has_large_text: bool
    is_json: bool


async def read_form(
    pieces: AsyncIterator[bytes], boundary: str, parts: Parts, *, picture: Spool, reference: Spool
) -> Form:
    """Return the form in these pieces of a body. The two empty spools take the picture and a text that may be large.

    Raises `Invalid` or `Overloaded`.
    """
    reader = _Reader(parts, picture, reference)
    try:
        parser = PushMultipartParser(
            boundary,
            max_header_size=PART_HEADER_BYTES_MAX,
            max_header_count=PART_HEADERS_MAX,
            max_segment_count=PARTS_MAX,
        )
        before = 0
        async for piece in pieces:
            for event in cast("Any", parser.parse(piece)) if piece else ():
                await reader.take(event)
            before += 0 if reader.has_begun else len(piece)
            if before > PREAMBLE_BYTES_MAX:
                raise _unreadable("no part begins within the first bytes")
        parser.close()
    except MultipartError as error:
        raise _unreadable(str(error.args[0])) from error
    return await reader.form()


def _unreadable(reason: str) -> Invalid:
    """Return the refusal of a form that is not well-formed, or has too much of something."""
    return Invalid([Objection("body", f"the form cannot be read: {reason}")])


class _Reader:
    """Takes the events of the parser: the head of a part, pieces of its content, its end. One for each form."""

    def __init__(self, parts: Parts, picture: Spool, reference: Spool) -> None:
        self._parts, self._picture, self._reference = parts, picture, reference
        self._texts: list[tuple[str, str]] = []
        self._texts_bytes = 0
        self._picture_name = ""
        """The name of the part that holds the picture or refers to it, once there is one."""
        self._name = ""
        self._text = bytearray()
        self._has_file_name = False
        """Whether the part that is being read has the name of a file, as clients give one to files alone."""
        self._into: Spool | None = None
        self._beginning = bytearray()
        """How the large text begins."""
        self.has_begun = False

    async def take(self, event: MultipartSegment | bytes | None) -> None:
        """Take the next event. Raises `Invalid` or `Overloaded`."""
        if event is None:
            self._end()
        elif isinstance(event, MultipartSegment):
            self._begin(event)
        elif self._into is None:
            self._add_text(event)
        else:
            await self._add_to_spool(self._into, event)

    def _begin(self, part: MultipartSegment) -> None:
        """Begin a part: choose where its content goes, by its name. Raises `Invalid`."""
        self.has_begun = True
        self._name, self._text, self._into = part.name or "", bytearray(), None
        if not self._name:
            raise _unreadable("a part has no name")
        headers = dict(part.headerlist)
        if headers.get("Content-Transfer-Encoding", "").strip().lower() not in PLAIN_ENCODINGS:
            raise self._refusal("must be sent as it is, without a Content-Transfer-Encoding")
        kind = part.content_type
        if (kind or "").startswith("multipart/"):
            raise self._refusal("holds further parts; a part may hold one value")
        self._has_file_name = part.filename is not None
        is_file = self._parts.is_always_file or self._has_file_name or kind not in TEXT_KINDS
        if self._name == self._parts.picture and is_file:
            self._into = self._picture
        elif self._name in self._parts.references:
            self._into = self._reference
        if self._into is not None:
            if self._picture_name:
                raise self._refusal(f"comes after {self._picture_name[:ECHO_CHARS_MAX]}; give one picture")
            self._picture_name = self._name

    def _refusal(self, what: str) -> Invalid:
        """Return the refusal of the part that is being read."""
        shown = self._name[:ECHO_CHARS_MAX]
        return Invalid([Objection(shown, f"{shown} {what}")])

    def _no_text(self, what: str) -> Invalid:
        """Return the refusal of a part that is no short text; of a file one that names the part for the picture."""
        return self._refusal(
            f"is a file; the picture is the part {self._parts.picture}" if self._has_file_name else what
        )

    def _add_text(self, piece: bytes) -> None:
        """Add a piece to the text that is being read. Raises `Invalid` if all texts are too much."""
        self._text += piece
        self._texts_bytes += len(piece)
        if self._texts_bytes > TEXTS_BYTES_MAX:
            raise self._no_text(f"is too long; all texts together may have {TEXTS_BYTES_MAX} bytes")

    async def _add_to_spool(self, spool: Spool, piece: bytes) -> None:
        """Add a piece to the picture, or to the text that may be large. Raises `Invalid` for too much of it."""
        most = IMAGE_BYTES_MAX if spool is self._picture else DATA_URI_CHARS_MAX
        if spool.size_bytes + len(piece) > most:
            raise self._refusal(f"is larger than {most // 1024**2} MB")
        if spool is self._reference:
            self._beginning += piece[: BEGINNING_BYTES - len(self._beginning)]
        await spool.add(bytes(piece))

    def _end(self) -> None:
        """End the part: keep a text, also one that might have been large and is not."""
        if self._into is self._picture:
            if self._picture.size_bytes == 0:
                raise self._refusal("is empty")
            return
        if self._into is None:
            text = bytes(self._text)
        elif (few := self._reference.in_memory) is not None:
            text = few
        else:
            return
        try:
            self._texts.append((self._name, text.decode()))
        except UnicodeDecodeError as error:
            raise self._no_text("is not text in UTF-8") from error

    async def form(self) -> Form:
        """Return what was read. Raises `Invalid` for a large text that holds no picture, or `Overloaded`."""
        has_picture = self._picture.size_bytes > 0
        if has_picture:
            await self._picture.file()
        is_large, is_json = self._reference.in_memory is None, bytes(self._beginning.lstrip()[:1]) in (b"{", b"[")
        if is_large and not is_json and not is_inline(self._beginning.decode(errors="replace")):
            self._name = self._picture_name
            raise self._refusal(f"is too long; only a {INLINE} URI may have more than {TEXTS_BYTES_MAX} bytes")
        if has_picture or is_large:
            self._texts.append((self._parts.field if has_picture else self._picture_name, INLINE))
        return Form(self._texts, has_picture, is_large, is_json and is_large)
