"""Decode JSON bodies of strangers: skip a byte order mark, mend lone surrogates, and say where and why text is no JSON.

The edge decodes requests with it, inference the files of a checkpoint. An error holds a place and a reason, and nothing
of the body: a prompt must not come back in an error. Pure.
"""

import codecs
import re
from mmap import mmap
from typing import TypeVar

import msgspec

T = TypeVar("T")
Body = bytes | mmap | memoryview

BYTE_ORDER_MARK = codecs.BOM_UTF8
LONE_SURROGATES_MAX = 1000
"""The number of lone surrogates that are mended in a body: escapes such as `\\ud83d`, half of a UTF-16 pair."""
PIECE_BYTES = 1024 * 1024

_LONE = rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_RUNS = re.compile(
    rb"(?:[^\\]++|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?!"
    + _LONE
    + rb")\\.)++|("
    + _LONE
    + rb")",
    re.DOTALL,
)
"""A run of text without lone surrogates, or one lone surrogate as a group."""
_REPLACEMENT = rb"\ufffd"
_AT_BYTE = re.compile(r"^(?:JSON is malformed: )?(.*?) \(byte (\d+)\)$", re.DOTALL)
_BLANK = re.compile(rb"[ \t\r\n]*+")
_WORD = re.compile(rb"[A-Za-z_$]")

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_OTHER_UNICODE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_LITERALS = (b"True", b"False", b"None", b"NaN", b"Infinity", b"-Infinity", b"undefined")
_CURLY_QUOTES = tuple(quote.encode() for quote in "“”„‘’")
_COMMENTS = (b"//", b"/*", b"#")
_REASONS = {
    "trailing comma in object": "a comma after the last field",
    "trailing comma in array": "a comma after the last value",
    "trailing characters": "more text after the end of the object",
    "expected ':'": "a colon is missing after a name",
    "expected ',' or '}'": 'a comma or a closing brace is missing (a quote within a text is written \\")',
    "expected ',' or ']'": "a comma or a closing bracket is missing",
    "invalid number": "a number that is none",
    "invalid escaped character": "a backslash that escapes nothing (a backslash itself is written \\\\)",
    "invalid escape character in string": "a backslash that escapes nothing (a backslash itself is written \\\\)",
    "invalid character in unicode escape": "\\u must be followed by four hexadecimal digits",
    "unexpected end of hex escape": "half of a surrogate pair",
    "invalid utf-16 surrogate pair": "half of a surrogate pair",
}
_TOLD_LATE = ("trailing characters",)
"""Reasons that msgspec gives with the place behind the faulty byte."""


class NotJson(ValueError):
    """A body is not JSON in UTF-8. The text says where and why; text and `reason` are safe to show."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the body is not JSON: {reason}")
        self.reason = reason


def without_byte_order_mark(body: bytes | mmap) -> Body:
    """Return the body without the byte order mark of UTF-8 at its start, if it has one; of an mmap without a copy."""
    if body[: len(BYTE_ORDER_MARK)] != BYTE_ORDER_MARK:
        return body
    return body[len(BYTE_ORDER_MARK) :] if isinstance(body, bytes) else memoryview(body)[len(BYTE_ORDER_MARK) :]


def decode(body: bytes | mmap, kind: type[T]) -> tuple[T, Body]:
    """Return the value in a body, and the bytes that it was decoded from, without a byte order mark.

    A body that decodes only so has U+FFFD for each escaped lone surrogate in both, up to `LONE_SURROGATES_MAX` of them.
    Raises `NotJson`, or `msgspec.ValidationError` if the JSON is not of this kind. Only texts that become `str` are
    known to be UTF-8: the bytes, a `Raw` in the value and members that the kind does not have may hold anything else,
    whose place `not_utf8` finds.
    """
    text = without_byte_order_mark(body)
    try:
        try:
            return _decode(text, kind), text
        except msgspec.DecodeError:
            text = _mended(text)
            return _decode(text, kind), text
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        raise _not_json(body, text, str(error)) from error
    except UnicodeDecodeError as error:
        raise not_utf8(body) from error
    except RecursionError as error:
        raise NotJson("it nests too deeply") from error


def _decode(text: Body, kind: type[T]) -> T:
    """Return the value in a text. Raises msgspec's errors; `ValidationError` only if the whole text is JSON."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        msgspec.json.decode(text, type=msgspec.Raw)  # a fault of the JSON behind a wrong value goes first
        raise


