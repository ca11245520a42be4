"""Decode a `data:` URI, an image inside its own URL, as the Fetch standard does. Pure.

The child `decode` calls `decode_data_uri`; the edge itself only asks `is_inline`. Blanks around the URI, and tabs and
line breaks inside it, are dropped, as the URL standard requires. Escapes are decoded, ASCII whitespace is dropped, and
padding may be missing. The media type and its parameters are ignored: the bytes decide the format. Beyond the standard,
base64 may use the alphabet for URLs, and a body without base64 keeps the blanks at its end, which may be part of an
image.
"""

import binascii
import re

DATA_URI_CHARS_MAX = 28 * 1024 * 1024
INLINE = "data:"
"""The beginning of every `data:` URI. It replaces the whole URI in a request whose URI is kept in a spool."""
HEAD_CHARS_MAX = 1024
STRAYS_MAX = 64 * 1024
"""The most percent signs that are not part of an escape."""

_BASE64 = re.compile(rb"; *base64\s*", re.IGNORECASE)
_WHITESPACE = b"\t\n\f\r "
_DROPPED_FROM_URLS = b"\t\n\r"
_DROPPED_AT_ENDS = bytes(range(0x21))
_BEGINNING = re.compile(r"[\x00-\x20]*+" + r"[\t\n\r]*+".join(INLINE), re.IGNORECASE | re.ASCII)
_BEGINNING_IN_BYTES = re.compile(_BEGINNING.pattern.encode(), re.IGNORECASE)
_STRAY = re.compile(rb"%(?![0-9a-fA-F]{2})")
_PERCENT_TO_EQUALS = bytes.maketrans(b"%", b"=")
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")


class BadDataUri(ValueError):
    """The URI cannot be decoded. The text says why, and is safe to show."""


def is_inline(url: str) -> bool:
    """Return whether a URL is a `data:` URI, as the URL standard reads its beginning."""
    return _BEGINNING.match(url) is not None


def decode_data_uri(uri: bytes) -> bytes:
    """Return the bytes in a `data:` URI, perhaps none. Raises `BadDataUri` if it is too long, headless or damaged."""
    if len(uri) > DATA_URI_CHARS_MAX:
        raise BadDataUri(f"a data: URI may have {DATA_URI_CHARS_MAX // 1024**2} MB")
    beginning = _BEGINNING_IN_BYTES.match(uri)
    start = beginning.end() if beginning else 0
    comma = uri.find(b",", start, start + HEAD_CHARS_MAX)
    if beginning is None or comma < 0:
        raise BadDataUri("a data: URI must begin with data:image/…;base64,")
    head = uri[start:comma].translate(None, _DROPPED_FROM_URLS).strip(_WHITESPACE)
    marks = head.rpartition(b";")
    is_base64 = _BASE64.fullmatch(marks[1] + marks[2]) is not None
    if is_base64 and (plain := _strict_base64(memoryview(uri)[comma + 1 :])) is not None:
        return plain
    body = uri[comma + 1 :]
    if not is_base64:
        return _percent_decoded(_without_fragment(body))
    return _forgiving_base64(_percent_decoded(_without_fragment(body.rstrip(_DROPPED_AT_ENDS))))


def _strict_base64(text: memoryview) -> bytes | None:
    """Return the bytes of a base64 text that has nothing to forgive, as most have, or None: one pass, not six."""
    if len(text) % 4:  # a padding too many is no error to `strict_mode`
        return None
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None


def _without_fragment(body: bytes) -> bytes:
    """Return the body without a fragment, tabs and line breaks."""
    end = body.find(b"#")
    return (body if end < 0 else body[:end]).translate(None, _DROPPED_FROM_URLS)


def _percent_decoded(body: bytes) -> bytes:
    """Return the body with each %XX decoded; every other percent sign stays, up to `STRAYS_MAX` of them.

    Raises `BadDataUri` for more. The body is rewritten as quoted-printable (`=XX`) and decoded in one pass, which is
    cheap even for millions of percent signs.
    """
    if b"%" not in body:
        return body
    mended, strays = _STRAY.subn(b"%25", body, STRAYS_MAX)
    if strays == STRAYS_MAX:
        raise BadDataUri("it has percent signs with no number behind them")
    quoted = mended.replace(b"=", b"%3D").translate(_PERCENT_TO_EQUALS)
    return binascii.a2b_qp(quoted)


def _forgiving_base64(text: bytes) -> bytes:
    """Return the bytes of a base64 text, decoded as the Infra standard does. Raises `BadDataUri`."""
    plain = text.translate(_URL_ALPHABET, _WHITESPACE)
    if len(plain) % 4 == 0:
        plain = plain.removesuffix(b"=").removesuffix(b"=")
    if len(plain) % 4 == 1:
        raise BadDataUri("its base64 is damaged: characters are missing, or there is one too many")
    try:
        return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except binascii.Error as error:
        raise BadDataUri("its base64 is damaged: it holds characters that are none of base64") from error
