"""A picture that stands in its own address, as `data:image/…;base64,…` (RFC 2397). Pure."""

import binascii
import re

DATA_URI_CHARS_MAX = 28 * 1024 * 1024
INLINE = "data:"
"""Stands for the whole URI where that is kept elsewhere."""

_HEAD = re.compile(rb"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)


class BadDataUri(ValueError):
    """The text says what is wrong, and is safe to show."""


def is_inline(url: str) -> bool:
    return url[: len(INLINE)].lower() == INLINE


def decode_data_uri(uri: bytes) -> bytes:
    """The picture's bytes. Raises `BadDataUri`."""
    if len(uri) > DATA_URI_CHARS_MAX:
        raise BadDataUri(f"a data: URI may have {DATA_URI_CHARS_MAX // 1024**2} MB")
    if (head := _HEAD.match(uri)) is None:
        raise BadDataUri("a data: URI must begin with data:image/…;base64,")
    try:
        return binascii.a2b_base64(memoryview(uri)[head.end() :], strict_mode=True)
    except binascii.Error as error:
        raise BadDataUri("its base64 is damaged") from error
