"""Cut the input of a connection where a request may end, so that the parser can wait between two pipelined requests.

Pure: bytes in, pieces out, for `limited_protocol`. An empty line ends a head and a chunked body; a body of known length
ends by its length. The request line is kept too, because the parser does not report it.
"""

_BLANK = b"\r\n\r\n"


class Pieces:
    """The bytes of one connection that are not parsed yet, for the life of the connection."""

    def __init__(self) -> None:
        self.waiting = b""
        self.body_left = 0
        """How many bytes of a body of known length are still to come."""
        self._last = b""
        """The end of the last piece, where an empty line may have begun."""
        self._line = b""

    @property
    def in_head(self) -> bool:
        """Return whether a request has begun whose head is not whole."""
        return self._line != b""

    def holds_body(self, length: int | None) -> bool:
        """Return whether a whole body waits, of this length in bytes, or in chunks if the length is None."""
        return _BLANK in self.waiting if length is None else len(self.waiting) >= length

    def take_line(self) -> bytes:
        """Return the request line of the head that is whole now, and forget it, to look for the next one."""
        line, self._line = self._line.partition(b"\r\n")[0], b""
        return line

    def next(self, *, of_head: bool) -> bytes:
        """Take a piece off `waiting`, and return it: the bytes up to where a request may end, or all that wait.

        `of_head` says that no body is being read.
        """
        piece, self.waiting = self.waiting[: (end := self._end())], self.waiting[end:]
        if self.body_left:
            self.body_left -= len(piece)
            return piece
        together = self._last + piece[-len(_BLANK) :]
        self._last = b"" if together.endswith(_BLANK) else together[1 - len(_BLANK) :]
        if of_head and b"\n" not in self._line:
            self._line = (self._line + piece).lstrip(b"\r\n")
        return piece

    def _end(self) -> int:
        """Return the length of the next piece in bytes, which may exceed what waits of a body of known length."""
        if self.body_left:
            return self.body_left
        at_seam = (self._last + self.waiting[: len(_BLANK) - 1]).find(_BLANK)
        if at_seam >= 0:
            return at_seam + len(_BLANK) - len(self._last)
        found = self.waiting.find(_BLANK)
        return len(self.waiting) if found < 0 else found + len(_BLANK)