def not_utf8(body: bytes | mmap) -> NotJson:
    """Return the error for a body that is not UTF-8, with the place of the first wrong byte, if there is any."""
    decoder, read, pending = codecs.getincrementaldecoder("utf-8")(), 0, 0
    try:
        while piece := body[read : read + PIECE_BYTES]:
            pending = len(decoder.getstate()[0])
            decoder.decode(piece)
            read += len(piece)
        pending = len(decoder.getstate()[0])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return NotJson(f"it is not in UTF-8{_place(body, read - pending + error.start)}")
    return NotJson("it is not in UTF-8")


def _mended(text: Body) -> Body:
    """Return a text of the same length, with an escaped U+FFFD for each escaped lone surrogate.

    A text with none, or with more than `LONE_SURROGATES_MAX`, is returned as it was.
    """
    parts: list[bytes] = []
    found = 0
    for run in _RUNS.finditer(text):
        if run[1] is not None:
            found += 1
            if found > LONE_SURROGATES_MAX:
                return text
        parts.append(run[0] if run[1] is None else _REPLACEMENT)
    return b"".join(parts) if found else text


def _not_json(body: bytes | mmap, text: Body, said: str) -> NotJson:
    """Return the error for a body that is no JSON; `text` is what was decoded, `said` msgspec's sentence about it."""
    start = bytes(text[:4])
    if (blank := _BLANK.match(text)) is not None and blank.end() == len(text):
        return NotJson("it is empty")
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            return NotJson(f"it is compressed with {name}; send it as it is")
    if start.startswith(_OTHER_UNICODE) or b"\0" in start:
        return NotJson("it is in UTF-16 or UTF-32; send it in UTF-8")
    if (found := _AT_BYTE.match(said)) is None:
        return NotJson(f"it ends before the object does{_place(body, len(body))}")
    at = int(found[2]) - (found[1] in _TOLD_LATE)
    if blank is not None and at == blank.end():
        return NotJson(f"it does not begin as an object does, with a brace{_place(body, at + len(body) - len(text))}")
    return NotJson(_reason(found[1], bytes(text[at : at + 9])) + _place(body, at + len(body) - len(text)))


def _reason(said: str, here: bytes) -> str:
    """Return in words what is wrong with `here`, the bytes at the fault; `said` is msgspec's reason."""
    if said.startswith(("invalid character", "object keys", "expected ", "trailing char")):
        if here.startswith(_COMMENTS):
            return "a comment, which JSON does not have"
        if here.startswith((b"'", *_CURLY_QUOTES)):
            return "a quote that JSON does not have (texts stand in straight double quotes)"
    if said.startswith("object keys"):
        return "a name without double quotes" if _WORD.match(here) else "a name in double quotes is missing"
    if said != "invalid character":
        return _REASONS.get(said, said)
    if here[:1] in (b"\n", b"\r"):
        return "a line break in a text (it is written \\n)"
    if here[:1] == b"\t":
        return "a tab in a text (it is written \\t)"
    if here[:1] < b" ":
        return "a control character in a text (it is written as \\u and four hexadecimal digits)"
    if here.startswith(_LITERALS):
        return "a word that JSON does not have (its own are true, false and null, and no number is NaN or infinite)"
    return "a value is missing, or is none that JSON has"


def _place(body: bytes | mmap, at: int) -> str:
    """Return a place in the body in words: the byte, counted from 0, and the line unless it is the first."""
    line, start = 1, 0
    for start in range(0, at, PIECE_BYTES):  # in pieces: a body may be large
        line += body[start : min(start + PIECE_BYTES, at)].count(b"\n")
    return f", at byte {at}" + (f" (line {line})" if line > 1 else "")
