"""The form of a picture's address, judged before anything is looked up. Pure.

A fault of form is the client's own knowledge, so it is named; to name it tells nothing of our network.
"""

import re
from urllib.parse import SplitResult, urlsplit

URL_CHARS_MAX = 8192
"""Presigned addresses with a session token have some 4,000."""
ECHO_CHARS_MAX = 24
MUST_BEGIN = "it must begin with https://, http:// or data:image/...;base64,"

_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,20}):(?![0-9])", re.IGNORECASE)
_ODD = re.compile(r"[\x00-\x20\x7f\\]")
_QUOTES = "\"'`<“‘"
_BASE64 = re.compile(r"(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR|AAAA.{2,8}ZnR5c|Qk[0-9])|[A-Za-z0-9+/_\s-]{64,}=*\s*\Z")


class BadForm(ValueError):
    """What is wrong with an address as it was written; the text is safe to show."""


def parts_of(url: str) -> SplitResult:
    """Return the parts of an `http` or `https` URL. Raises `BadForm`."""
    if not _SCHEME.match(url):
        raise BadForm(_beginning(url))
    if len(url) > URL_CHARS_MAX:
        raise BadForm(f"it has {len(url)} characters; an address may have {URL_CHARS_MAX}")
    if (odd := _ODD.search(url)) is not None:
        raise BadForm(f"character {odd.start() + 1} is {_named(odd[0])}; in a URL that is written %{ord(odd[0]):02X}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadForm("its host or its port is not written as in a URL") from error
    if "@" in parts.netloc:
        raise BadForm("it holds a user name or a password, which are not sent")
    if port == 0:
        raise BadForm("its port is not one from 1 to 65535")
    if not parts.hostname:
        raise BadForm("it names no host")
    return parts


def _beginning(text: str) -> str:
    """Return what is wrong with an address of no scheme that is fetched."""
    shown = text[:ECHO_CHARS_MAX] + ("…" if len(text) > ECHO_CHARS_MAX else "")
    if not text.strip():
        return f"it is empty; {MUST_BEGIN}"
    if text[0].isspace():
        return f"{MUST_BEGIN} and begins with a blank"
    if text[0] in _QUOTES:
        return f"{MUST_BEGIN} and begins with {text[0]}"
    if _BASE64.match(text):
        return f"{MUST_BEGIN} and is base64 without that beginning ({shown})"
    if (scheme := _OTHER_SCHEME.match(text)) is not None:
        return f"{MUST_BEGIN} and begins with {scheme[0]}"
    return f"{MUST_BEGIN} and was {shown}"


def _named(character: str) -> str:
    return {" ": "a blank", "\\": "a backslash", "\n": "a line break", "\r": "a line break", "\t": "a tab"}.get(
        character, "a control character"
    )
