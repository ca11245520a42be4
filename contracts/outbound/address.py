"""Parse a client's URL as the URL standard does, and object to its form before anything is looked up. Pure.

`url_policy` calls `parts_of` for a webhook's URL, and for every hop of an image's fetch. A fault in the form is named
to the client, because that tells nothing of our network. Forms that the standard accepts although they hide a host (a
backslash, one slash, a user name) are refused: two parsers that disagree on the host are the classic way around a guard
against SSRF.
"""

import re
from typing import NamedTuple
from urllib.parse import quote

from contracts.outbound.host_form import BadForm, character, host_of

__all__ = ["URL_CHARS_MAX", "BadForm", "Parts", "joined", "parts_of", "trimmed"]

URL_CHARS_MAX = 8192
"""Presigned addresses with a session token have some 4,000."""
ECHO_CHARS_MAX = 24
MUST_BEGIN = "it must begin with https:// or http://"
PORTS = {"http": 80, "https": 443}
PORT_DIGITS_MAX = 5

_ENDS = "".join(map(chr, range(0x21)))
_BREAKS = str.maketrans("", "", "\t\n\r")
_SCHEME = re.compile(r"(https?)://", re.IGNORECASE)
_PARTS = re.compile(r"([^/?#]*)([^?#]*)(\?[^#]*)?")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?", re.ASCII)
_TO_PATH = re.compile(r"[^/?#]*/\s*/[^/?#]*")
_SECOND_LINE = re.compile(r"[\r\n](?: |[a-z]++ /|[a-z][a-z0-9-]*+:(?!//))", re.IGNORECASE)
"""A line break followed by a blank, a request or a header: an attempt to smuggle a second line."""
_ANY_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,20}):(?![0-9])", re.IGNORECASE)
_ODD = re.compile(r"[\x00-\x1f\x7f\\]")
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?:/|\Z)", re.IGNORECASE)
_QUOTES = "\"'`<“‘"
_BASE64 = re.compile(r"(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR|AAAA.{2,8}ZnR5c|Qk[0-9])|[A-Za-z0-9+/_\s-]{64,}=*\s*\Z")

# Characters that the percent-encode sets of the URL standard leave, beside letters and digits. Escapes stay escapes.
_PATH_SAFE = "!$%&'()*+,/:;=@[\\]|~"
_QUERY_SAFE = "!$%&()*+,/:;=?@[\\]^`{|}~"


