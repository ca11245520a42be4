"""A picture that stands in its own address: `data:` URLs as the Fetch standard processes them. Pure.

Percent signs are decoded, ASCII whitespace is dropped, padding may be missing, and there may be any media type, any
parameters, or none: the bytes decide what they are. Beyond the standard, base64 may be in the alphabet for URLs.
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
_STRAY = re.compile(rb"%(?![0-9a-fA-F]{2})")
_PERCENT_TO_EQUALS = bytes.maketrans(b"%", b"=")
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")


class BadDataUri(ValueError):
    """The text says what is wrong, and is safe to show."""


def is_inline(url: str) -> bool:
    return url[: len(INLINE)].lower() == INLINE


def decode_data_uri(uri: bytes) -> bytes:
    """The bytes that a `data:` URI holds, perhaps none. Raises `BadDataUri`."""
    if len(uri) > DATA_URI_CHARS_MAX:
        raise BadDataUri(f"a data: URI may have {DATA_URI_CHARS_MAX // 1024**2} MB")
    comma = uri.find(b",", 0, HEAD_CHARS_MAX)
    if uri[: len(INLINE)].lower() != INLINE.encode() or comma < 0:
        raise BadDataUri("a data: URI must begin with data:image/…;base64,")
    head = uri[len(INLINE) : comma].translate(None, _DROPPED_FROM_URLS).strip(_WHITESPACE)
    body = _percent_decoded(_without_fragment(uri[comma + 1 :]))
    marks = head.rpartition(b";")
    if _BASE64.fullmatch(marks[1] + marks[2]) is None:
        return body
    return _forgiving_base64(body)


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
