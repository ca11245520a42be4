"""A picture that stands in its own address: `data:` URLs as the Fetch standard processes them. Pure.

Blanks around the URI, and tabs and line breaks anywhere in it, are dropped, as the URL standard does first of all.
Percent signs are decoded, ASCII whitespace is dropped, padding may be missing, and there may be any media type, any
parameters, or none: the bytes decide what they are. Beyond the standard, base64 may be in the alphabet for URLs, and a
body without base64 keeps the blanks at its end, which may be part of a picture.
"""

import binascii
import re

DATA_URI_CHARS_MAX = 28 * 1024 * 1024
INLINE = "data:"
"""Stands for the whole URI where that is kept elsewhere."""
HEAD_CHARS_MAX = 1024
STRAYS_MAX = 64 * 1024
"""Percent signs that are no part of an escape."""

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
    """The text says what is wrong, and is safe to show."""


def is_inline(url: str) -> bool:
    """Return whether a URL is a `data:` URI, as the URL standard reads its beginning."""
    return _BEGINNING.match(url) is not None


def decode_data_uri(uri: bytes) -> bytes:
    """The bytes that a `data:` URI holds, perhaps none. Raises `BadDataUri`."""
    if len(uri) > DATA_URI_CHARS_MAX:
        raise BadDataUri(f"a data: URI may have {DATA_URI_CHARS_MAX // 1024**2} MB")
    beginning = _BEGINNING_IN_BYTES.match(uri)
    start = beginning.end() if beginning else 0
    comma = uri.find(b",", start, start + HEAD_CHARS_MAX)
    if beginning is None or comma < 0:
        raise BadDataUri("a data: URI must begin with data:image/…;base64,")
    head = uri[start:comma].translate(None, _DROPPED_FROM_URLS).strip(_WHITESPACE)
    marks = head.rpartition(b";")
    body = uri[comma + 1 :]
    if _BASE64.fullmatch(marks[1] + marks[2]) is None:
        return _percent_decoded(_without_fragment(body))
    return _forgiving_base64(_percent_decoded(_without_fragment(body.rstrip(_DROPPED_AT_ENDS))))


def _without_fragment(body: bytes) -> bytes:
    end = body.find(b"#")
    return (body if end < 0 else body[:end]).translate(None, _DROPPED_FROM_URLS)


def _percent_decoded(body: bytes) -> bytes:
    """Decode %XX, and leave every other percent sign as it is.

    Once rewritten as quoted-printable (`=XX`) the body is decoded in one pass, which costs little even if there are
    millions of percent signs.
    """
    if b"%" not in body:
        return body
    mended, strays = _STRAY.subn(b"%25", body, STRAYS_MAX)
    if strays == STRAYS_MAX:
        raise BadDataUri("it has percent signs with no number behind them")
    quoted = mended.replace(b"=", b"%3D").translate(_PERCENT_TO_EQUALS)
    return binascii.a2b_qp(quoted)


def _forgiving_base64(text: bytes) -> bytes:
    """Decode as the Infra standard does. Raises `BadDataUri`."""
    plain = text.translate(_URL_ALPHABET, _WHITESPACE)
    if len(plain) % 4 == 0:
        plain = plain.removesuffix(b"=").removesuffix(b"=")
    if len(plain) % 4 == 1:
        raise BadDataUri("its base64 is damaged: characters are missing, or there is one too many")
    try:
        return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except binascii.Error as error:
        raise BadDataUri("its base64 is damaged: it holds characters that are none of base64") from error