class Parts(NamedTuple):
    """An `http` or `https` URL as it is sent: in ASCII, with the host as it is looked up, without a fragment."""

    scheme: str
    hostname: str
    port: int
    target: str
    """Path and query, as they stand in a request."""

    @property
    def url(self) -> str:
        """Return the whole URL."""
        return self.origin + self.target

    @property
    def origin(self) -> str:
        """Return scheme and host, and the port unless it is the scheme's own."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def trimmed(url: str) -> str:
    """Return a URL without the characters that the URL standard drops: blanks around, tabs and line breaks inside."""
    return url.strip(_ENDS).translate(_BREAKS)


def parts_of(written: str, must_begin: str = MUST_BEGIN) -> Parts:
    """Return the parts of an `http` or `https` URL as they are sent, percent-encoded and without dots in the path.

    `must_begin` is the sentence for a URL that begins otherwise.

    Raises `BadForm`, also for more than `URL_CHARS_MAX` characters, a user name, or an attempt to smuggle a line.
    """
    url = trimmed(written)
    if (scheme := _SCHEME.match(url)) is None:
        raise BadForm(_beginning(url, must_begin))
    if len(url) > URL_CHARS_MAX:
        raise BadForm(f"it has {len(url)} characters; an address may have {URL_CHARS_MAX}")
    _check_for_second_line(written.strip(_ENDS))
    if (odd := _ODD.search(url)) is not None:
        raise BadForm(
            f"character {odd.start() + 1} is {character(odd[0])}; in a URL that is written %{ord(odd[0]):02X}"
        )
    parts = _PARTS.match(url, scheme.end())
    assert parts is not None  # noqa: S101  # it matches anything
    authority, path, query = parts.groups(default="")
    if "@" in authority:
        raise BadForm("it holds a user name or a password, which are not sent")
    host, port = _host_and_port(authority, PORTS[scheme[1].lower()])
    target = _without_dots(_encoded(path, _PATH_SAFE) or "/") + _encoded(query, _QUERY_SAFE)
    return Parts(scheme[1].lower(), host, port, target)


def joined(base: Parts, written: str) -> str:
    """Return the URL that `written`, relative or whole, means at `base`, unchecked.

    `urllib` joins by older rules, and loses slashes.
    """
    relative = trimmed(written)
    if (scheme := _ANY_SCHEME.match(relative)) is not None:
        rest = relative[scheme.end() :]
        if scheme[1].lower() != base.scheme or rest.startswith("/"):
            return relative
        relative = rest
    path = base.target.partition("?")[0]
    match relative[:2], relative[:1]:
        case "//", _:
            return f"{base.scheme}:{relative}"
        case _, "/":
            return base.origin + relative
        case _, "?":
            return base.origin + path + relative
        case _, "#" | "":
            return base.url
        case _:
            return base.origin + path[: path.rindex("/") + 1] + relative


def _check_for_second_line(text: str) -> None:
    """Raise `BadForm` for a line break that a second line follows. A URL that was merely wrapped is accepted."""
    start = _TO_PATH.match(text)
    if (line := _SECOND_LINE.search(text, start.end() if start else 0)) is not None:
        raise BadForm(f"character {line.start() + 1} is a line break with a second line behind it")


def _host_and_port(authority: str, default: int) -> tuple[str, int]:
    """Return the host, as `host_of` has it, and the port in an authority, or the default port. Raises `BadForm`."""
    written = _AUTHORITY.fullmatch(authority)
    digits = ((written and written[2]) or "").lstrip("0")
    if written is None or len(digits) > PORT_DIGITS_MAX or int(digits or 0) > 65535:
        raise BadForm("its host or its port is not written as in a URL")
    if written[2] and not digits:
        raise BadForm("its port is not one from 1 to 65535")
    return host_of(written[1]), int(digits or default)


def _encoded(text: str, safe: str) -> str:
    """Return a path or a query percent-encoded, but for `safe` characters. Bytes outside UTF-8 keep their values."""
    return quote(text.encode("utf-8", "surrogateescape"), safe=safe)


def _without_dots(path: str) -> str:
    """Return a path without its segments `.` and `..`, also if they are written as escapes."""
    if _DOTS.search(path) is None:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for at, segment in enumerate(segments, start=1):
        dots = segment.lower().replace("%2e", ".")
        if dots not in (".", ".."):
            kept.append(segment)
            continue
        if dots == "..":
            del kept[-1:]
        if at == len(segments):
            kept.append("")
    return "/" + "/".join(kept)


def _beginning(text: str, must_begin: str) -> str:
    """Return the sentence that refuses a URL which does not begin with a scheme that is fetched; its start is cut."""
    shown = text[:ECHO_CHARS_MAX] + ("…" if len(text) > ECHO_CHARS_MAX else "")
    if not text.strip():
        return f"it is empty; {must_begin}"
    if text[0].isspace():
        return f"{must_begin} and begins with a blank"
    if not text[0].isprintable():
        return f"{must_begin} and begins with a character that cannot be seen (U+{ord(text[0]):04X})"
    if text[0] in _QUOTES:
        return f"{must_begin} and begins with {text[0]}"
    if _BASE64.match(text):
        return f"{must_begin} and is base64 without that beginning ({shown})"
    if (scheme := _OTHER_SCHEME.match(text)) is not None:
        return f"{must_begin} and begins with {scheme[0]}"
    return f"{must_begin} and was {shown}"
